//! `postroad serve`: runs the server until it is told to stop.

use super::config::ConfigArgs;
use crate::exit::Exit;
use crate::log;
use anstream::{eprintln, println};
use postroad_server::clock::Clock;
use postroad_server::config::{Config, LoadError, Loaded, Sources};
use postroad_server::server::{Server, StartError};
use postroad_spool::SpoolError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};

/// Run the server.
///
/// Without --config it starts as a safe local instance: SMTP on 127.0.0.1:2525, mail for any address
/// goes into one Maildir below ./postroad-data, nothing is relayed, nobody outside this machine can
/// connect. No configuration file is looked for: name it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: ConfigArgs,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Exit {
    let sources = args.sources.sources();
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return match error {
                LoadError::NoInput { .. } => Exit::NoInput,
                LoadError::Wrong(_) => Exit::Config,
            };
        }
    };
    let problems = loaded.probe();
    if !problems.is_empty() {
        for problem in &problems {
            eprintln!("{problem}");
        }
        return Exit::Config;
    }
    let _flushes_at_the_end = log::start(&loaded.config.log);
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postroad: the system has no threads for us: {error}");
            return Exit::System;
        }
    };
    runtime.block_on(serve(loaded, sources))
}

async fn serve(loaded: Loaded, sources: Sources) -> Exit {
    let clock = Clock::new();
    let local = sources.file.is_none();
    let config = loaded.config.clone();
    let reload = Box::new(move || sources.load().map_err(|error| error.to_string()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        eprintln!("postroad: signals cannot be received");
        return Exit::System;
    };
    let server = match Server::start(loaded.config, clock, reload).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("postroad: {error}");
            return exit_of(&error);
        }
    };
    say_where(&server, &config, local);
    // Without a service manager there is nobody to tell.
    drop(sd_notify::notify(false, &[sd_notify::NotifyState::Ready]));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                // The outcome is in the log, where whoever sent the signal looks.
                drop(server.reload());
            }
        }
    }
    drop(sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]));
    server.stop().await;
    Exit::Done
}

/// How to exit where the server, or only its spool, cannot be opened.
pub(crate) fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Config(_) | StartError::Spool { error: SpoolError::TooNew { .. }, .. } => Exit::Config,
        StartError::Listen { error, .. } if error.kind() == ErrorKind::PermissionDenied => Exit::NoPermission,
        StartError::Listen { .. } => Exit::Unavailable,
        StartError::Directory { .. } => Exit::CannotCreate,
        StartError::Spool { error: SpoolError::Locked, .. } => Exit::TryLater,
        StartError::Spool { .. } => Exit::Io,
        StartError::System(_) | _ => Exit::System,
    }
}

fn say_where(server: &Server, config: &Config, local: bool) {
    let addresses = server.addresses();
    println!("Postroad {} is ready.", env!("CARGO_PKG_VERSION"));
    println!("  listening at   {}", addresses.join(", "));
    println!("  mail arrives   {}", config.delivery.maildir.within(&config.data));
    println!("  the queue      {}", config.data.join("spool").display());
    if config.delivery.paused {
        println!("  delivery       is paused: mail waits in the queue");
    }
    if let Some(http) = server.http_address() {
        println!("  metrics        http://{http}/metrics, health at /health/ready");
    }
    if local && let Some(first) = addresses.first() {
        println!(
            "This is a local instance: it takes mail for any address and relays nothing. Send a first message with"
        );
        println!(
            "  postroad send --server {first} --from you@example.org --to me@example.org --subject Hello --body 'It works'"
        );
    }
}

/// Ten thousand sessions need as many file descriptors; the system often gives 1,024 unless asked.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised; sessions beyond it have to wait");
    }
}
