//! A transaction: what MAIL and RCPT have said so far (RFC 5321 §3.3).

use crate::addr::{Domain, ForwardPath, Mailbox, ReversePath};
use crate::command::Mail;
use crate::envelope::{Body, Envelope, Recipient, Smtputf8};
use alloc::vec::Vec;

/// An open transaction; it knows nothing of the session that it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    mail: Mail,
    recipients: Vec<ForwardPath>,
}

impl Transaction {
    pub(super) fn new(mail: Mail) -> Self {
        Self { mail, recipients: Vec::new() }
    }

    pub(super) fn add(&mut self, recipient: ForwardPath) {
        self.recipients.push(recipient);
    }

    /// The reverse-path.
    pub fn sender(&self) -> &ReversePath {
        &self.mail.sender
    }

    /// The recipients that were accepted.
    pub fn recipients(&self) -> &[ForwardPath] {
        &self.recipients
    }

    /// The size that MAIL declared (RFC 1870).
    pub fn declared_size(&self) -> Option<u64> {
        self.mail.size
    }

    /// Whether MAIL said SMTPUTF8.
    pub fn smtputf8(&self) -> Smtputf8 {
        if self.mail.smtputf8 { Smtputf8::Needed } else { Smtputf8::NotNeeded }
    }

    /// What MAIL said about the content.
    pub fn body(&self) -> Body {
        self.mail.body.unwrap_or_default()
    }

    /// Seals the envelope; `<Postmaster>` becomes the postmaster at `hostname`.
    /// `None` if nobody would get the message.
    pub(super) fn seal(self, hostname: &str) -> Option<Envelope> {
        let (body, smtputf8) = (self.body(), self.smtputf8());
        let mailbox = |path| match path {
            ForwardPath::Mailbox(mailbox) => Some(mailbox),
            ForwardPath::Postmaster => Mailbox::new("postmaster", Domain::Name(hostname.into())).ok(),
        };
        let recipients = self
            .recipients
            .into_iter()
            .filter_map(mailbox)
            .map(|mailbox| Recipient { mailbox, original: None });
        Some(Envelope::new(self.mail.sender, recipients.collect())?.with_content(body, smtputf8))
    }
}
