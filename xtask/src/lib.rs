//! The project's own tools, called by `cargo xtask NAME`.
//!
//! [`walls`] and [`tidy`] are house rules that are tests as well; [`targets`] are the functions that
//! fuzzing calls, [`fuzz`] builds and runs them; [`crash`] and [`hostile`] drive the built server from
//! outside, through [`serve`]. Failure is a [`std::io::Error`] with a sentence for a developer.
#![allow(clippy::disallowed_methods, reason = "these tools measure and wait in real time")]
#![allow(clippy::print_stdout, reason = "tools print")]

pub mod crash;
pub mod fuzz;
pub mod hostile;
pub mod serve;
pub mod smtp;
pub mod targets;
pub mod tidy;
pub mod translations;
pub mod walls;

use std::io;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// An error with this text.
pub(crate) fn trouble<T>(text: impl Into<String>) -> io::Result<T> {
    Err(io::Error::other(text.into()))
}
