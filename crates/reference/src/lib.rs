//! What each SMTP reply code means, as data, in several languages.
//!
//! Facts stand once, in `data/facts/*.tsv`: the codes, their class, RFC and section, what gives them,
//! the patterns of known refusal texts. Prose stands a folder a language, `data/<tag>/*.toml`, and
//! repeats no fact. Adding a language is adding a folder; see `docs/add-language.md`. Each entry of a
//! translation keeps the mark of the English that it translates, so [`check`] can name what is missing
//! and what is stale.
//!
//! Sources: RFC 5321 §4.2, RFC 3463, RFC 5248 and the registries they begin.

pub mod check;
pub mod facts;
pub mod language;
pub mod signs;

pub use facts::{Basic, Class, Enhanced, Rule, Standing};
pub use language::{Entry, Language};

mod data {
    include!(concat!(env!("OUT_DIR"), "/data.rs"));
}

/// The example dialogue of each basic code, as `(code, text)`, in the format of `dialogues/README.md`.
/// A first line `# not ours` marks a reply that this server never gives.
pub fn examples() -> &'static [(&'static str, &'static str)] {
    data::EXAMPLES
}

/// The example dialogue of a basic code.
pub fn example(code: u16) -> Option<&'static str> {
    let code = code.to_string();
    data::EXAMPLES.iter().find(|(name, _)| *name == code).map(|(_, text)| *text)
}
