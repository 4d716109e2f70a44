//! Postroad: an SMTP server that never loses a message it accepted, and that can always say why.
//!
//! The command line. Exit codes are those of `sysexits.h`: 64 for a wrong command line, 66 for a file
//! that cannot be read, 78 for a wrong configuration.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a command finds out goes to the terminal"
)]

mod commands;
mod exit;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// An SMTP server that never loses a message it accepted, and that can always say why.
#[derive(Debug, Parser)]
#[command(name = "postroad", version, arg_required_else_help = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check, show, explain or write the configuration.
    #[command(subcommand)]
    Config(commands::config::Command),
}

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return exit::of_command_line(&error),
    };
    match line.command {
        Command::Config(command) => commands::config::run(&command),
    }
    .into()
}
