//! What happened in a session or at a delivery, and its octets.
//!
//! An event is written as its tag, the length of the rest, the milliseconds since the session began, and its
//! fields in order. A reader skips a tag that it does not know by the length, and fields after those that it
//! knows; so a newer server may add events, and fields at the end. An event that cannot be read is told as
//! [`Event::Unreadable`]; nothing that is read can make this fail.

use crate::reference::Reference;
use crate::wire::{Field, Text, patch_length, take_array, take_octets};
use postroad_proto::reply::EnhancedCode;
use std::borrow::Cow;
use std::net::SocketAddr;

/// Names and values, in the order in which they were found.
type Pairs<'a> = Vec<(Text<'a>, Text<'a>)>;

macro_rules! events {
    ($($tag:literal $(#[$doc:meta])+ $name:ident { $($(#[$field_doc:meta])+ $field:ident: $kind:ty,)+ })+) => {
        /// Something that happened. Texts are kept to 2,048 octets, lists to 32 KiB. A text may hold what a peer
        /// sent, so that whoever shows it escapes it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Event<'a> {
            $($(#[$doc])+ $name { $($(#[$field_doc])+ $field: $kind,)+ },)+
            /// What stands here is not to be read: damaged, or written by a newer server. Only read, never written.
            Unreadable {
                /// Its tag, if it has one.
                tag: u8,
            },
        }

        impl<'a> Event<'a> {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name { $($field,)+ } => { $($field.put(out);)+ })+
                    Self::Unreadable { .. } => {}
                }
            }

            const fn tag(&self) -> u8 {
                match self {
                    $(Self::$name { .. } => $tag,)+
                    Self::Unreadable { tag } => *tag,
                }
            }

            fn take(tag: u8, mut from: &'a [u8]) -> Option<Self> {
                match tag {
                    $($tag => Some(Self::$name { $($field: Field::take(&mut from)?,)+ }),)+
                    _ => None,
                }
            }

            /// The same event with nothing borrowed.
            pub fn into_owned(self) -> Event<'static> {
                match self {
                    $(Self::$name { $($field,)+ } => Event::$name { $($field: Field::into_owned($field),)+ },)+
                    Self::Unreadable { tag } => Event::Unreadable { tag },
                }
            }
        }
    };
}

events! {
    1 /// A connection was taken.
    Opened {
        /// Who is at the other end; none on a local socket.
        peer: Option<SocketAddr>,
        /// Our end of the connection.
        local: Option<SocketAddr>,
        /// The listener's name in the configuration.
        listener: Cow<'a, str>,
        /// `smtp`, `lmtp`.
        protocol: Cow<'a, str>,
    }
    2 /// TLS is on.
    Secured {
        /// `TLS1.3`
        version: Cow<'a, str>,
        /// The cipher suite by its registered name.
        cipher: Cow<'a, str>,
    }
    3 /// The peer sent a line where a command belongs. Made by [`SessionLog::command`](crate::SessionLog::command).
    Command {
        /// The line, with control octets and octets that are not UTF-8 as `\x1b`, and `\` as `\\`.
        line: Cow<'a, str>,
        /// How much of it stands here.
        kept: Kept,
        /// Octets it had, without its end.
        octets: u64,
    }
    4 /// We said something. Made by [`SessionLog::reply`](crate::SessionLog::reply).
    Reply {
        /// The basic code.
        code: u16,
        /// The enhanced code, where the reply carries one.
        enhanced: Option<EnhancedCode>,
        /// The name in the catalogue.
        name: Cow<'a, str>,
        /// The text, where it is not the catalogue's.
        text: Option<Cow<'a, str>>,
        /// What stood at its end as `(ref …)`.
        reference: Option<Reference>,
    }
    5 /// A check found something.
    Finding {
        /// The check's name.
        check: Cow<'a, str>,
        /// What it found.
        result: Cow<'a, str>,
        /// From what it found it.
        inputs: Pairs<'a>,
    }
    6 /// A check did not run.
    NotRun {
        /// The check's name.
        check: Cow<'a, str>,
        /// Why it did not.
        why: Cow<'a, str>,
    }
    7 /// Something was decided.
    Verdict {
        /// What was asked: `sender`, `recipient`, `content`, `commit`.
        question: Cow<'a, str>,
        /// What was answered: `accept`, `refuse`, `hangup`.
        verdict: Cow<'a, str>,
        /// The rule that decided.
        rule: Cow<'a, str>,
    }
    8 /// Content came to its end, well or not.
    Content {
        /// Octets, dots undone.
        octets: u64,
        /// Lines that ended in CRLF.
        crlf: u64,
        /// LF without CR before it.
        bare_lf: u64,
        /// CR without LF behind it.
        bare_cr: u64,
        /// Milliseconds from our 354 to the first octet; none if there was none.
        first_ms: Option<u64>,
        /// Milliseconds from our 354 to the end.
        ms: u64,
    }
    9 /// The stream can be read in two ways, or breaks a rule.
    Anomaly {
        /// Which.
        kind: Cow<'a, str>,
        /// Octet of the stream it was seen in, from 0.
        offset: u64,
        /// Octets before that place, at most 32.
        before: Cow<'a, [u8]>,
        /// Octets from that place on, at most 32.
        after: Cow<'a, [u8]>,
        /// How we read it.
        ours: Cow<'a, str>,
        /// How another might.
        other: Cow<'a, str>,
    }
    10 /// The transfer stood still.
    Stall {
        /// Which of the known ways, by its key.
        kind: Cow<'a, str>,
        /// What shows it.
        evidence: Pairs<'a>,
    }
    11 /// A message was taken: from here on it is ours.
    Message {
        /// Its name in the queue.
        queue_id: Cow<'a, str>,
        /// The sender in the envelope; empty for `<>`.
        sender: Cow<'a, str>,
        /// The recipients in the envelope, as many as fit.
        recipients: Vec<Cow<'a, str>>,
        /// How many recipients there are.
        recipient_count: u32,
        /// The `Message-ID` field, with its angle brackets.
        message_id: Option<Cow<'a, str>>,
        /// Octets of content.
        octets: u64,
        /// Milliseconds it took to come.
        receive_ms: u64,
        /// Milliseconds it took until it was on stable storage.
        commit_ms: u64,
    }
    12 /// The session ended.
    Closed {
        /// Who ended it.
        by: Side,
        /// Why.
        why: Cow<'a, str>,
        /// Octets the peer sent.
        octets_in: u64,
        /// Octets we sent.
        octets_out: u64,
    }
    13 /// One attempt to deliver a message to one recipient.
    Attempt {
        /// The message's name in the queue.
        queue_id: Cow<'a, str>,
        /// The recipient in the envelope.
        recipient: Cow<'a, str>,
        /// Which agent by which route, as in `maildir`.
        agent: Cow<'a, str>,
        /// What came of it.
        outcome: Outcome,
        /// What the other side said, or what stood in the way.
        reply: Cow<'a, str>,
        /// Milliseconds it took.
        ms: u64,
        /// The sender in the envelope, empty for `<>`; none in what an older server wrote.
        sender: Option<Cow<'a, str>>,
        /// The name of the reply in the catalogue.
        name: Option<Cow<'a, str>>,
        /// When it is tried again, in milliseconds of Unix time; none where it is not.
        next: Option<u64>,
    }
    14 /// Events were not kept, because the session had too many since its last message.
    Dropped {
        /// How many.
        events: u64,
    }
    15 /// A command of the transaction at hand that stands in full in an earlier chunk: only there so that a refusal
    /// is found by sender and recipient. Merging leaves it out.
    Carried {
        /// As in `Command`.
        line: Cow<'a, str>,
    }
}

macro_rules! choice {
    ($(#[$doc:meta])+ $name:ident { $($tag:literal $(#[$variant_doc:meta])+ $variant:ident,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])+ $variant = $tag,)+ }

        impl<'a> Field<'a> for $name {
            type Static = Self;
            fn put(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }
            fn take(from: &mut &'a [u8]) -> Option<Self> {
                match u8::take(from)? {
                    $($tag => Some(Self::$variant),)+
                    _ => None,
                }
            }
            fn into_owned(self) -> Self {
                self
            }
        }
    };
}

choice! {
    /// How much of a command line is in the record.
    Kept {
        0 /// All of it.
        Whole,
        1 /// Its first 512 octets.
        Cut,
        2 /// The mechanism of AUTH, without what may be a password.
        Masked,
        3 /// Nothing: no command, but perhaps a password after AUTH or content after DATA.
        Withheld,
    }
}

choice! {
    /// One of the two ends of a session.
    Side {
        0 /// The peer.
        Peer,
        1 /// This server.
        Us,
    }
}

choice! {
    /// What came of an attempt to deliver.
    Outcome {
        0 /// The recipient has it.
        Delivered,
        1 /// It is tried again.
        Deferred,
        2 /// The recipient does not get it.
        Failed,
    }
}

/// Octets before the fields: tag and length.
const HEAD: usize = 3;

/// Appends an event that happened `ms` milliseconds after its session began.
pub fn encode(ms: u64, event: &Event<'_>, out: &mut Vec<u8>) {
    out.push(event.tag());
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    ms.put(out);
    event.put(out);
    patch_length(out, start);
}

/// Reads events one after the other. Ends with the octets; what cannot be read comes as
/// [`Event::Unreadable`], and if its length cannot be right it is the last.
pub fn decode(octets: &[u8]) -> Events<'_> {
    Events { rest: octets }
}

/// See [`decode`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// The next event by which a record can be found. The others are passed over without being read: this is
    /// done for every event that is written.
    pub(crate) fn next_of_interest(&mut self) -> Option<Event<'a>> {
        while let Some((tag, mut body)) = self.next_raw() {
            let of_interest = match tag {
                tag::COMMAND => {
                    let mut peek = body;
                    let line = u64::take(&mut peek).and_then(|_ms| u64::take(&mut peek)).map(|_length| peek);
                    // MAIL or RCPT, perhaps behind blanks.
                    line.and_then(<[u8]>::first).is_some_and(|first| b"mMrR \t".contains(first))
                }
                tag::REPLY => {
                    let mut peek = body;
                    u64::take(&mut peek).and_then(|_ms| u16::take(&mut peek)).is_some_and(|code| code >= 400)
                }
                tag::MESSAGE | tag::ATTEMPT | tag::CARRIED => true,
                _ => false,
            };
            if of_interest
                && u64::take(&mut body).is_some()
                && let Some(event) = Event::take(tag, body)
            {
                return Some(event);
            }
        }
        None
    }

    /// The next event without looking into it: its tag, and its octets from the time on.
    fn next_raw(&mut self) -> Option<(u8, &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        let head = take_array::<HEAD>(&mut self.rest);
        let body = head.and_then(|[_, low, high]| {
            take_octets(&mut self.rest, usize::from(u16::from_le_bytes([low, high])))
        });
        if body.is_none() {
            self.rest = &[];
        }
        Some((head.map_or(0, |[tag, ..]| tag), body.unwrap_or_default()))
    }
}

/// Tags of the events by which a record can be found.
mod tag {
    pub(super) const COMMAND: u8 = 3;
    pub(super) const REPLY: u8 = 4;
    pub(super) const MESSAGE: u8 = 11;
    pub(super) const ATTEMPT: u8 = 13;
    pub(super) const CARRIED: u8 = 15;
}

impl<'a> Iterator for Events<'a> {
    /// Milliseconds since the session began, and the event.
    type Item = (u64, Event<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, mut body) = self.next_raw()?;
        let ms = u64::take(&mut body);
        let event = ms.and_then(|_| Event::take(tag, body));
        Some((ms.unwrap_or(0), event.unwrap_or(Event::Unreadable { tag })))
    }
}
