//! Turns codes, bounces, transcripts and records into answers that a person can use.
//!
//! Text goes in, answers come out: no file, socket or clock is touched here, and whatever a stranger
//! sent is read in linear time and bounded memory. The knowledge itself is `postroad-reference`.

pub mod answer;
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

pub use answer::{Answer, Fault, Reading};
pub use recognise::explain_text;
