//! The known refusals: which rule speaks for a reply, in the order of trust.
//!
//! The order: the provider that answered, filters, block lists, software, the sending side, words that
//! many use. Vendors reuse registered codes, so their own come before the registry. Within a level the
//! first rule of the table wins. One pass over the reply tells all rules of a level.

use crate::answer::{Basis, EnhancedCode};
use crate::reading::pattern::{Pattern, Patterns};
use postroad_reference::facts::{self, Rule};
use postroad_reference::signs::{self, CodeCause, Sign};
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

/// A wording this long is a provider's own, whoever is known to have answered.
const DISTINCT: usize = 24;

/// A rule that speaks for a reply.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub(crate) rule: &'static Rule,
    pub(crate) basis: Basis,
    /// The words in the text that was looked at.
    pub(crate) range: Range<usize>,
}

impl Match {
    /// Whether the words are so many that nobody else uses them by chance.
    pub(crate) fn is_distinct(&self) -> bool {
        self.range.len() >= DISTINCT
    }
}

/// Who answered: the providers it may be, and whose own codes count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who {
    pub(crate) providers: Vec<&'static str>,
    pub(crate) vendor: Option<&'static str>,
}

/// The rules of one kind.
struct Level {
    kind: &'static str,
    rules: Vec<(&'static Rule, OnceLock<Pattern>)>,
    set: Patterns,
}

static LEVELS: LazyLock<Vec<Level>> = LazyLock::new(|| {
    ["receiver", "filter", "dnsbl", "mta", "sender-side", "generic"]
        .into_iter()
        .map(|kind| {
            let rules: Vec<&Rule> = facts::rules().iter().filter(|rule| rule.kind == kind).collect();
            Level {
                kind,
                set: Patterns::new(rules.iter().map(|rule| rule.pattern)),
                rules: rules.into_iter().map(|rule| (rule, OnceLock::new())).collect(),
            }
        })
        .collect()
});

impl Level {
    fn matches(kind: &str, text: &[u8]) -> Vec<(&'static Rule, Range<usize>)> {
        let Some(level) = LEVELS.iter().find(|level| level.kind == kind) else { return Vec::new() };
        level
            .set
            .matches(text)
            .into_iter()
            .filter_map(|at| {
                let (rule, pattern) = level.rules.get(at)?;
                let range = pattern.get_or_init(|| Pattern::new(rule.pattern)).find(text)?;
                Some((*rule, range))
            })
            .collect()
    }
}

/// A reply as the rules look at it, each copy with every octet at its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked<'a> {
    /// People's addresses made unreadable but for their domains.
    pub(crate) text: &'a [u8],
    /// The same wholly: words in a person's address say nothing.
    pub(crate) masked: &'a [u8],
    /// Links made unreadable too.
    pub(crate) words: &'a [u8],
    pub(crate) enhanced: Option<EnhancedCode>,
}

/// The rule that speaks for a reply. A rule that leaves the action to the text, or that only knows that
/// the time ran out, speaks only where no other does.
pub(crate) fn find(looked: Looked, who: &Who) -> Option<Match> {
    let all = in_order(looked, who);
    // "Timeout" in "retry timeout exceeded" tells nothing more.
    let beyond = |found: &Match| {
        let late = all.iter().find(|one| one.rule.cause == "expired");
        late.is_none_or(|late| found.range.end <= late.range.start || late.range.end <= found.range.start)
    };
    let speaks = |found: &Match| found.rule.action != "see-text" && beyond(found);
    let place = all.iter().position(speaks).unwrap_or(0);
    all.into_iter().nth(place)
}

/// The first rule of each level, the most trusted level first.
fn in_order(looked: Looked, who: &Who) -> Vec<Match> {
    let Looked { text, masked, .. } = looked;
    let receivers = Level::matches("receiver", text);
    let known = who.providers.iter().flat_map(|provider| {
        let own = receivers.iter().filter(move |(rule, _)| rule.provider == *provider);
        own.map(|(rule, range)| Match { rule, basis: Basis::Provider, range: range.clone() })
    });
    let others = |distinct: bool| {
        let all = receivers.iter().filter(|(rule, _)| !who.providers.contains(&rule.provider));
        let all = all.map(|(rule, range)| Match { rule, basis: Basis::OtherProvider, range: range.clone() });
        all.filter(move |found| !distinct || found.is_distinct())
    };
    let of = |kind, basis, text| {
        Level::matches(kind, text).into_iter().map(move |(rule, range)| Match { rule, basis, range })
    };
    let nobody = who.providers.is_empty();
    let mut all: Vec<Match> = known.collect();
    all.extend(of("filter", Basis::Filter, text));
    all.extend(of("dnsbl", Basis::BlockList, masked));
    if nobody {
        all.extend(others(false));
    }
    all.extend(of("mta", Basis::Software, text));
    all.extend(of("sender-side", Basis::SenderSide, text));
    if !nobody {
        all.extend(others(true));
    }
    all.extend(generic(looked));
    all
}

/// Of the words that many use, in the order of the table: there the open row stands where it must.
///
/// Where words of an unknown mailbox stand beside words about the sender, the reason stands first and
/// the rest describes it ("spam score 11 (user unknown list mail)"); open words yield to any others.
fn generic(looked: Looked) -> Option<Match> {
    let of_mailbox = |rule: &Rule| rule.cause.starts_with("mailbox-");
    let of_sender = |rule: &Rule| {
        matches!(
            rule.cause,
            "auth" | "reputation" | "blocklist" | "content" | "virus" | "rate" | "relay" | "policy"
        )
    };
    let is_open = |rule: &Rule| rule.action == "see-text";
    let refused = looked.enhanced.is_some_and(|code| code.subject() == 7);
    let all = Level::matches("generic", looked.words);
    let (first, at) = all.first()?;
    let other = all.iter().filter(|_| of_mailbox(first)).find(|(rule, range)| {
        of_sender(rule) && (is_open(first) || range.start < at.start) && (refused || !is_open(rule))
    });
    let (rule, range) = other.or(all.first())?;
    Some(Match { rule, basis: Basis::Generic, range: range.clone() })
}

/// Whether words of another cause stand beside those of a mailbox, apart from them.
pub(crate) fn rivals(words: &[u8], found: &Match) -> bool {
    let of_mailbox = |rule: &Rule| rule.cause.starts_with("mailbox-");
    of_mailbox(found.rule)
        && Level::matches("generic", words).iter().any(|(rule, range)| {
            let apart = range.end <= found.range.start || found.range.end <= range.start;
            !of_mailbox(rule) && rule.cause != "dns" && apart
        })
}

/// The causes that words of a text speak for, by the generic rules.
pub(crate) fn generic_causes(words: &[u8]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (rule, _) in Level::matches("generic", words) {
        if !found.contains(&rule.cause) {
            found.push(rule.cause);
        }
    }
    found
}

/// Who answered, by its host, else by signs in its words, else by the recipient's domain.
pub(crate) fn who(hosts: &[&str], text: &[u8], domain: Option<&str>) -> Who {
    let mut who = Who::default();
    let mut add = |sign: &'static Sign| {
        if !who.providers.contains(&sign.provider) {
            who.providers.push(sign.provider);
        }
        who.vendor.get_or_insert(sign.vendor);
    };
    for host in hosts {
        for sign in signs::signs().iter().filter(|sign| sign.kind == "host") {
            if is_below(host, sign.value) {
                add(sign);
            }
        }
    }
    for at in SIGNS.0.matches(text) {
        if let Some(sign) = SIGNS.1.get(at) {
            add(sign);
        }
    }
    if who.providers.is_empty() && hosts.is_empty() {
        for sign in signs::signs().iter().filter(|sign| sign.kind == "domain") {
            if domain.is_some_and(|domain| domain.eq_ignore_ascii_case(sign.value)) {
                let who = &mut who;
                who.providers.push(sign.provider);
                who.vendor.get_or_insert(sign.vendor);
            }
        }
    }
    who
}

static SIGNS: LazyLock<(Patterns, Vec<&'static Sign>)> = LazyLock::new(|| {
    let rows: Vec<&Sign> = signs::signs().iter().filter(|sign| sign.kind == "text").collect();
    (Patterns::new(rows.iter().map(|sign| sign.value)), rows)
});

fn is_below(host: &str, ending: &str) -> bool {
    let host = host.trim_end_matches('.');
    let head = host.len().checked_sub(ending.len()).and_then(|at| Some((host.get(..at)?, host.get(at..)?)));
    head.is_some_and(|(before, tail)| {
        tail.eq_ignore_ascii_case(ending) && (before.is_empty() || before.ends_with('.'))
    })
}

/// What an enhanced code means, the vendor's own use first.
pub(crate) fn enhanced_cause(
    code: EnhancedCode,
    vendor: Option<&str>,
) -> Option<(&'static CodeCause, Basis)> {
    let rows = signs::code_causes();
    let own =
        vendor.and_then(|vendor| rows.iter().find(|row| row.vendor == vendor && covers(row.code, code)));
    let registry = || rows.iter().find(|row| row.vendor == "-" && covers(row.code, code));
    // A code that nobody registered is the vendor's, whoever said it.
    let other = || rows.iter().find(|row| covers(row.code, code));
    own.map(|row| (row, Basis::Provider))
        .or_else(|| registry().map(|row| (row, Basis::Registry)))
        .or_else(|| other().map(|row| (row, Basis::OtherProvider)))
}

/// What a basic code means, or else its first digit.
pub(crate) fn basic_cause(code: u16) -> Option<(&'static CodeCause, Basis)> {
    let find = |key: &str| signs::code_causes().iter().find(|row| row.vendor == "-" && row.code == key);
    find(&code.to_string())
        .map(|row| (row, Basis::BasicCode))
        .or_else(|| find(&(code / 100).to_string()).map(|row| (row, Basis::Class)))
}

/// Whether a provider is known to use a registered code in another sense than that a mailbox is gone.
pub(crate) fn reuses(who: &Who, code: EnhancedCode) -> bool {
    let text = code.to_string();
    facts::rules().iter().any(|rule| {
        who.providers.contains(&rule.provider)
            && !rule.cause.starts_with("mailbox-")
            && rule.enhanced.split(',').any(|one| one == text)
    })
}

fn covers(row: &str, code: EnhancedCode) -> bool {
    facts::covers(row, code.class() as u16, code.subject(), code.detail())
}
