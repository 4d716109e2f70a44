//! `postroad compare` and `postroad codes`: the reference beside single codes.

use super::answer::AnswerArgs;
use crate::exit::Exit;
use anstream::eprintln;
use postroad_explain::code::Asked;
use postroad_explain::{compare, list};

/// Compare two reply codes: what each is, how they differ, and which one when
///
/// For example `postroad compare 354 550` or `postroad compare 5.7.1 5.7.26`. Whichever order is given,
/// the answer is the same.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompareArgs {
    /// A reply code or enhanced status code.
    one: String,
    /// Another.
    other: String,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// List the codes, or those that speak of something.
#[derive(Debug, clap::Args)]
pub(crate) struct CodesArgs {
    /// Only codes whose number, names or texts hold all these words.
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Compares.
pub(crate) fn run_compare(args: &CompareArgs) -> Exit {
    exit(|| {
        let language = args.answer.language()?;
        let (one, other) = (asked(&args.one)?, asked(&args.other)?);
        args.answer.print(&compare::page(language, one, other))
    })
}

/// Lists.
pub(crate) fn run_codes(args: &CodesArgs) -> Exit {
    exit(|| args.answer.print(&list::page(args.answer.language()?, args.search.as_deref())))
}

fn exit(run: impl FnOnce() -> Result<(), Exit>) -> Exit {
    run().err().unwrap_or(Exit::Done)
}

/// A code, or a reply code with its enhanced code behind it, which then is what is meant.
fn asked(text: &str) -> Result<Asked, Exit> {
    let precise = match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        [code, enhanced] if Asked::parse(code).is_some() => Asked::parse(enhanced),
        _ => Asked::parse(text),
    };
    precise.ok_or_else(|| {
        eprintln!("postroad: {text:?} is not a code; a code looks like 354 or 5.7.26, and `postroad codes` lists all");
        Exit::Usage
    })
}
