//! The facts: read once from the tables in `data/facts`, the same for every language.

use std::sync::OnceLock;

const REPLY_CODES: &str = include_str!("../data/facts/reply-codes.tsv");
const REPLY_TRAITS: &str = include_str!("../data/facts/reply-traits.tsv");
const ENHANCED_CODES: &str = include_str!("../data/facts/enhanced-codes.tsv");
const RFC_SECTIONS: &str = include_str!("../data/facts/rfc-sections.tsv");
const PROVIDER_BOUNCES: &str = include_str!("../data/facts/provider-bounces.tsv");

/// The first digit (RFC 5321 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5321 §4.2.1 closes the set; the rest is no reply at all")]
pub enum Class {
    /// 2yz: done.
    Completion,
    /// 3yz: go on.
    Intermediate,
    /// 4yz: not now.
    Transient,
    /// 5yz: not like this.
    Permanent,
    /// A number that is no reply of SMTP, though lists repeat it.
    Pseudo,
}

impl Class {
    /// The class of a number, by its first digit.
    pub const fn of(code: u16) -> Self {
        match code {
            200..=299 => Self::Completion,
            300..=399 => Self::Intermediate,
            400..=499 => Self::Transient,
            500..=599 => Self::Permanent,
            _ => Self::Pseudo,
        }
    }

    /// The key of the class among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Completion => "2",
            Self::Intermediate => "3",
            Self::Transient => "4",
            Self::Permanent => "5",
            Self::Pseudo => "pseudo",
        }
    }
}

/// How far a code is backed by a standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// An RFC defines it.
    Standard,
    /// An Experimental RFC.
    Experimental,
    /// Only a number in the table of RFC 5248 §2.4, without a text.
    Associated,
    /// An expired draft.
    Draft,
    /// Real servers send it, no RFC has it.
    Vendor,
    /// Lists repeat it, no server is known to send it.
    Folklore,
}

impl Standing {
    /// The key among the texts of a language.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
            Self::Associated => "associated",
            Self::Draft => "draft",
            Self::Vendor => "vendor",
            Self::Folklore => "folklore",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "standard" | "iana" => Self::Standard,
            "experimental" => Self::Experimental,
            "associated" => Self::Associated,
            "draft" => Self::Draft,
            "folklore" => Self::Folklore,
            _ => Self::Vendor,
        }
    }
}

/// A basic reply code: one row of `reply-codes.tsv` with its row of `reply-traits.tsv`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Basic {
    /// The number.
    pub code: u16,
    /// The official English name; in parentheses where it is only a description.
    pub name: &'static str,
    /// By its first digit.
    pub class: Class,
    /// `success`, `transient`, `permanent` or `n/a`.
    pub lasting: &'static str,
    /// `info`, `low`, `medium` or `high`: what it means for the sender's mail.
    pub severity: &'static str,
    /// What it is about, as `connection`, `mailbox`, `syntax`.
    pub category: &'static str,
    /// The commands that it answers, separated by commas; `-` where none is known.
    pub given_by: &'static str,
    /// The RFC, as in the source's head.
    pub rfc: &'static str,
    /// The sections.
    pub section: &'static str,
    /// How far a standard backs it.
    pub standing: Standing,
    /// Enhanced codes seen with it, with remarks.
    pub enhanced: &'static str,
    /// Related codes, separated by commas.
    pub related: &'static str,
    /// Remarks; `-` for none.
    pub note: &'static str,
    /// What comparisons are worked out from.
    pub traits: Traits,
}

/// What a code does to the dialogue and the mail: keys of the texts `stage.*`, `retry.*` and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traits {
    /// Where in the dialogue it comes.
    pub stage: &'static str,
    /// Whether to try again, and how.
    pub retry: &'static str,
    /// Who must act.
    pub actor: &'static str,
    /// The session afterwards.
    pub session: &'static str,
    /// What becomes of the message.
    pub delivery: &'static str,
}

/// An enhanced status code: one row of `enhanced-codes.tsv`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Enhanced {
    /// As the table has it: `X.7.26`, `4.7.31`, `5.7.501-503`.
    pub code: &'static str,
    /// The official English name; in parentheses the vendor that uses it.
    pub name: &'static str,
    /// The classes it is used in, as `4,5`.
    pub classes: &'static str,
    /// The basic codes the registry puts beside it.
    pub basic_codes: &'static str,
    /// The subject, as `mailbox`.
    pub subject: &'static str,
    /// The RFC.
    pub rfc: &'static str,
    /// The sections.
    pub section: &'static str,
    /// `iana`, `draft`, or `vendor:` and a name.
    pub source: &'static str,
    /// What its receiver should do: a key of the actions, at times with a condition behind it.
    pub disposition: &'static str,
    /// Remarks; `-` for none.
    pub note: &'static str,
}

impl Enhanced {
    /// Whether this row speaks of `class.subject.detail`.
    pub fn covers(&self, class: u16, subject: u16, detail: u16) -> bool {
        // Codes that the same vendor uses alike are named in the remark.
        let alike = self.note.split("also ").skip(1).filter_map(|rest| rest.split([' ', ',', ';']).next());
        self.code.split(" / ").chain(alike).any(|one| covers(one, class, subject, detail))
    }

    /// Whether the registry has it.
    pub fn is_registered(&self) -> bool {
        self.source == "iana"
    }
}

/// Whether a code of the tables, such as `X.7.26`, `4.7.31` or `5.7.501-503`, speaks of `class.subject.detail`.
pub fn covers(code: &str, class: u16, subject: u16, detail: u16) -> bool {
    let mut parts = code.split('.');
    let (Some(c), Some(s), Some(d)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let (low, high) = d.split_once('-').unwrap_or((d, d));
    (c == "X" || c.parse() == Ok(class))
        && s.parse() == Ok(subject)
        && low.parse().is_ok_and(|low: u16| low <= detail)
        && high.parse().is_ok_and(|high: u16| detail <= high)
}

/// A pattern of a known refusal: one row of `provider-bounces.tsv`; the head of that file says more.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, as `goog-02`.
    pub id: &'static str,
    /// Who says it.
    pub provider: &'static str,
    /// `receiver`, `filter`, `dnsbl`, `mta`, `sender-side` or `generic`.
    pub kind: &'static str,
    /// What the text must hold: a regular expression that needs linear time.
    pub pattern: &'static str,
    /// Basic codes seen with it.
    pub reply: &'static str,
    /// Enhanced codes seen with it.
    pub enhanced: &'static str,
    /// The key of the cause.
    pub cause: &'static str,
    /// The key of what the sender should do.
    pub action: &'static str,
    /// `documented`, `source` or `observed`.
    pub evidence: &'static str,
    /// Where that was found.
    pub source: &'static str,
}

/// Every basic code, in ascending order.
pub fn basics() -> &'static [Basic] {
    static ROWS: OnceLock<Vec<Basic>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let traits: Vec<[&str; 6]> = rows(REPLY_TRAITS).collect();
        let mut all: Vec<Basic> =
            rows(REPLY_CODES).filter_map(|row| basic(row, traits.iter().find(|t| t[0] == row[0]))).collect();
        all.sort_by_key(|basic| basic.code);
        all
    })
}

/// The facts of a basic code.
pub fn basic_code(code: u16) -> Option<&'static Basic> {
    let rows = basics();
    rows.binary_search_by_key(&code, |row| row.code).ok().and_then(|at| rows.get(at))
}

/// Every enhanced code, the registered ones first.
pub fn enhanced() -> &'static [Enhanced] {
    static ROWS: OnceLock<Vec<Enhanced>> = OnceLock::new();
    ROWS.get_or_init(|| rows(ENHANCED_CODES).map(enhanced_row).collect())
}

/// The rows that speak of an enhanced code: the registry's and those of vendors.
pub fn enhanced_code(class: u16, subject: u16, detail: u16) -> Vec<&'static Enhanced> {
    enhanced().iter().filter(|row| row.covers(class, subject, detail)).collect()
}

/// Whether a section of an RFC exists, as far as is known here; a text may cite no other.
pub fn has_section(rfc: &str, section: &str) -> bool {
    rows::<2>(RFC_SECTIONS)
        .any(|[have, sections]| have == rfc && sections.split(' ').any(|one| one == section))
}

/// Every pattern, in the order of the file, which is the order of trying inside a provider.
pub fn rules() -> &'static [Rule] {
    static ROWS: OnceLock<Vec<Rule>> = OnceLock::new();
    ROWS.get_or_init(|| rows(PROVIDER_BOUNCES).map(rule).collect())
}

/// The rows of a table: lines that are neither comments nor its head, cut at tabs.
pub(crate) fn rows<const N: usize>(table: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).skip(1).map(|line| {
        let mut cells = line.split('\t');
        std::array::from_fn(|_| cells.next().unwrap_or("-").trim())
    })
}

fn basic(row: [&'static str; 13], traits: Option<&[&'static str; 6]>) -> Option<Basic> {
    let [
        code,
        name,
        _class,
        lasting,
        severity,
        category,
        given_by,
        rfc,
        section,
        status,
        enhanced,
        related,
        note,
    ] = row;
    let code = code.parse().ok()?;
    let traits = traits.map_or_else(Traits::default, |&[_, stage, retry, actor, session, delivery]| Traits {
        stage,
        retry,
        actor,
        session,
        delivery,
    });
    let (class, standing) = (Class::of(code), Standing::read(status));
    Some(Basic {
        code,
        name,
        class,
        lasting,
        severity,
        category,
        given_by,
        rfc,
        section,
        standing,
        enhanced,
        related,
        note,
        traits,
    })
}

fn enhanced_row(row: [&'static str; 10]) -> Enhanced {
    let [code, name, classes, basic_codes, subject, rfc, section, source, disposition, note] = row;
    Enhanced { code, name, classes, basic_codes, subject, rfc, section, source, disposition, note }
}

fn rule(row: [&'static str; 10]) -> Rule {
    let [id, provider, kind, pattern, reply, enhanced, cause, action, evidence, source] = row;
    Rule { id, provider, kind, pattern, reply, enhanced, cause, action, evidence, source }
}
