//! Turns codes, bounces, transcripts and records into answers that a person can use.
//!
//! Text goes in, answers come out: no file, socket or clock is touched here, and whatever a stranger
//! sent is read in linear time and bounded memory. The knowledge itself is `postroad-reference`.

pub mod answer;
pub mod code;
pub mod compare;
pub mod list;
pub mod live;
pub mod page;
mod reading;
pub mod render;
pub mod site;
pub mod story;
pub mod verdict;

pub use answer::{Answer, Fault, Reading};
pub use reading::{LOOK_AT, explain_text};
