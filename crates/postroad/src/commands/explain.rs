//! `postroad explain`: a code, a reply, a bounce, a transcript, or a reference from one of our replies.

use super::answer::AnswerArgs;
use super::config::ConfigArgs;
use super::trace::{flush, open, unreadable};
use crate::exit::Exit;
use anstream::eprintln;
use postroad_explain::code::{self, Asked};
use postroad_explain::story;
use postroad_ledger::Reference;
use postroad_reference::Language;
use std::path::Path;

/// Explain a reply code, a reply, a bounce, a transcript, or a reference from a reply of this server.
///
/// What it is, is found out by itself:
///   postroad explain 354              a reply code
///   postroad explain 5.7.26           an enhanced status code
///   postroad explain "550 5.7.1 ..."  a reply as a server gave it
///   postroad explain bounce.eml       a file: a bounce, a log, a transcript of a session
///   postroad explain -                the same from standard input
///   postroad explain K7Q2-9F4M        the reference in a refusal of this server
/// Exits with 69 if the ledger has no record of a reference.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A code, a reply, a file, or - for standard input.
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    #[command(flatten)]
    answer: AnswerArgs,
    #[command(flatten)]
    sources: ConfigArgs,
}

/// Explains.
pub(crate) fn run(args: &Args) -> Exit {
    run_or(args).err().unwrap_or(Exit::Done)
}

fn run_or(args: &Args) -> Result<(), Exit> {
    let language = args.answer.language()?;
    let what = args.what.join(" ");
    if let Some(asked) = Asked::parse(&what) {
        return args.answer.print(&code::page(language, asked));
    }
    // A name of a file may look like a reference; what is there is meant.
    if let Ok(reference) = what.parse::<Reference>()
        && !Path::new(&what).exists()
    {
        return of_record(args, language, reference);
    }
    eprintln!("postroad: {what:?} is neither a code nor a file; `postroad codes` lists the codes");
    Err(Exit::Usage)
}

/// The story behind a reference, from the ledger of the server of this configuration.
fn of_record(args: &Args, language: &Language, reference: Reference) -> Result<(), Exit> {
    let config = args.sources.load()?;
    flush(&config);
    let found = open(&config)?.find(reference).map_err(|error| unreadable(&config, &error))?;
    if let Some(record) = found {
        return args.answer.print(&story::page(language, &record));
    }
    args.answer.print(&story::missing(language, reference))?;
    Err(Exit::Unavailable)
}
