//! The facts by which bounces and dialogues are read: signs of providers, causes and actions, faults.
//!
//! Like [`crate::facts`]: read once from the tables in `data/facts`, the same for every language.

use crate::facts::rows;
use std::sync::OnceLock;

const FAULTS: &str = include_str!("../data/facts/faults.tsv");
const CAUSES: &str = include_str!("../data/facts/causes.tsv");
const ACTIONS: &str = include_str!("../data/facts/actions.tsv");
const CODE_CAUSES: &str = include_str!("../data/facts/code-causes.tsv");
const PROVIDER_SIGNS: &str = include_str!("../data/facts/provider-signs.tsv");
const BOUNCE_WORDS: &str = include_str!("../data/facts/bounce-words.tsv");

/// A step of a dialogue that breaks the protocol: one row of `faults.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Its name.
    pub key: &'static str,
    /// `client` or `server`.
    pub side: &'static str,
    /// The RFC, as `5321`.
    pub rfc: &'static str,
    /// The section.
    pub section: &'static str,
    /// `error`, `warning` or `note`.
    pub severity: &'static str,
}

/// A cause of refusals: one row of `causes.tsv`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cause {
    /// Its name.
    pub key: &'static str,
    /// Whose problem it is, separated by commas; `-` for nobody's.
    pub whose: &'static str,
    /// `yes` where it asks for slower sending whatever the action is.
    pub slow: &'static str,
}

/// What a sender does about a refusal: one row of `actions.tsv`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Action {
    /// Its name.
    pub key: &'static str,
    /// Overrides whose problem the cause is; `-` keeps it.
    pub whose: &'static str,
    /// `yes` where it means slower sending.
    pub slow: &'static str,
    /// Which values of the reply the record to change is about, the first that is found.
    pub concerns: &'static str,
}

/// What a code means where no known text decides: one row of `code-causes.tsv`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CodeCause {
    /// `-`, or whose own use of the code it is.
    pub vendor: &'static str,
    /// `X.7.1`, `5.7.606-649`, `550`, or a first digit.
    pub code: &'static str,
    /// Key of the cause.
    pub cause: &'static str,
    /// Key of the action.
    pub action: &'static str,
    /// The causes it may have, separated by commas; `-` where it decides.
    pub readings: &'static str,
}

/// By what a provider is known: one row of `provider-signs.tsv`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sign {
    /// The provider, as in the rules.
    pub provider: &'static str,
    /// Whose own codes count.
    pub vendor: &'static str,
    /// `host`, `text` or `domain`.
    pub kind: &'static str,
    /// The ending of a name, or a regular expression.
    pub value: &'static str,
}

/// Words by which bounces are read: one row of `bounce-words.tsv`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Words {
    /// Its name.
    pub key: &'static str,
    /// A regular expression that needs linear time.
    pub pattern: &'static str,
    /// What they say.
    pub meaning: &'static str,
}

/// Every fault.
pub fn faults() -> &'static [Fault] {
    static ROWS: OnceLock<Vec<Fault>> = OnceLock::new();
    ROWS.get_or_init(|| {
        rows(FAULTS)
            .map(|[key, side, rfc, section, severity]| Fault { key, side, rfc, section, severity })
            .collect()
    })
}

/// Every cause.
pub fn causes() -> &'static [Cause] {
    static ROWS: OnceLock<Vec<Cause>> = OnceLock::new();
    ROWS.get_or_init(|| rows(CAUSES).map(|[key, whose, slow]| Cause { key, whose, slow }).collect())
}

/// Every action.
pub fn actions() -> &'static [Action] {
    static ROWS: OnceLock<Vec<Action>> = OnceLock::new();
    ROWS.get_or_init(|| {
        rows(ACTIONS).map(|[key, whose, slow, concerns]| Action { key, whose, slow, concerns }).collect()
    })
}

/// What each code means without a text, vendors' own uses among the rest.
pub fn code_causes() -> &'static [CodeCause] {
    static ROWS: OnceLock<Vec<CodeCause>> = OnceLock::new();
    ROWS.get_or_init(|| {
        rows(CODE_CAUSES)
            .map(|[vendor, code, cause, action, readings]| CodeCause {
                vendor,
                code,
                cause,
                action,
                readings,
            })
            .collect()
    })
}

/// Every sign of a provider, in the order of trust.
pub fn signs() -> &'static [Sign] {
    static ROWS: OnceLock<Vec<Sign>> = OnceLock::new();
    ROWS.get_or_init(|| {
        rows(PROVIDER_SIGNS)
            .map(|[provider, vendor, kind, value]| Sign { provider, vendor, kind, value })
            .collect()
    })
}

/// The words of a key.
pub fn words(key: &str) -> Option<&'static Words> {
    static ROWS: OnceLock<Vec<Words>> = OnceLock::new();
    let all = ROWS.get_or_init(|| {
        rows(BOUNCE_WORDS).map(|[key, pattern, meaning]| Words { key, pattern, meaning }).collect()
    });
    all.iter().find(|words| words.key == key)
}
