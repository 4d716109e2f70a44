//! The functions that fuzzing calls, one per parser, and whole sessions.
//!
//! Each takes any octets and panics when a promise is broken. `fuzz/` has a small program for each;
//! `cargo test` replays `fuzz/corpus/` through the same functions, so that what was once found stays
//! found.
#![allow(clippy::panic, reason = "a broken promise is reported by a panic, which is what fuzzing looks for")]

mod client;
mod content;
mod explain;
mod parsers;
mod session;

/// Something to fuzz.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target {
    /// Its name: of the program in `fuzz/` and of the folder in `fuzz/corpus/`.
    pub name: &'static str,
    /// What is called.
    pub run: fn(&[u8]),
}

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "address", run: parsers::address },
    Target { name: "reply", run: parsers::reply },
    Target { name: "command", run: parsers::command },
    Target { name: "header", run: parsers::header },
    Target { name: "content", run: content::content },
    Target { name: "session", run: session::session },
    Target { name: "bdat", run: session::bdat },
    Target { name: "client", run: client::client },
    Target { name: "spool", run: parsers::spool },
    Target { name: "proxy", run: parsers::proxy },
    Target { name: "config", run: parsers::config },
    Target { name: "bounce", run: explain::bounce },
    Target { name: "ledger", run: explain::ledger },
];

/// Calls the target of this name.
///
/// # Panics
/// When a promise is broken, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    match ALL.iter().find(|target| target.name == name) {
        Some(target) => (target.run)(input),
        None => panic!("there is no target {name}"),
    }
}
