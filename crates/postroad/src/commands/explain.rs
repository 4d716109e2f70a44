//! `postroad explain`: a code, a reply, a bounce, a transcript, or a reference from one of our replies.

use super::answer::AnswerArgs;
use crate::exit::Exit;
use anstream::eprintln;
use postroad_explain::code::{self, Asked};

/// Explain a reply code, a reply, a bounce, a transcript, or a reference from a reply of this server.
///
/// What it is, is found out by itself:
///   postroad explain 354              a reply code
///   postroad explain 5.7.26           an enhanced status code
///   postroad explain "550 5.7.1 ..."  a reply as a server gave it
///   postroad explain bounce.eml       a file: a bounce, a log, a transcript of a session
///   postroad explain -                the same from standard input
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A code, a reply, a file, or - for standard input.
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    #[command(flatten)]
    answer: AnswerArgs,
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
    eprintln!("postroad: {what:?} is neither a code nor a file; `postroad codes` lists the codes");
    Err(Exit::Usage)
}
