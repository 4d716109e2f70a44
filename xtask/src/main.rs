//! `cargo xtask NAME`: see the library.
#![allow(clippy::print_stderr, reason = "a tool says what is wrong")]

use clap::{Parser, Subcommand};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use xtask::{crash, fuzz, hostile, tidy, translations, walls};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tools")]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Checks which crate uses which.
    Walls,
    /// Checks house rules about files and words.
    Tidy,
    /// Shows how whole the reference is in each language, and what is missing or stale.
    Translations {
        /// Note in this language that its texts follow the English of today.
        #[arg(long, value_name = "LANG")]
        mark: Option<String>,
    },
    /// Fuzzes, guided by coverage, on the stable toolchain.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this one.
        #[arg(long)]
        target: Option<String>,
    },
    /// Kills the server under load and looks for what was lost.
    Crash {
        /// How often.
        #[arg(long, default_value_t = 300)]
        kills: u32,
        /// Sessions that send.
        #[arg(long, default_value_t = 8)]
        sessions: u64,
        /// Where chance begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The program; else the release build is made and taken.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Misuses the server and shows its memory.
    Hostile {
        /// Only the cases whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
        /// The program; else the release build is made and taken.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Options::parse().what) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was well.
fn run(what: What) -> io::Result<bool> {
    match what {
        What::Walls => Ok(told(&walls::breaches()?)),
        What::Tidy => Ok(told(&tidy::offences()?)),
        What::Translations { mark: Some(tag) } => {
            let changed = translations::mark(&tag)?;
            eprintln!("{changed} marks written");
            Ok(true)
        }
        What::Translations { mark: None } => {
            eprint!("{}", translations::coverage());
            Ok(told(&translations::faults()))
        }
        What::Fuzz { seconds, target } => fuzz::run(target.as_deref(), seconds).map(|()| true),
        What::Crash { kills, sessions, seed, binary } => {
            let binary = built(binary)?;
            let progress = crash::Progress::Shown;
            let plan = crash::Plan { binary, kills, check_every: 10, sessions, seed, progress };
            let summary = crash::run(&plan)?;
            eprint!("{summary}");
            Ok(summary.is_kept())
        }
        What::Hostile { only, binary } => hostile::run(&built(binary)?, &only).map(|()| true),
    }
}

fn told(faults: &[String]) -> bool {
    for fault in faults {
        eprintln!("{fault}");
    }
    faults.is_empty()
}

/// The program under test: the one given, or the release build, made now.
fn built(given: Option<PathBuf>) -> io::Result<PathBuf> {
    if let Some(binary) = given {
        return Ok(binary);
    }
    let status = Command::new("cargo")
        .args(["build", "--release", "-p", "postroad"])
        .current_dir(xtask::root())
        .status()?;
    if !status.success() {
        return Err(io::Error::other("postroad could not be built"));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| xtask::root().join("target"), PathBuf::from);
    Ok(target.join("release/postroad"))
}
