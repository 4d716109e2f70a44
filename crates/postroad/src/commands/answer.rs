//! How an answer is printed: for a person at a terminal, for a pipe, as Markdown, HTML or JSON.

use crate::exit::Exit;
use anstream::{AutoStream, ColorChoice, eprintln};
use clap::ValueEnum;
use postroad_explain::page::Page;
use postroad_explain::render::{self, Look};
use postroad_reference::Language;
use std::io::{self, IsTerminal as _, Write as _};

/// The language and the form of an answer.
#[derive(Debug, clap::Args)]
pub(crate) struct AnswerArgs {
    /// The language: en, de, es, fr or pt; without it, that of the environment.
    #[arg(long, value_name = "LANG")]
    lang: Option<String>,
    /// Print JSON.
    #[arg(long, group = "form")]
    pub(crate) json: bool,
    /// Print Markdown.
    #[arg(long, group = "form")]
    md: bool,
    /// Print an HTML page.
    #[arg(long, group = "form")]
    html: bool,
    /// Whether to use colour.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Colour,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

impl AnswerArgs {
    /// The language that was asked for; else the one of the environment, if there is one; else English.
    pub(crate) fn language(&self) -> Result<&'static Language, Exit> {
        if let Some(asked) = &self.lang {
            return Language::find(asked).map_err(|unknown| {
                eprintln!("postroad: --lang: {unknown}");
                Exit::Usage
            });
        }
        // The order of POSIX: the first that is set and not empty decides.
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| std::env::var(name).ok());
        let locale = set.into_iter().find(|value| !value.is_empty());
        Ok(locale.and_then(|locale| Language::find(&locale).ok()).unwrap_or_else(Language::english))
    }

    /// Prints a page in the form that was asked for.
    pub(crate) fn print(&self, page: &Page) -> Result<(), Exit> {
        let text = if self.json {
            render::json_text(page)
        } else if self.md {
            render::markdown(page)
        } else if self.html {
            render::document(page)
        } else {
            render::text(page, self.look())
        };
        print(&text, self.choice())
    }

    fn choice(&self) -> ColorChoice {
        match self.color {
            Colour::Auto => AutoStream::choice(&io::stdout()),
            Colour::Always => ColorChoice::AlwaysAnsi,
            Colour::Never => ColorChoice::Never,
        }
    }

    fn look(&self) -> Look {
        let colour = !matches!(self.choice(), ColorChoice::Never);
        let out = io::stdout();
        if !out.is_terminal() {
            return Look::pipe(colour);
        }
        let size = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
        Look::terminal(size.filter(|columns| *columns > 0).unwrap_or(80), colour)
    }
}

/// Writes a text; a reader that went away, as `head` does, is no fault.
pub(crate) fn print(text: &str, choice: ColorChoice) -> Result<(), Exit> {
    let mut out = AutoStream::new(io::stdout(), choice).lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            eprintln!("postroad: standard output: {error}");
            Err(Exit::Io)
        }
    }
}
