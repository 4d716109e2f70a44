//! Reading what a person pastes: a bounce, a reply, a log, a session.
//!
//! ```text
//! recognise ─► bounce (mime, dsn, text), log, transcript ─► replies, each with its recipient
//!                                               │                      │
//!                                            faults                 judge (rules, find) ─► Answer
//! ```
//! Every step is linear in the text, which is looked at up to [`LOOK_AT`] octets.

mod bounce;
mod dsn;
mod faults;
mod find;
mod judge;
mod line;
mod log;
mod mime;
mod pattern;
mod recognise;
mod rules;
mod said;
mod source;
mod text;
mod transcript;

pub use recognise::explain_text;
pub use source::LOOK_AT;
