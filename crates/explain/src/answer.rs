//! What is said of a bounce: five answers for each recipient, each with its evidence.
//!
//! Everything here is a value or a key of the texts of a language, never a sentence. Ranges are octets
//! of the input as it was given, so that a page can mark the words that decided. RFC 3463 §2,
//! RFC 3464 §2.3, RFC 5321 §4.2.1.

pub use postroad_proto::reply::EnhancedCode;
use std::ops::Range;

/// What was read, and what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// What the text is.
    pub kind: Source,
    /// The answers: one for each recipient of each message that the text speaks of; where it names no
    /// recipient, one for each reply.
    pub recipients: Vec<Answer>,
    /// Every reply that was found, in the order of the text.
    pub replies: Vec<Reply>,
    /// The faults of a dialogue, the first wrong step first; what is only untidy comes last.
    pub faults: Vec<Fault>,
    /// Whether the first of the faults is what went wrong, rather than the first refusal.
    pub fault_leads: bool,
    /// Where a dialogue stalled in the content, why that may be: keys of the stalls, the likeliest first.
    pub stalls: Vec<&'static str>,
    /// Whether the input was longer than what is looked at.
    pub cut: bool,
    /// How many octets were looked at.
    pub looked_at: usize,
    /// How many octets there are; `None` where whoever gave the text does not know, as of a pipe.
    pub length: Option<u64>,
    /// What else must be said.
    pub notes: Vec<Note>,
}

/// What a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Nothing that is known here.
    #[default]
    Unknown,
    /// One reply of a server.
    Reply,
    /// A notification with a part for machines (RFC 3464).
    Dsn,
    /// The text of a bounce.
    Bounce,
    /// Lines of a log.
    Log,
    /// A dialogue of client and server.
    Transcript,
}

impl Source {
    /// Its key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reply => "reply",
            Self::Dsn => "dsn",
            Self::Bounce => "bounce",
            Self::Log => "log",
            Self::Transcript => "transcript",
        }
    }
}

/// Something that a reader must know about the reading itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Note {
    /// Only the first octets were looked at.
    Cut,
    /// There are more recipients than are told.
    MoreRecipients,
    /// There are more replies than were compared with the known texts; the rest was told by its codes.
    MoreReplies,
    /// A notification without the part for machines.
    NoMachinePart,
    /// A message that quotes another was left out of the evidence.
    OriginalLeftOut,
    /// No reply and no recipient was found.
    NothingFound,
    /// The octets are no text.
    NotText,
}

impl Note {
    /// Its key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::MoreRecipients => "more-recipients",
            Self::MoreReplies => "more-replies",
            Self::NoMachinePart => "no-machine-part",
            Self::OriginalLeftOut => "original-left-out",
            Self::NothingFound => "nothing-found",
            Self::NotText => "not-text",
        }
    }
}

/// A reply that the text quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The basic code.
    pub code: Option<u16>,
    /// The enhanced code.
    pub enhanced: Option<EnhancedCode>,
    /// Who said it, as the text names it.
    pub host: Option<String>,
    /// What was said: continuation codes removed, white space collapsed.
    pub text: String,
    /// The command that met it, where that is told; secrets are masked.
    pub command: Option<String>,
    /// Where it stands.
    pub range: Range<usize>,
}

/// The five answers about one recipient of one message, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Whom it was for; `None` where the text names nobody.
    pub recipient: Option<String>,
    /// The queue id of the message, where a log tells several.
    pub message: Option<String>,
    /// What the reporting server did (RFC 3464 §2.3.3).
    pub outcome: Outcome,
    /// The reply that decided.
    pub reply: Option<Reply>,
    /// Key of the cause; `none` for mail that arrived.
    pub cause: &'static str,
    /// Key of what the sender should do.
    pub action: &'static str,
    /// Who said it, if that is known.
    pub provider: Option<&'static str>,
    /// Try this message again?
    pub retry: Tri,
    /// Send more slowly to this destination?
    pub slow: bool,
    /// Take this address off the list?
    pub remove: Tri,
    /// Whose problem it is; empty where nothing is known.
    pub whose: Vec<Party>,
    /// Which record or setting changes it.
    pub record: Option<Record>,
    /// Every value found in the reply.
    pub found: Vec<Found>,
    /// The words that decided, and the codes.
    pub evidence: Vec<Evidence>,
    /// How sure all this is.
    pub confidence: Confidence,
    /// Which level of trust decided.
    pub basis: Basis,
    /// The rule that matched, as `goog-02`.
    pub rule: Option<&'static str>,
    /// Where it is ambiguous, the causes that it may have; else empty.
    pub readings: Vec<&'static str>,
}

/// What the reporting server did with the message (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Given up. Also where the text does not say, and the reply is a refusal.
    #[default]
    Failed,
    /// Still tried by that server; nobody has to send it again.
    Delayed,
    /// It arrived.
    Delivered,
    /// Handed on to a server that sends no notifications.
    Relayed,
    /// Handed to a list or alias of several.
    Expanded,
}

impl Outcome {
    /// Its key, the word of RFC 3464 §2.3.3.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    /// Whether the mail went on its way.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Delivered | Self::Relayed | Self::Expanded)
    }
}

/// Yes, no, or the text does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Tri {
    /// Yes.
    Yes,
    /// No.
    No,
    /// The text does not decide.
    Ambiguous,
}

impl Tri {
    /// Its key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Whose problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Party {
    /// Who sends: the message, its servers, their records.
    Sender,
    /// The person written to.
    Recipient,
    /// Who runs the receiving server.
    Receiver,
    /// What lies between.
    Network,
    /// The address is wrong, so it is a matter of the list.
    Address,
}

impl Party {
    /// Its key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Receiver => "receiver",
            Self::Network => "network",
            Self::Address => "address",
        }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::Sender, Self::Recipient, Self::Receiver, Self::Network, Self::Address]
            .into_iter()
            .find(|party| party.key() == text)
    }
}

/// How sure an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Confidence {
    /// Only a class or a code without words speaks for it, or words contradict each other.
    Guess,
    /// Words that many servers use in this sense, or a code that says it by the registry.
    Likely,
    /// Words or codes of this very provider or software.
    Sure,
}

impl Confidence {
    /// Its key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Guess => "guess",
            Self::Likely => "likely",
            Self::Sure => "sure",
        }
    }
}

/// Which level of trust decided, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Basis {
    /// A known text or code of the provider that answered.
    Provider,
    /// A known text of a filter product.
    Filter,
    /// A block list that the text names.
    BlockList,
    /// A default text of a server's software.
    Software,
    /// The sending side refused by itself.
    SenderSide,
    /// A known text of a provider, from a host that is not known to be that provider's.
    OtherProvider,
    /// Words that many servers use.
    Generic,
    /// The registered meaning of the enhanced code.
    Registry,
    /// The basic code.
    BasicCode,
    /// Only the first digit.
    Class,
    /// What the reporting server did, without a reply.
    Outcome,
    /// Nothing: the text is unknown.
    Nothing,
}

impl Basis {
    /// Its key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Filter => "filter",
            Self::BlockList => "block-list",
            Self::Software => "software",
            Self::SenderSide => "sender-side",
            Self::OtherProvider => "other-provider",
            Self::Generic => "generic",
            Self::Registry => "registry",
            Self::BasicCode => "basic-code",
            Self::Class => "class",
            Self::Outcome => "outcome",
            Self::Nothing => "nothing",
        }
    }
}

/// Which record or setting changes the answer: the text of the action names it, this what it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Key of the action whose record it is.
    pub action: &'static str,
    /// The address, domain, list entry that it is about, if the text names one.
    pub concerns: Option<Found>,
}

/// A value that a reply names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What it is.
    pub kind: FoundKind,
    /// As it stands there.
    pub value: String,
    /// Where.
    pub range: Range<usize>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FoundKind {
    /// An IP address.
    Ip,
    /// A domain.
    Domain,
    /// A web address.
    Url,
    /// A DKIM selector.
    Selector,
    /// A block list, by its name.
    List,
    /// A mail address.
    Address,
}

impl FoundKind {
    /// Its key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Url => "url",
            Self::Selector => "selector",
            Self::List => "list",
            Self::Address => "address",
        }
    }
}

/// Words of the input that speak for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// Where they stand in the input.
    pub range: Range<usize>,
    /// The words, white space collapsed, secrets masked.
    pub text: String,
}

/// A step of a dialogue that breaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Its key: a row of the faults, and a topic of the languages.
    pub key: &'static str,
    /// The line of the input, from 1.
    pub line: usize,
    /// The line itself, shortened, secrets masked.
    pub text: String,
    /// The facts: who, RFC and section, how bad.
    pub facts: &'static postroad_reference::signs::Fault,
}
