//! Exit codes, after `sysexits.h`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// The command line is wrong (`EX_USAGE`).
    Usage,
    /// What was given is nothing that this command knows (`EX_DATAERR`).
    Data,
    /// A file that was named cannot be read (`EX_NOINPUT`).
    NoInput,
    /// What is needed is not there: a port that is taken, a server that does not run (`EX_UNAVAILABLE`).
    Unavailable,
    /// The system lacks something (`EX_OSERR`).
    System,
    /// A file cannot be written (`EX_CANTCREAT`).
    CannotCreate,
    /// Reading or writing failed (`EX_IOERR`).
    Io,
    /// Somebody else is using it just now (`EX_TEMPFAIL`).
    TryLater,
    /// The user may not do this (`EX_NOPERM`).
    NoPermission,
    /// The configuration is wrong (`EX_CONFIG`).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Usage => 64,
            Exit::Data => 65,
            Exit::NoInput => 66,
            Exit::Unavailable => 69,
            Exit::System => 71,
            Exit::CannotCreate => 73,
            Exit::Io => 74,
            Exit::TryLater => 75,
            Exit::NoPermission => 77,
            Exit::Config => 78,
        })
    }
}

/// Prints what clap has to say: the help on standard output, a fault on standard error.
pub(crate) fn of_command_line(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    match error.print() {
        Ok(()) => exit.into(),
        Err(_closed) => Exit::Io.into(),
    }
}
