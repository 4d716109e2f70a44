//! What a person sees while it goes on: the dialogue, the progress bar, and notes. All on standard error.

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use postroad_ledger::Reference;
use postroad_proto::client::Dialogue;
use std::io::{IsTerminal, Write};

/// Messages above this size get a progress bar.
const BAR_FROM: u64 = 1024 * 1024;

pub(super) struct View {
    verbose: bool,
    progress: Progress,
}

enum Progress {
    /// A bar over so many octets, once the first of them moves.
    Planned(u64),
    Bar(ProgressBar),
    Nothing,
}

impl View {
    pub(super) fn new(verbose: bool, size: u64) -> Self {
        let worth = size > BAR_FROM && std::io::stderr().is_terminal();
        Self { verbose, progress: if worth { Progress::Planned(size) } else { Progress::Nothing } }
    }

    /// More of the content went out.
    pub(super) fn moved(&mut self, octets: usize) {
        if let Progress::Planned(size) = self.progress {
            let bar = ProgressBar::new(size);
            let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_bad| ProgressStyle::default_bar()),
            );
            self.progress = Progress::Bar(bar);
        }
        if let Progress::Bar(bar) = &self.progress {
            bar.inc(octets as u64);
        }
    }

    /// All of it went out, or no more will.
    pub(super) fn stopped(&mut self) {
        if let Progress::Bar(bar) = &self.progress {
            bar.finish_and_clear();
        }
        self.progress = Progress::Nothing;
    }

    pub(super) fn dialogue(&mut self, dialogue: &Dialogue) {
        if !self.verbose {
            return;
        }
        match dialogue {
            Dialogue::Command(line) => self.line(AnsiColor::Cyan.on_default(), "C:", line),
            Dialogue::Reply(reply) => {
                let colour = match reply.code() / 100 {
                    2 | 3 => AnsiColor::Green,
                    4 => AnsiColor::Yellow,
                    _ => AnsiColor::Red,
                };
                for line in reply.to_string().lines() {
                    self.line(colour.on_default(), "S:", line);
                }
                if let Some(reference) = reference(&reply.to_string()) {
                    let told = format!(
                        "the server keeps a record: `postroad explain {reference}` on it tells the whole story"
                    );
                    self.line(Style::new().dimmed(), "--", &told);
                }
                if reply.truncated() {
                    self.line(Style::new().dimmed(), "--", "the server said more; it was not kept");
                }
            }
            Dialogue::Content(octets) => {
                self.line(AnsiColor::Cyan.on_default(), "C:", &format!("[content: {octets} octets]"));
            }
            Dialogue::Secured => self.line(Style::new().dimmed(), "--", "TLS is on; the session begins anew"),
            Dialogue::BareLf => {
                self.line(
                    Style::new().dimmed(),
                    "--",
                    "a reply line ends in LF without CR (RFC 5321 §2.3.8)",
                );
            }
            _ => {}
        }
    }

    /// A note that is shown without `-v` too.
    pub(super) fn note(&mut self, text: &str) {
        self.line(AnsiColor::Yellow.on_default(), "--", text);
    }

    /// Something only those who asked for the dialogue want to know.
    pub(super) fn detail(&mut self, text: &str) {
        if self.verbose {
            self.line(Style::new().dimmed(), "--", text);
        }
    }

    fn line(&mut self, style: Style, mark: &str, text: &str) {
        let text = clean(text);
        let print = || {
            // Nobody is there to be told that nobody can be told.
            drop(writeln!(anstream::stderr(), "{style}{mark}{style:#} {text}"));
        };
        match &self.progress {
            Progress::Bar(bar) => bar.suspend(print),
            Progress::Planned(_) | Progress::Nothing => print(),
        }
    }
}

/// The reference with which a server such as ours ends a refusal.
fn reference(reply: &str) -> Option<Reference> {
    let (_, end) = reply.trim_end().rsplit_once("(ref ")?;
    end.strip_suffix(')')?.parse().ok()
}

/// A stranger's text, safe on a terminal: controls and what turns the direction of text are spelled out.
pub(super) fn clean(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
