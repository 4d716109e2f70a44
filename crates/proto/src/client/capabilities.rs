//! What a server offers, as its reply to EHLO or LHLO says.
//!
//! RFC 5321 §4.1.1.1 and §4.1.4; the keywords are those of RFC 1870, 2920, 3030, 3207, 4954, 6152 and
//! 6531. Nothing here fails: a line that is not understood is an extension that is not used.

use super::reply::ServerReply;
use alloc::vec::Vec;

/// An extension that this client makes use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extension {
    /// RFC 1870.
    Size,
    /// RFC 2920.
    Pipelining,
    /// RFC 6152.
    EightBitMime,
    /// RFC 6531.
    Smtputf8,
    /// RFC 3030 §2.
    Chunking,
    /// RFC 3030 §3.
    BinaryMime,
    /// RFC 3207.
    StartTls,
}

/// A SASL mechanism that this client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The older exchange of user and password in two steps.
    Login,
}

/// What the server offered in its last reply to EHLO or LHLO; empty after HELO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    extensions: Vec<Extension>,
    mechanisms: Vec<Mechanism>,
    size_limit: Option<u64>,
}

const KEYWORDS: [(&str, Extension); 7] = [
    ("SIZE", Extension::Size),
    ("PIPELINING", Extension::Pipelining),
    ("8BITMIME", Extension::EightBitMime),
    ("SMTPUTF8", Extension::Smtputf8),
    ("CHUNKING", Extension::Chunking),
    ("BINARYMIME", Extension::BinaryMime),
    ("STARTTLS", Extension::StartTls),
];

const MECHANISMS: [(&str, Mechanism); 2] = [("PLAIN", Mechanism::Plain), ("LOGIN", Mechanism::Login)];

impl Capabilities {
    /// Reads a reply to EHLO: the first line greets, each further line is an extension.
    pub(super) fn of(reply: &ServerReply) -> Self {
        let mut this = Self::default();
        for line in reply.lines().iter().skip(1) {
            // `AUTH=` is how servers wrote it before RFC 2554; some still say it beside `AUTH `.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            if keyword.eq_ignore_ascii_case("AUTH") {
                for word in words {
                    add_known(&mut this.mechanisms, &MECHANISMS, word);
                }
                continue;
            }
            add_known(&mut this.extensions, &KEYWORDS, keyword);
            if keyword.eq_ignore_ascii_case("SIZE") {
                // 0 means that there is no fixed limit (RFC 1870 §4).
                this.size_limit = words.next().and_then(|n| n.parse().ok()).filter(|&limit| limit > 0);
            }
        }
        this
    }

    /// Whether an extension is offered.
    pub fn offers(&self, extension: Extension) -> bool {
        self.extensions.contains(&extension)
    }

    /// Whether a mechanism of AUTH is offered.
    pub fn offers_login(&self, mechanism: Mechanism) -> bool {
        self.mechanisms.contains(&mechanism)
    }

    /// The largest message the server takes, in octets; `None` if it names no limit.
    pub const fn size_limit(&self) -> Option<u64> {
        self.size_limit
    }
}

fn add_known<T: Copy + PartialEq>(to: &mut Vec<T>, known: &[(&str, T)], word: &str) {
    for &(keyword, value) in known {
        if keyword.eq_ignore_ascii_case(word) && !to.contains(&value) {
            to.push(value);
        }
    }
}
