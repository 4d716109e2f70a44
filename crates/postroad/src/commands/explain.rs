//! `postroad explain`: a code, a reply, a bounce, a transcript, or a reference from one of our replies.

use super::answer::AnswerArgs;
use super::check;
use super::config::ConfigArgs;
use super::trace::{flush, flush_quietly, open, unreadable};
use crate::exit::Exit;
use anstream::eprintln;
use postroad_explain::answer::Source;
use postroad_explain::code::{self, Asked};
use postroad_explain::{explain_text, live, story, verdict};
use postroad_ledger::{Reader, Record, Reference};
use postroad_reference::Language;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::Path;

/// Octets of a text that are read; the explainer looks at fewer and tells of it.
const MOST: u64 = 4 << 20;

/// Explain a reply code, a reply, a bounce, a transcript, or a reference from a reply of this server
///
/// What it is, is found out by itself:
///   postroad explain 354              a reply code
///   postroad explain 5.7.26           an enhanced status code
///   postroad explain "550 5.7.1 ..."  a reply as a server gave it
///   postroad explain bounce.eml       a file: a bounce, a log, a transcript of a session
///   postroad explain -                the same from standard input
///   postroad explain K7Q2-9F4M        the reference in a refusal of this server
/// With --check, whether the cause of a bounce can still be seen in the DNS is looked up at once: reverse
/// names, SPF, DKIM, DMARC, block lists, mail exchangers. That takes 20 seconds at most.
/// Exits with 65 if nothing in a text is known, and with 69 if the ledger has no record of a reference.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A code, a reply, a file, or - for standard input.
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// Look up in the DNS whether the cause still stands; for a reply, a bounce or a log.
    #[arg(long)]
    check: bool,
    /// Ask this name server instead of those of /etc/resolv.conf.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "check")]
    dns: Option<SocketAddr>,
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
        nothing_to_check(args, "a code")?;
        return args.answer.print(&code::page(language, asked));
    }
    if !Path::new(&what).exists()
        && let Some(row) = code::row_of(&what)
    {
        return args.answer.print(&code::row_page(language, row));
    }
    if what.contains('.') && what.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return args.answer.print(&code::malformed(language, &what));
    }
    // A name of a file may look like a reference; what is there is meant.
    if let Ok(reference) = what.strip_prefix("ref ").unwrap_or(&what).parse::<Reference>()
        && !Path::new(&what).exists()
    {
        nothing_to_check(args, "a reference")?;
        return of_record(args, language, reference);
    }
    let (text, length) = text_of(args, &what)?;
    let ledger = named(args, &text);
    // What was typed is one reply, and whoever has the ledger can be told more than its codes.
    if !args.check
        && is_typed(args, &what)
        && let [(_, record)] = ledger.here.as_slice()
    {
        return args.answer.print(&story::page(language, record));
    }
    let mut reading = explain_text(&text);
    reading.length = length;
    let mut page = verdict::page(language, &reading);
    let here: Vec<Reference> = ledger.here.into_iter().map(|(reference, _)| reference).collect();
    story::add_references(&mut page, language, &here, &ledger.elsewhere);
    if args.check {
        let plans = live::plan(&reading);
        let results = check::run(&plans, args.dns)?;
        live::add(&mut page, language, &reading, &plans, results.as_ref().map_err(|blind| *blind));
    }
    args.answer.print(&page)?;
    if reading.kind == Source::Unknown { Err(Exit::Data) } else { Ok(()) }
}

/// The references in a text, at most so many of them.
const NAMED: usize = 10;

/// What the ledger of this configuration has of the references in a text.
#[derive(Default)]
struct Named {
    here: Vec<(Reference, Record)>,
    elsewhere: Vec<Reference>,
}

/// Looks the references of a text up. Who pastes a reply from elsewhere need not have a server here: where no ledger
/// can be read, that is no fault.
fn named(args: &Args, text: &[u8]) -> Named {
    let mut named = Named::default();
    let references = references(text);
    if references.is_empty() {
        return named;
    }
    let reader = args.sources.sources().load().ok().and_then(|loaded| {
        flush_quietly(&loaded.config);
        Reader::open(&loaded.config.ledger_file()).ok()
    });
    for reference in references {
        match reader.as_ref().and_then(|reader| reader.find(reference).ok().flatten()) {
            Some(record) => named.here.push((reference, record)),
            None => named.elsewhere.push(reference),
        }
    }
    named
}

/// The references that stand in a text as our replies have them, `(ref XXXX-XXXX)`, or as the whole text,
/// `ref XXXX-XXXX`.
fn references(text: &[u8]) -> Vec<Reference> {
    let text = String::from_utf8_lossy(text);
    let whole = text.trim();
    if let Some(reference) = whole.strip_prefix("ref ").and_then(|rest| rest.trim().parse().ok()) {
        return vec![reference];
    }
    let mut found = Vec::new();
    for part in text.split("(ref ").skip(1) {
        let reference = part.split_once(')').and_then(|(reference, _)| reference.parse().ok());
        if let Some(reference) = reference.filter(|reference| !found.contains(reference)) {
            found.push(reference);
        }
        if found.len() == NAMED {
            break;
        }
    }
    found
}

/// Refuses `--check` beside something that names no address, domain or list.
fn nothing_to_check(args: &Args, what: &str) -> Result<(), Exit> {
    if !args.check {
        return Ok(());
    }
    eprintln!("postroad: --check: {what} alone has nothing to check; give the whole reply or bounce");
    Err(Exit::Usage)
}

/// Whether the text stands on the command line itself.
fn is_typed(args: &Args, what: &str) -> bool {
    what != "-" && !matches!(args.what.as_slice(), [path] if Path::new(path).exists())
}

/// The text to be read: a file, standard input, or what was given itself, if a digit in it may be a code.
/// With it, how many octets there are in all, where that is known.
fn text_of(args: &Args, what: &str) -> Result<(Vec<u8>, Option<u64>), Exit> {
    let unread = |error: &io::Error| {
        eprintln!("postroad: {what}: {error}");
        Exit::NoInput
    };
    if what == "-" {
        let mut text = Vec::new();
        io::stdin().lock().take(MOST).read_to_end(&mut text).map_err(|error| unread(&error))?;
        let length = u64::try_from(text.len()).ok().filter(|length| *length < MOST);
        return Ok((text, length));
    }
    match args.what.as_slice() {
        [path] if Path::new(path).exists() => {
            let mut text = Vec::new();
            let file = File::open(path).map_err(|error| unread(&error))?;
            let length = file.metadata().ok().filter(Metadata::is_file).map(|about| about.len());
            file.take(MOST).read_to_end(&mut text).map_err(|error| unread(&error))?;
            Ok((text, length))
        }
        [only] if !only.contains([' ', '.']) || !only.contains(|c: char| c.is_ascii_digit()) => {
            eprintln!("postroad: {what:?} is neither a code nor a file; `postroad codes` lists the codes");
            Err(Exit::Usage)
        }
        _ => Ok((what.as_bytes().to_vec(), u64::try_from(what.len()).ok())),
    }
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
