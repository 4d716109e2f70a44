//! The envelope: who sent a message and who is to get it (RFC 5321 §2.3.1).
//!
//! An [`Envelope`] always has a recipient, by shape; what cannot be delivered to anyone cannot be stored.

use crate::addr::{Mailbox, ReversePath};
use alloc::vec::Vec;

/// How the content may look (RFC 6152, RFC 3030 §3); needed again when the message leaves us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6152 and RFC 3030 close the set")]
pub enum Body {
    /// No `BODY=` or `BODY=7BIT`.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=BINARYMIME`: any octets, no line structure; only by BDAT.
    BinaryMime,
}

/// One recipient of a stored message: the mailbox that is to get it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// Where the message goes, after aliases were expanded.
    pub mailbox: Mailbox,
    /// What the peer wrote at RCPT, where that was another address.
    pub original: Option<Mailbox>,
}

/// The reverse-path, at least one recipient, and what the content needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    sender: ReversePath,
    recipients: Vec<Recipient>,
    body: Body,
    smtputf8: bool,
}

impl Envelope {
    /// Seals an envelope; `None` if nobody would get the message.
    pub fn new(sender: ReversePath, recipients: Vec<Recipient>) -> Option<Self> {
        if recipients.is_empty() {
            return None;
        }
        Some(Self { sender, recipients, body: Body::SevenBit, smtputf8: false })
    }

    /// The same envelope with what MAIL said about its content.
    #[must_use]
    pub fn with_content(mut self, body: Body, smtputf8: Smtputf8) -> Self {
        self.body = body;
        self.smtputf8 = smtputf8 == Smtputf8::Needed;
        self
    }

    /// The reverse-path.
    pub fn sender(&self) -> &ReversePath {
        &self.sender
    }

    /// The recipients; never empty. A recipient is known by its index from here on.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// What MAIL said about the content.
    pub fn body(&self) -> Body {
        self.body
    }

    /// Whether MAIL said SMTPUTF8 (RFC 6531).
    pub fn smtputf8(&self) -> Smtputf8 {
        if self.smtputf8 { Smtputf8::Needed } else { Smtputf8::NotNeeded }
    }
}

/// Whether a message needs SMTPUTF8 on its further way (RFC 6531 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "yes or no, with a name")]
pub enum Smtputf8 {
    /// MAIL did not ask for it.
    #[default]
    NotNeeded,
    /// MAIL carried the SMTPUTF8 parameter.
    Needed,
}
