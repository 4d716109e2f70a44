//! What is wrong with a configuration, and where a value came from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the sources of docs/configuration.md")]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// The built-in settings of the local instance that runs without a file.
    Local,
    /// A file.
    File {
        /// The file, as it was named.
        file: Arc<Path>,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
    },
    /// An option of the command line, such as `--set limits.recipients=200`.
    Option(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Local => f.write_str("local instance"),
            Self::File { file, line: 0 } => write!(f, "{}", file.display()),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Option(text) => f.write_str(text),
        }
    }
}

/// One thing that is wrong with the configuration: always the operator's to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl Problem {
    pub(super) fn new(origin: Origin, text: impl Into<String>) -> Self {
        Self { origin, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}
