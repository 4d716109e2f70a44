//! Content on its way in: decoded, settled, counted and judged (RFC 5321 §4.1.1.4, RFC 3030).

use super::offer::{BareNewline, ContentRules, Limits, Offer, Rule};
use super::transaction::Transaction;
use super::{Action, Content, Note};
use crate::envelope::Body;
use crate::message::header::Scan;
use crate::number::grouped;
use crate::reply::{Reply, ReplyId};
use crate::time::Tick;
use crate::wire::data::Decoder;
use crate::wire::false_end;
use crate::wire::filter::Filter;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::mem;

/// Content is handed on in pieces of about this many octets, so that a session holds no more of it.
const PIECE: usize = 32 << 10;

/// The chunk that BDAT announced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    /// Octets that BDAT named.
    pub(super) size: u64,
    /// Octets still to come.
    pub(super) left: u64,
    /// Whether it is the last.
    pub(super) last: bool,
}

/// A transaction whose content is arriving.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) transaction: Transaction,
    pub(super) decoder: Decoder,
    filter: Filter,
    /// Only where the content is noted.
    false_end: Option<false_end::Search>,
    header: Scan,
    piece: Vec<u8>,
    fault: Option<Reply>,
    pub(super) chunks: u32,
    /// When octets last came.
    pub(super) last_input: Tick,
    /// The window over which the rate is averaged: its beginning and its octets.
    pub(super) window: (Tick, u64),
}

impl Receiving {
    pub(super) fn new(now: Tick, transaction: Transaction, record: bool) -> Self {
        let filter = if transaction.body() == Body::BinaryMime { Filter::binary() } else { Filter::text() };
        Self {
            transaction,
            decoder: Decoder::default(),
            filter,
            false_end: record.then(false_end::Search::default),
            header: Scan::default(),
            piece: Vec::new(),
            fault: None,
            chunks: 0,
            last_input: now,
            window: (now, 0),
        }
    }

    /// Octets of content held in this session just now.
    pub(super) fn held(&self) -> usize {
        self.piece.capacity()
    }

    /// Takes DATA content up to its end; returns the octets used.
    pub(super) fn take_data(
        &mut self,
        input: &[u8],
        limits: &Limits,
        actions: &mut VecDeque<Action>,
    ) -> usize {
        let mut decoder = mem::take(&mut self.decoder);
        let used = decoder.decode(input, |run| self.take_run(run, limits, actions));
        self.decoder = decoder;
        if let Some(search) = &mut self.false_end {
            search.push(input.get(..used).unwrap_or(input));
        }
        used
    }

    /// Takes octets of content, dots unstuffed.
    pub(super) fn take_run(&mut self, run: &[u8], limits: &Limits, actions: &mut VecDeque<Action>) {
        let before = self.piece.len();
        self.filter.push(run, &mut self.piece);
        if self.fault.is_some() {
            self.piece.clear();
            return;
        }
        if let Some(fresh) = self.piece.get(before..) {
            self.header.push(fresh);
        }
        if let Some(fault) = self.found(limits) {
            self.fail(fault, actions);
        } else if self.piece.len() >= PIECE {
            actions.push_back(Action::Content(mem::take(&mut self.piece)));
        }
    }

    /// What is wrong with the octets that came so far, the same at any cut of them.
    fn found(&self, limits: &Limits) -> Option<Reply> {
        let findings = self.filter.findings();
        if findings.size > limits.message_size {
            Some(too_big(format_args!("{} octets came", grouped(findings.size)), limits))
        } else if findings.nul {
            Some(Reply::of(ReplyId::NulInContent))
        } else if self.header.summary().received > limits.received {
            Some(Reply::saying(
                ReplyId::Loop,
                format!("The message is looping: more than {} Received lines", limits.received),
            ))
        } else {
            None
        }
    }

    /// The reply, where with `more` octets so much comes beyond the limit that draining it is no use.
    pub(super) fn hopeless(&self, more: u64, limits: &Limits) -> Option<Reply> {
        let most = limits.message_size.saturating_mul(2);
        let over = self.filter.findings().size.saturating_add(more) > most;
        over.then(|| too_big(format_args!("over {} octets", grouped(most)), limits))
    }

    /// What came so far.
    pub(super) fn seen(&self) -> Content {
        let findings = *self.filter.findings();
        let message_id = self.header.message_id().map(<[u8]>::to_vec);
        let taken = self.decoder.taken().max(findings.size);
        Content { taken, findings, false_end: self.false_end.and_then(|search| search.found()), message_id }
    }

    /// Refuses the message; what was stored of it goes, what still comes is drained.
    pub(super) fn fail(&mut self, fault: Reply, actions: &mut VecDeque<Action>) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.piece = Vec::new();
            actions.push_back(Action::Abandon);
        }
    }

    /// The fault that was found, if any; between chunks it is told at once.
    pub(super) fn take_fault(&mut self, limits: &Limits) -> Option<Reply> {
        let fault = self.fault.take()?;
        // By now more may have come than when the fault was seen.
        Some(self.found(limits).unwrap_or(fault))
    }

    /// After the last octet: the transaction to commit, or the reply that refuses it.
    pub(super) fn finish(
        mut self,
        offer: &Offer,
        actions: &mut VecDeque<Action>,
    ) -> Result<Transaction, Reply> {
        self.filter.finish(&mut self.piece);
        if offer.record {
            actions.push_back(Action::Note(Note::Content(Box::new(self.seen()))));
        }
        if let Some(fault) = self.take_fault(&offer.limits) {
            return Err(fault);
        }
        if let Some(fault) = self.judge(&offer.content, &offer.limits, actions) {
            actions.push_back(Action::Abandon);
            return Err(fault);
        }
        if !self.piece.is_empty() {
            actions.push_back(Action::Content(self.piece));
        }
        Ok(self.transaction)
    }

    fn judge(&self, rules: &ContentRules, limits: &Limits, actions: &mut VecDeque<Action>) -> Option<Reply> {
        let (findings, header) = (self.filter.findings(), self.header.summary());
        if findings.bare_newlines > 0 {
            if rules.bare_newline == BareNewline::Reject {
                return Some(Reply::saying(
                    ReplyId::BareNewline,
                    format!("Line {} has a bare CR or LF; end each line with CRLF", findings.first_bare_line),
                ));
            }
            actions.push_back(Action::Note(Note::BareNewlines {
                count: findings.bare_newlines,
                first_at: findings.first_bare_at,
            }));
        }
        if self.transaction.body() == Body::BinaryMime {
            return None;
        }
        let checks = [
            (rules.missing_from, header.from == 0, Note::MissingFrom),
            (rules.repeated_from, header.from > 1, Note::RepeatedFrom(header.from)),
            (rules.missing_date, header.date == 0, Note::MissingDate),
            (
                rules.long_line,
                findings.longest_line > limits.line_length,
                Note::LongLine(findings.longest_line),
            ),
            (rules.large_header, header.size > limits.header_size, Note::LargeHeader(header.size)),
        ];
        for (rule, found, note) in checks {
            match rule {
                Rule::Refuse if found => return Some(refusal(&note, limits)),
                Rule::Note if found => actions.push_back(Action::Note(note)),
                Rule::Accept | Rule::Note | Rule::Refuse => {}
            }
        }
        None
    }
}

fn too_big(came: core::fmt::Arguments<'_>, limits: &Limits) -> Reply {
    Reply::saying(
        ReplyId::MessageTooBig,
        format!("The message is too big: {came}, the limit is {}", grouped(limits.message_size)),
    )
}

fn refusal(note: &Note, limits: &Limits) -> Reply {
    let text = match note {
        Note::MissingFrom => "The header has no From field (RFC 5322 3.6)".into(),
        Note::RepeatedFrom(count) => {
            format!("The header has {count} From fields; one is allowed (RFC 5322 3.6)")
        }
        Note::MissingDate => "The header has no Date field (RFC 5322 3.6)".into(),
        Note::LongLine(length) => {
            let (length, limit) = (grouped(*length), grouped(limits.line_length));
            format!("A line has {length} octets; the limit is {limit} (RFC 5322 2.1.1)")
        }
        Note::LargeHeader(size) => {
            format!("The header has {} octets; the limit is {}", grouped(*size), grouped(limits.header_size))
        }
        Note::BareNewlines { .. }
        | Note::ContentAhead
        | Note::Injected { .. }
        | Note::Line(_)
        | Note::Content(_)
        | Note::Stall(_) => {
            return Reply::of(ReplyId::BadContent);
        }
    };
    Reply::saying(ReplyId::BadContent, text)
}
