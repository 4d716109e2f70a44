//! What each command does to a session (RFC 5321 §4.1.1, §4.1.4).

use super::content::Chunk;
use super::offer::{Protocol, TlsOffer};
use super::session::{Expected, Pending, Session, State};
use super::transaction::Transaction;
use super::{Action, Note, Question};
use crate::addr::ForwardPath;
use crate::command::{self, Command, Hello, Mail};
use crate::envelope::{Body, Smtputf8};
use crate::number::grouped;
use crate::reply::{Reply, ReplyId};
use crate::time::Tick;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::mem;
use memchr::memmem;

/// Octets behind STARTTLS that are kept as evidence.
const INJECTED_SHOWN: usize = 16;

impl Session {
    /// Runs a command; returns how many of the octets behind it are to be dropped unread.
    pub(super) fn take_command(&mut self, now: Tick, line: &[u8], behind: &[u8]) -> usize {
        if mem::take(&mut self.wary) && command::is_header_field(line) {
            self.say_content_ahead();
            return 0;
        }
        if let Some(reply) = other_protocol(line) {
            self.say(reply);
            self.close();
            return 0;
        }
        let command = match command::parse(line) {
            Ok(command) => {
                self.expected = Expected::Command;
                command
            }
            Err(reply) => {
                if command::is_auth(line) {
                    self.expected = Expected::Password;
                }
                // The text may quote the line, and would carry a password into the log.
                let unquoted = self.expected == Expected::Password && reply.id() == ReplyId::UnknownCommand;
                self.say(if unquoted { Reply::of(ReplyId::UnknownCommand) } else { reply });
                let in_transaction = matches!(self.state, State::Collecting(_));
                self.thwarted |= command::is_mail(line) || (in_transaction && command::is_rcpt(line));
                if command::announces_content(line) {
                    self.beware_of_content(behind);
                }
                return 0;
            }
        };
        match command {
            Command::Hello(kind, name) => self.hello_command(kind, name),
            Command::Mail(mail) => self.mail_command(mail),
            Command::Rcpt(recipient) => self.rcpt_command(recipient),
            Command::Data => self.data_command(behind),
            Command::Bdat { size, last } => self.bdat_command(now, Chunk { size, left: size, last }),
            Command::Rset => {
                self.reset();
                self.say(Reply::of(ReplyId::Reset));
            }
            Command::Noop => self.say(Reply::of(ReplyId::Noop)),
            Command::Help => self.help_command(),
            Command::Vrfy => self.say(Reply::of(ReplyId::CannotVerify)),
            Command::StartTls => return self.starttls_command(behind),
            Command::Quit => {
                self.abandon();
                self.say(Reply::of(ReplyId::Goodbye));
                self.close();
            }
        }
        0
    }

    fn help_command(&mut self) {
        let hello = match self.offer.protocol {
            Protocol::Smtp => "EHLO HELO",
            Protocol::Lmtp => "LHLO",
        };
        let starttls = if self.offer.tls == TlsOffer::Offered { " STARTTLS" } else { "" };
        let text = format!("Commands: {hello} MAIL RCPT DATA BDAT RSET NOOP VRFY HELP{starttls} QUIT");
        self.say(Reply::saying(ReplyId::Help, text));
    }

    fn hello_command(&mut self, kind: Hello, name: String) {
        let wrong = match (self.offer.protocol, kind) {
            (Protocol::Smtp, Hello::Lhlo) => Some("LHLO is for LMTP; say EHLO here"),
            (Protocol::Lmtp, Hello::Ehlo) => Some("This is LMTP; say LHLO instead of EHLO"),
            (Protocol::Lmtp, Hello::Helo) => Some("This is LMTP; say LHLO instead of HELO"),
            (Protocol::Smtp, Hello::Ehlo | Hello::Helo) | (Protocol::Lmtp, Hello::Lhlo) => None,
        };
        if let Some(text) = wrong {
            return self.say(Reply::saying(ReplyId::NotOffered, text));
        }
        self.reset();
        self.hello = Some((kind, name));
        let hostname = &self.offer.hostname;
        let reply = match kind {
            Hello::Helo => Reply::saying(ReplyId::Helo, hostname.clone()),
            Hello::Ehlo | Hello::Lhlo => {
                let limits = &self.offer.limits;
                let starttls = if self.offer.tls == TlsOffer::Offered { "\nSTARTTLS" } else { "" };
                let text = format!(
                    "{hostname}\nPIPELINING\nSIZE {}\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\n\
                     ENHANCEDSTATUSCODES{starttls}\nLIMITS RCPTMAX={}\nHELP",
                    limits.message_size, limits.recipients
                );
                Reply::saying(ReplyId::Ehlo, text)
            }
        };
        self.say(reply);
    }

    fn mail_command(&mut self, mail: Mail) {
        let limit = self.offer.limits.message_size;
        let plain = matches!(self.hello, Some((Hello::Helo, _)));
        let refusal = if self.hello.is_none() {
            Some(self.need_hello())
        } else if matches!(self.state, State::Collecting(_)) {
            Some(Reply::of(ReplyId::NestedMail))
        } else if matches!(self.state, State::Chunks(..) | State::Failed) {
            Some(Reply::of(ReplyId::InChunks))
        } else if plain && (mail.size.is_some() || mail.body.is_some() || mail.smtputf8) {
            Some(Reply::saying(
                ReplyId::UnknownParameter,
                "MAIL has no parameters after HELO; say EHLO for them",
            ))
        } else if !mail.smtputf8 && !mail.sender.is_ascii() {
            Some(Reply::of(ReplyId::NeedsSmtputf8))
        } else {
            mail.size.filter(|size| *size > limit).map(|size| {
                Reply::saying(
                    ReplyId::MessageTooBig,
                    format!(
                        "The message is too big: {} octets declared, the limit is {}",
                        grouped(size),
                        grouped(limit)
                    ),
                )
            })
        };
        match refusal {
            Some(reply) => {
                self.thwarted |= !matches!(self.state, State::Collecting(_));
                self.say(reply);
            }
            None => {
                self.ask(
                    Question::Sender { path: mail.sender.clone(), size: mail.size },
                    Pending::Sender(mail),
                );
            }
        }
    }

    fn rcpt_command(&mut self, recipient: ForwardPath) {
        let limit = self.offer.limits.recipients;
        let State::Collecting(transaction) = &self.state else {
            return self.say_out_of_order(ReplyId::InChunks);
        };
        if transaction.smtputf8() == Smtputf8::NotNeeded && !recipient.is_ascii() {
            self.thwarted = true;
            self.say(Reply::of(ReplyId::NeedsSmtputf8));
        } else if transaction.recipients().len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            self.say(Reply::saying(
                ReplyId::TooManyRecipients,
                format!("The limit is {limit} recipients; send the rest in another transaction"),
            ));
        } else if let Some(transaction) = self.take_collecting() {
            self.ask(Question::Recipient(recipient.clone()), Pending::Recipient(transaction, recipient));
        }
    }

    fn data_command(&mut self, behind: &[u8]) {
        if let State::Collecting(transaction) = &self.state
            && !transaction.recipients().is_empty()
        {
            if transaction.body() == Body::BinaryMime {
                self.say(Reply::saying(
                    ReplyId::UseBdat,
                    "BODY=BINARYMIME needs BDAT, not DATA (RFC 3030 3)",
                ));
            } else if let Some(transaction) = self.take_collecting() {
                if !behind.is_empty() {
                    self.actions.push_back(Action::Note(Note::ContentAhead));
                }
                return self.ask(Question::Content, Pending::Data(transaction));
            }
        } else {
            self.say_out_of_order(ReplyId::UseBdat);
        }
        self.beware_of_content(behind);
    }

    fn bdat_command(&mut self, now: Tick, chunk: Chunk) {
        if let State::Collecting(transaction) = &self.state
            && !transaction.recipients().is_empty()
            && let Some(transaction) = self.take_collecting()
        {
            return self.ask(Question::Content, Pending::Chunk(transaction, chunk));
        }
        let reply = self.out_of_order(ReplyId::ChunkAfterFailure);
        let state = mem::replace(&mut self.state, State::Ready);
        if let State::Chunks(receiving, _) = state {
            self.begin_chunk(now, receiving, chunk);
        } else {
            self.skip(now, chunk.size, reply, state);
        }
    }

    /// Takes the open transaction out of the state, to be put back with the answer to a question.
    fn take_collecting(&mut self) -> Option<Box<Transaction>> {
        let state = mem::replace(&mut self.state, State::Ready);
        if let State::Collecting(transaction) = state {
            return Some(transaction);
        }
        self.state = state;
        None
    }

    fn starttls_command(&mut self, behind: &[u8]) -> usize {
        match self.offer.tls {
            TlsOffer::Absent => self.say(command::not_offered("STARTTLS")),
            TlsOffer::Active => self.say(Reply::of(ReplyId::AlreadyTls)),
            TlsOffer::Offered => {
                self.abandon();
                self.say(Reply::of(ReplyId::StartTls));
                if !behind.is_empty() {
                    let first = behind.iter().copied().take(INJECTED_SHOWN).collect();
                    let octets = behind.len() as u64;
                    self.actions.push_back(Action::Note(Note::Injected { octets, first }));
                }
                self.actions.push_back(Action::StartTls);
                self.state = State::Closed;
                return behind.len();
            }
        }
        0
    }
}

/// The answer to a line of another protocol, to which a mail session must not be talked into.
fn other_protocol(line: &[u8]) -> Option<Reply> {
    const METHODS: [&[u8]; 9] =
        [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PATCH ", b"PRI "];
    if METHODS.iter().any(|method| line.starts_with(method)) && memmem::find(line, b" HTTP/").is_some() {
        return Some(Reply::saying(ReplyId::NotSmtp, "This is an SMTP server, not a web server"));
    }
    line.starts_with(b"SSH-")
        .then(|| Reply::saying(ReplyId::NotSmtp, "This is an SMTP server, not an SSH server"))
}
