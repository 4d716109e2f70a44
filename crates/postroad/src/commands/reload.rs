//! `postroad reload`: has the running server read its configuration again.

use super::config::ConfigArgs;
use crate::exit::Exit;
use anstream::{eprintln, println};
use postroad_server::control::{Answer, Request, ask};
use std::io;
use std::path::Path;

/// Have the running server read its configuration again, as SIGHUP does.
///
/// A configuration with a fault is not taken: the one in force stays, and this command says why and
/// exits with 78. Give the same --config and --data that the server was started with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: ConfigArgs,
}

/// Asks for it.
pub(crate) fn run(args: &Args) -> Exit {
    let config = match args.sources.load() {
        Ok(config) => config,
        Err(exit) => {
            eprintln!("Nothing was reloaded: the configuration in force stays.");
            return exit;
        }
    };
    match ask(&config.control_socket(), &Request::Reload) {
        Ok(Answer::Done) => {
            println!("The configuration was read again and is in force.");
            Exit::Done
        }
        Ok(Answer::Failed { why }) => {
            eprintln!("The configuration was not taken; the one in force stays:\n{why}");
            Exit::Config
        }
        Ok(_) => {
            eprintln!("postroad: the server gave an answer that this version does not know");
            Exit::Unavailable
        }
        Err(error) => no_server(&config.control_socket(), &error),
    }
}

/// Says that the server could not be asked.
pub(crate) fn no_server(socket: &Path, error: &io::Error) -> Exit {
    if is_absent(error) {
        eprintln!(
            "postroad: no server runs there (nobody answers at {}); give the --config or --data it was started with",
            socket.display()
        );
        Exit::Unavailable
    } else {
        eprintln!("postroad: {}: {error}", socket.display());
        if error.kind() == io::ErrorKind::PermissionDenied { Exit::NoPermission } else { Exit::Io }
    }
}

/// Whether the error means that no server runs.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
