//! Settings that are a choice among words.

/// A type with a word for each of its values.
pub(super) trait Words: Copy + PartialEq + 'static {
    /// Each word and what it means, in the order of the manual.
    const WORDS: &'static [(&'static str, Self)];
}

macro_rules! words {
    ($(#[doc = $doc:literal])* $vis:vis enum $Name:ident { $($(#[doc = $vdoc:literal])* $word:literal = $Variant:ident,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        $vis enum $Name { $($(#[doc = $vdoc])* $Variant,)* }

        impl Words for $Name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$Variant)),*];
        }
    };
}

words! {
    /// What is spoken at a listener.
    pub enum ListenerKind {
        /// SMTP from other servers.
        "mx" = Mx,
        /// LMTP (RFC 2033) from a mail server of ours.
        "lmtp" = Lmtp,
    }
}

words! {
    /// `tls` as it is written; checked into [`super::ListenerTls`].
    pub(super) enum TlsChoice {
        /// STARTTLS if there is a certificate.
        "auto" = Auto,
        /// Never.
        "off" = Off,
        /// After STARTTLS.
        "starttls" = Starttls,
        /// From the first octet.
        "implicit" = Implicit,
    }
}

words! {
    /// `proxy` as it is written; checked into [`super::Listener::proxy`].
    pub(super) enum ProxyMode {
        /// No PROXY header.
        "off" = Off,
        /// A PROXY header must come first.
        "required" = Required,
    }
}

words! {
    /// What becomes of a peer that speaks before the greeting (RFC 5321 §4.3.1).
    pub enum Pregreet {
        /// It is written down.
        "note" = Note,
        /// 554 and the end of the session.
        "refuse" = Refuse,
    }
}

words! {
    /// What becomes of a bare CR or LF in content (RFC 5321 §2.3.8).
    pub enum BareNewline {
        /// It becomes CRLF, and the record says where it was.
        "normalize" = Normalize,
        /// The message is refused.
        "reject" = Reject,
    }
}

words! {
    /// What becomes of a message that is not as RFC 5322 wants it.
    pub enum Judgement {
        /// Nothing.
        "accept" = Accept,
        /// The record says so.
        "note" = Note,
        /// It is refused.
        "refuse" = Refuse,
    }
}

words! {
    /// Line ends in Maildir files.
    pub enum LineEnds {
        /// CRLF, as on the wire.
        "crlf" = Crlf,
        /// LF alone.
        "lf" = Lf,
    }
}

words! {
    /// The lowest TLS version that is spoken.
    pub enum TlsVersion {
        /// TLS 1.2 (RFC 5246).
        "1.2" = V1_2,
        /// TLS 1.3 (RFC 8446).
        "1.3" = V1_3,
    }
}

words! {
    /// The form of the log.
    pub enum LogFormat {
        /// Lines for people.
        "human" = Human,
        /// One JSON object a line.
        "json" = Json,
    }
}

words! {
    /// How much is logged.
    pub enum Level {
        /// Only what needs an operator.
        "error" = Error,
        /// And what might.
        "warn" = Warn,
        /// And what happens to each message.
        "info" = Info,
        /// And each step.
        "debug" = Debug,
        /// And each read and write.
        "trace" = Trace,
    }
}
