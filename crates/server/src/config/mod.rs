//! The configuration: one file, `postroad.toml`, checked whole before anything uses it.
//!
//! [`Sources::load`] reads the raw TOML with the place of every value, lays the options of the command
//! line over it, and checks it into a [`Config`] in which every default is filled in. It reports all
//! problems at once, each with its place, what is wrong and what would be right. A reload loads the
//! same [`Sources`] again: a failure leaves the configuration in force untouched.
//!
//! [`Loaded::probe`] then looks whether the files and directories that are named are there, without
//! creating anything, and whether the certificate goes with its key.

mod check;
mod domains;
mod files;
mod keys;
mod kind;
mod probe;
mod problem;
mod raw;
mod section;
mod types;
mod value;
mod words;
mod write;

pub use keys::{Content, Delivery, Http, LedgerKeys, Limits, Log, SessionLimits, SpoolKeys};
pub use problem::{Origin, Problem};
pub use section::{Key, Section, Setting, Settings};
pub use types::{
    Config, Identity, ListenAddress, Listener, ListenerTls, LocalDomain, MaildirTemplate, Network, Tls,
};
pub use value::Value;
pub use words::{BareNewline, Judgement, Level, LineEnds, ListenerKind, LogFormat, Pregreet, TlsVersion};
pub use write::{Explained, explain, full_file, minimal_file, reference};

use files::{Disk, Files, Nowhere};
use raw::{Item, Node, Table};
use section::Reader;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs without a file: takes mail for every address into one Maildir, from this machine only.
const LOCAL: &str = r#"
hostname = "localhost"
data = "postroad-data"
accept_any = true

[[listener]]
address = "127.0.0.1:2525"

[delivery]
maildir = "{data}/Maildir"

[spool]
reserve = "64MiB"
"#;

/// Where the configuration comes from. Later ones win: file, `data`, `listen`, `set`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None`: the settings of a safe local instance. No file is looked for.
    pub file: Option<PathBuf>,
    /// `--data`: the data directory.
    pub data: Option<PathBuf>,
    /// `--listen`: addresses in place of all listeners; none: leave them.
    pub listen: Vec<String>,
    /// `--set`: each `KEY=VALUE`, the value as TOML or a bare string.
    pub set: Vec<String>,
}

/// A configuration that was loaded, and where each of its settings comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What the server runs with.
    pub config: Config,
    /// Each setting in force and where it was set.
    pub settings: Settings,
}

/// Why a configuration could not be loaded.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "each has an exit code")]
pub enum LoadError {
    /// The file cannot be read (`EX_NOINPUT`).
    NoInput {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was read and is wrong (`EX_CONFIG`); never empty.
    Wrong(Vec<Problem>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInput { file, error } => write!(f, "{}: cannot be read: {error}", file.display()),
            Self::Wrong(problems) => {
                for (at, problem) in problems.iter().enumerate() {
                    write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoInput { error, .. } => Some(error),
            Self::Wrong(_) => None,
        }
    }
}

impl Sources {
    /// Reads and checks everything.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let text = match &self.file {
            None => None,
            Some(file) => match Disk.read(file) {
                Ok(text) => Some((text, file.as_path())),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge) =>
                {
                    let at = Origin::File { file: file.as_path().into(), line: 0 };
                    return Err(LoadError::Wrong(vec![Problem::new(at, error.to_string())]));
                }
                Err(error) => return Err(LoadError::NoInput { file: file.clone(), error }),
            },
        };
        self.load_text(text.as_ref().map(|(text, file)| (text.as_str(), *file)), &Disk)
            .map_err(LoadError::Wrong)
    }

    fn load_text(&self, text: Option<(&str, &Path)>, files: &dyn Files) -> Result<Loaded, Vec<Problem>> {
        let mut reader = Reader::default();
        let mut tree = match text {
            Some((text, file)) => raw::parse_file(text, file, &mut reader.problems),
            None => raw::parse_local(LOCAL, &mut reader.problems),
        };
        self.lay_over(&mut tree, &mut reader);
        let whole = text.map_or(Origin::Local, |(_, file)| Origin::File { file: file.into(), line: 0 });
        // a tree that is only half there would bring problems that are none
        if reader.problems.is_empty()
            && let Some(config) = check::check(&tree, &whole, files, &mut reader)
            && reader.problems.is_empty()
        {
            return Ok(Loaded { config, settings: reader.settings });
        }
        reader.problems.sort_by_key(|problem| match &problem.origin {
            Origin::File { file, line } => (Some(Arc::clone(file)), *line),
            Origin::Default | Origin::Local | Origin::Option(_) => (None, 0),
        });
        Err(reader.problems)
    }

    fn lay_over(&self, tree: &mut Table, reader: &mut Reader) {
        if let Some(data) = &self.data {
            let at = Origin::Option(format!("--data {}", data.display()).into());
            let item = match data.to_str() {
                Some(text) => Item::Text(text.to_owned()),
                None => Item::Other("not UTF-8"),
            };
            tree.insert("data".to_owned(), Node { at, item });
        }
        if let Some(first) = self.listen.first() {
            let listeners = self.listen.iter().map(|address| {
                let at = Origin::Option(format!("--listen {address}").into());
                let text = Node { at: at.clone(), item: Item::Text(address.clone()) };
                Node { at, item: Item::Table(Table::from([("address".to_owned(), text)])) }
            });
            let item = Item::List(listeners.collect());
            let at = Origin::Option(format!("--listen {first}").into());
            tree.insert("listener".to_owned(), Node { at, item });
        }
        for text in &self.set {
            let at = Origin::Option(Arc::from(format!("--set {text}")));
            if let Err(fault) = set_one(tree, text, &at) {
                reader.wrong(at, fault);
            }
        }
    }
}

/// `KEY=VALUE`; what is not TOML is taken for a string, so that a shell's quotes are not needed twice.
fn set_one(tree: &mut Table, text: &str, at: &Origin) -> Result<(), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as limits.recipients=200")?;
    let path = raw::parse_key(key.trim())?;
    let value = value.trim();
    let node = raw::parse_value(value, at, &mut Vec::new())
        .unwrap_or_else(|| Node { at: at.clone(), item: Item::Text(value.to_owned()) });
    raw::set(tree, &path, node)
}

impl Config {
    /// The safe local instance that runs without a file: 127.0.0.1:2525, any recipient, one Maildir,
    /// all of it in `data`.
    pub fn local(data: &Path) -> Result<Self, LoadError> {
        Sources { data: Some(data.to_owned()), ..Sources::default() }.load().map(|loaded| loaded.config)
    }
}

/// Checks any bytes as a configuration file, for fuzzing. Reads no other file; never panics.
pub fn fuzz_parse(bytes: &[u8]) -> Result<Loaded, Vec<Problem>> {
    let file = Path::new("postroad.toml");
    match std::str::from_utf8(bytes) {
        Ok(text) => Sources::default().load_text(Some((text, file)), &Nowhere),
        Err(error) => Err(vec![Problem::new(
            Origin::File { file: file.into(), line: 0 },
            format!("not UTF-8: {error}"),
        )]),
    }
}
