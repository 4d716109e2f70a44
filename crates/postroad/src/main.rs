//! Postroad: an SMTP server that never loses a message it accepted, and that can always say why.
//!
//! The command line. Exit codes are those of `sysexits.h`; docs/operations.md has the table.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a command finds out goes to the terminal"
)]

mod commands;
mod exit;
mod log;

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
    Serve(commands::serve::Args),
    /// Look at the mail that waits, and why it waits.
    #[command(subcommand)]
    Queue(commands::queue::Command),
    /// Have the running server read its configuration again.
    Reload(commands::reload::Args),
    /// Find out whether this machine keeps its promises.
    #[command(subcommand)]
    Doctor(commands::doctor::Command),
    /// Check, show, explain or write the configuration.
    #[command(subcommand)]
    Config(commands::config::Command),
    Send(commands::send::SendArgs),
    Explain(commands::explain::Args),
    Compare(commands::codes::CompareArgs),
    Codes(commands::codes::CodesArgs),
    Trace(commands::trace::Args),
    Reference(commands::reference::Args),
}

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return exit::of_command_line(&error),
    };
    match line.command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Queue(command) => commands::queue::run(&command),
        Command::Reload(args) => commands::reload::run(&args),
        Command::Doctor(command) => commands::doctor::run(&command),
        Command::Config(command) => commands::config::run(&command),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Compare(args) => commands::codes::run_compare(&args),
        Command::Reference(args) => commands::reference::run(&args),
        Command::Trace(args) => commands::trace::run(&args),
        Command::Codes(args) => commands::codes::run_codes(&args),
        Command::Send(args) => return commands::send::run(args),
    }
    .into()
}
