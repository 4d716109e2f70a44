//! How far a message has come: the state of each recipient, attempts, and when it is due.
//!
//! Both stores share these rules, so that they cannot differ.

use crate::{Outcome, RecipientState};
use postroad_proto::time::UnixTime;

/// Longest text kept for one recipient, in octets; the reply of a peer is cut there.
pub(crate) const MAX_TEXT: usize = 512;

/// What attempts have brought so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) attempts: u32,
    /// `None` when all that is left has failed.
    pub(crate) due: Option<UnixTime>,
    pub(crate) recipients: Vec<RecipientState>,
}

impl Progress {
    /// A message just accepted: due at once.
    pub(crate) fn new(recipients: usize, due: UnixTime) -> Self {
        Self { attempts: 0, due: Some(due), recipients: vec![RecipientState::New; recipients] }
    }

    /// Indices of the recipients that still want delivery.
    pub(crate) fn open(&self) -> Vec<u32> {
        (0u32..).zip(&self.recipients).filter(|(_, state)| is_open(state)).map(|(at, _)| at).collect()
    }

    /// Takes in what came of an attempt for `open`; what has no outcome stays as it was.
    pub(crate) fn settle(&mut self, open: &[u32], outcomes: &[Outcome], next: UnixTime) {
        self.attempts = self.attempts.saturating_add(1);
        for (&at, outcome) in open.iter().zip(outcomes) {
            let Some(state) = usize::try_from(at).ok().and_then(|at| self.recipients.get_mut(at)) else {
                continue;
            };
            *state = match outcome {
                Outcome::Delivered => RecipientState::Delivered,
                Outcome::Deferred(refusal) => RecipientState::Deferred(cut(&refusal.reply().to_string())),
                Outcome::Failed(refusal) => RecipientState::Failed(cut(&refusal.reply().to_string())),
            };
        }
        self.due = self.recipients.iter().any(is_open).then_some(next);
    }

    /// Whether every recipient has it, so that the message may leave.
    pub(crate) fn is_done(&self) -> bool {
        self.recipients.iter().all(|state| matches!(state, RecipientState::Delivered))
    }
}

fn is_open(state: &RecipientState) -> bool {
    match state {
        RecipientState::New | RecipientState::Deferred(_) => true,
        RecipientState::Delivered | RecipientState::Failed(_) => false,
    }
}

fn cut(text: &str) -> String {
    let text = text.trim_end();
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
