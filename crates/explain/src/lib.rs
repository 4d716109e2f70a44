//! Turns codes, bounces, transcripts and records into answers that a person can use.
//!
//! Text goes in, answers come out: no file, socket or clock is touched here, and whatever a stranger
//! sent is read in linear time and bounded memory. The knowledge itself is `postroad-reference`.

pub mod answer;
mod bounce;
pub mod code;
pub mod compare;
mod dsn;
mod faults;
mod find;
mod judge;
mod line;
pub mod list;
mod log;
mod mime;
pub mod page;
mod pattern;
mod recognise;
pub mod render;
mod rules;
mod said;
pub mod site;
mod source;
pub mod story;
mod text;
mod transcript;
pub mod verdict;

pub use answer::{Answer, Fault, Reading};
pub use recognise::explain_text;
pub use source::LOOK_AT;
