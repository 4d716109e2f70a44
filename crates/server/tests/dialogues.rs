//! The dialogues of the repository, played over TCP against the real server, with a look into the Maildir.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test"
)]

mod support;

use postroad_server::config::{self, Config, Judgement, ListenerKind};
use postroad_testkit::dialogue::Dialogue;
use postroad_testkit::play::Cut;
use postroad_testkit::tcp::play_tcp;
use std::collections::BTreeMap;
use std::fs;
use support::{Running, connect, mail_octets, toml};

/// Dialogues that send more are cut at random, not at every octet.
const SMALL: usize = 8192;

const CONFIG: &str =
    "[delivery]\nmaildir = \"{data}/Maildir\"\n[tls]\nself_signed = true\n[limits]\nstop_timeout = \"1s\"\n";

fn start(options: &[(String, String)]) -> Running {
    let listener = "address = \"127.0.0.1:0\"\ntls = \"off\"";
    let text = format!("accept_any = true\n{}", toml(&[listener], CONFIG));
    Running::start_with(&text, |config| options.iter().for_each(|(name, value)| set(config, name, value)))
}

/// An option of a dialogue, as the configuration has it; a file may not set all that low.
fn set(config: &mut Config, name: &str, value: &str) {
    let number = || value.parse::<usize>().unwrap();
    let judgement = || match value {
        "accept" => Judgement::Accept,
        "note" => Judgement::Note,
        "refuse" => Judgement::Refuse,
        other => panic!("{name} = {other}"),
    };
    let listener = &mut config.listeners[0];
    let limits = &mut listener.limits;
    match (name, value) {
        ("tls", "offered") => listener.tls = config::ListenerTls::Starttls,
        ("protocol", "lmtp") => listener.kind = ListenerKind::Lmtp,
        ("content.bare_newline", "reject") => listener.bare_newline = config::BareNewline::Reject,
        ("limits.message_size", _) => limits.message_size = number() as u64,
        ("limits.recipients", _) => limits.recipients = number(),
        ("limits.errors", _) => limits.errors_per_session = number(),
        ("limits.chunks", _) => limits.chunks_per_message = number(),
        ("limits.received", _) => limits.received_headers = number(),
        ("limits.header_size", _) => limits.header_size = number() as u64,
        ("content.missing_from", _) => config.content.missing_from = judgement(),
        ("content.repeated_from", _) => config.content.repeated_from = judgement(),
        ("content.missing_date", _) => config.content.missing_date = judgement(),
        ("content.long_line", _) => config.content.long_line = judgement(),
        ("content.large_header", _) => config.content.large_header = judgement(),
        other => panic!("teach this test the option {other:?}"),
    }
}

/// What a dialogue says is delivered: return path, mailbox, and the content if it tells.
type Delivered = (String, String, Option<Vec<u8>>);

fn wanted(dialogue: &Dialogue) -> Vec<Delivered> {
    let mut all = Vec::new();
    for message in &dialogue.stored {
        let (from, to) = message.envelope.strip_prefix("from=<").unwrap().split_once("> to=<").unwrap();
        let end =
            ["> body=", "> smtputf8"].iter().filter_map(|end| to.find(end)).min().unwrap_or(to.len() - 1);
        let mut seen = Vec::new();
        for mailbox in to[..end].split(">,<") {
            // A mailbox gets a message once, however often it was named.
            if !seen.contains(&mailbox) {
                seen.push(mailbox);
                all.push((from.to_owned(), mailbox.to_owned(), message.content.clone()));
            }
        }
    }
    all
}

/// Takes the trace lines off a delivered file.
fn read(file: &[u8], tell_content: bool) -> Delivered {
    let text = String::from_utf8_lossy(file).into_owned();
    let field = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line[name.len()..].to_owned()
    };
    let from = field("Return-Path: ");
    let to = field("Delivered-To: ");
    let received = text.find("Received: from").unwrap_or_else(|| panic!("no trace in {text}"));
    // The trace field ends where a line begins that is not folded.
    let bytes = file;
    let mut at = received;
    loop {
        at += bytes[at..].windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        if !matches!(bytes.get(at), Some(b' ' | b'\t')) {
            break;
        }
        // Content that begins with a blank is no fold: our own folds name these words.
        let line = String::from_utf8_lossy(&bytes[at..]).into_owned();
        if !["by ", "with ", "for ", "id ", "("].iter().any(|word| line.trim_start().starts_with(word))
            && !line.lines().next().unwrap().contains("+0000")
        {
            break;
        }
    }
    let content = tell_content.then(|| bytes[at..].to_vec());
    (from.trim_matches(['<', '>']).to_owned(), to, content)
}

fn check_stored(running: &Running, dialogue: &Dialogue) -> Result<(), String> {
    running.settle();
    let maildir = running.dir.path().join("data/Maildir");
    let files = mail_octets(&maildir);
    for entry in fs::read_dir(maildir.join("new")).into_iter().flatten() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let wanted = wanted(dialogue);
    let found: Vec<Delivered> = files
        .iter()
        .enumerate()
        .map(|(at, file)| read(file, wanted.get(at).is_some_and(|(_, _, content)| content.is_some())))
        .collect();
    if found == wanted {
        return Ok(());
    }
    let show = |all: &[Delivered]| -> Vec<String> {
        all.iter()
            .take(3)
            .map(|(from, to, content)| {
                let content: String = String::from_utf8_lossy(content.as_deref().unwrap_or_default())
                    .chars()
                    .take(300)
                    .collect();
                format!("<{from}> <{to}> {content:?}")
            })
            .collect()
    };
    Err(format!(
        "expected {} {:#?}\nbut delivered {} {:#?}",
        wanted.len(),
        show(&wanted),
        found.len(),
        show(&found)
    ))
}

fn play_all(choose: impl Fn(&Dialogue) -> bool, at_least: usize) {
    let corpus = postroad_testkit::corpus().unwrap_or_else(|fault| panic!("{fault}"));
    let mut by_options: BTreeMap<Vec<(String, String)>, Vec<&Dialogue>> = BTreeMap::new();
    let chosen = corpus.iter().filter(|dialogue| dialogue.rules.is_empty() && dialogue.is_only_bytes());
    let chosen: Vec<&Dialogue> = chosen.filter(|dialogue| choose(dialogue)).collect();
    assert!(chosen.len() >= at_least, "only {} dialogues", chosen.len());
    for dialogue in chosen {
        let options = dialogue.options.iter().map(|set| (set.name.clone(), set.value.clone())).collect();
        by_options.entry(options).or_default().push(dialogue);
    }
    let mut failures = Vec::new();
    for (options, dialogues) in by_options {
        let running = start(&options);
        for dialogue in dialogues {
            let octets: usize = dialogue.writes().map(<[u8]>::len).sum();
            let fine = if octets <= SMALL { Cut::EachOctet } else { Cut::Random(11) };
            for cut in [Cut::AsWritten, fine, Cut::Whole].into_iter().filter(|cut| dialogue.allows(*cut)) {
                let stream = connect(running.address());
                let played = play_tcp(&stream, dialogue, cut).map_err(|mismatch| mismatch.to_string());
                let played = played.and_then(|()| {
                    check_stored(&running, dialogue)
                        .map_err(|what| format!("{} ({cut:?}): {what}", dialogue.file))
                });
                if let Err(failure) = played {
                    failures.push(failure);
                    // What it left behind must not fail the next one.
                    drop(check_stored(&running, dialogue));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn plain_dialogues() {
    play_all(|dialogue| dialogue.options.is_empty(), 100);
}

#[test]
fn dialogues_with_options() {
    play_all(|dialogue| !dialogue.options.is_empty(), 40);
}
