//! What the DNS says of an address or a domain: findings, never decisions, and never a sentence.
//!
//! Everything is asked through a [`dns::Resolver`] that the caller hands in; no socket, file or clock is
//! touched here, so the whole crate is tested over a [`zone::Zone`] in memory. [`live`] holds the questions
//! that a bounce gives rise to, [`spf`] the one that needs an evaluator of its own (RFC 7208).

pub mod dns;
pub mod lists;
pub mod live;
pub mod spf;
pub mod zone;

#[cfg(test)]
mod testing;
