//! The control socket: how `postroad queue` and `postroad reload` speak with the running server.
//!
//! One JSON object a line in each direction, over a socket file in the data directory that only the
//! server's user may open. Bounded: a request has at most 4 KiB.

use crate::queue::{self, Item};
use crate::record::Records;
use postroad_spool::{Spool, SpoolId};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest request in octets.
const MAX_REQUEST: u64 = 4096;
/// Longest answer in octets that a client takes: a page of a thousand messages with many recipients.
const MAX_ANSWER: u64 = 256 << 20;
/// Clients that are served at the same time; more wait.
const CLIENTS: usize = 16;
/// For the ledger to write what is on its way.
const FLUSH: Duration = Duration::from_secs(5);
/// For one request and its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can be asked of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// A page of the queue.
    QueueList {
        /// The id after which the page begins.
        after: Option<String>,
    },
    /// One message.
    QueueShow {
        /// Its id.
        id: String,
    },
    /// Read the configuration again.
    Reload,
    /// Write into the ledger's file what is still on its way there.
    LedgerFlush,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// A page of the queue.
    Queue {
        /// The messages, oldest first.
        items: Vec<Item>,
    },
    /// It was done.
    Done,
    /// There is no such message.
    NotFound,
    /// It could not be done.
    Failed {
        /// Why.
        why: String,
    },
}

/// Asks the server behind the socket; [`io::ErrorKind::NotFound`] and
/// [`io::ErrorKind::ConnectionRefused`] mean that no server runs.
pub fn ask(socket: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    match BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed without an answer")),
        Ok(_) => Ok(serde_json::from_str(&answer)?),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {} s", PATIENCE.as_secs())))
        }
        Err(error) => Err(error),
    }
}

/// What a request may do to the server.
pub(crate) struct Controls<S> {
    pub(crate) spool: Arc<S>,
    pub(crate) records: Option<Arc<Records>>,
    pub(crate) reload: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// The socket; its file goes when this is dropped.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // If it is gone already there is nothing to remove.
        drop(fs::remove_file(&self.path));
    }
}

impl ControlSocket {
    /// Opens the socket. The spool's lock is held by then, so a file that is there was left behind.
    pub(crate) fn bind(path: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Answers for as long as the future is polled; a client that says nothing holds up no other.
    pub(crate) async fn serve<S: Spool>(self, controls: Controls<S>) {
        let controls = Arc::new(controls);
        let mut clients = JoinSet::new();
        loop {
            if clients.len() >= CLIENTS {
                // Each ends within its patience.
                drop(clients.join_next().await);
            }
            while clients.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let controls = Arc::clone(&controls);
                    clients.spawn(async move {
                        if let Ok(Err(error)) = timeout(PATIENCE, answer_one(stream, &controls)).await {
                            tracing::debug!(%error, "a control connection broke");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket could not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn answer_one<S: Spool>(stream: UnixStream, controls: &Arc<Controls<S>>) -> io::Result<()> {
    let mut line = Vec::new();
    let mut stream = tokio::io::BufReader::new(stream);
    (&mut stream).take(MAX_REQUEST).read_until(b'\n', &mut line).await?;
    let controls = Arc::clone(controls);
    // Reading the queue reads the disk.
    let answer = tokio::task::spawn_blocking(move || match serde_json::from_slice(&line) {
        Ok(request) => answer(&controls, &request),
        Err(error) => Answer::Failed { why: format!("not a request: {error}") },
    });
    let answer = answer.await.unwrap_or_else(|_panic| Answer::Failed { why: "a fault of the server".into() });
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    stream.get_mut().write_all(&text).await
}

fn answer<S: Spool>(controls: &Controls<S>, request: &Request) -> Answer {
    let failed = |why: String| Answer::Failed { why };
    let parse = |id: &str| SpoolId::parse(id).ok_or_else(|| failed(format!("{id:?} is not a queue id")));
    let answered = match request {
        Request::QueueList { after } => after.as_deref().map(parse).transpose().and_then(|after| {
            queue::list(&*controls.spool, after)
                .map(|items| Answer::Queue { items })
                .map_err(|error| failed(error.to_string()))
        }),
        Request::QueueShow { id } => parse(id).and_then(|id| match queue::show(&*controls.spool, id) {
            Ok(Some(item)) => Ok(Answer::Queue { items: vec![item] }),
            Ok(None) => Ok(Answer::NotFound),
            Err(error) => Err(failed(error.to_string())),
        }),
        Request::Reload => (controls.reload)().map(|()| Answer::Done).map_err(failed),
        Request::LedgerFlush => match &controls.records {
            None => Err(failed("the ledger is switched off by ledger.enabled".to_owned())),
            Some(records) if records.ledger.flush(FLUSH) => Ok(Answer::Done),
            Some(records) => Err(failed(records.ledger.health().message)),
        },
    };
    answered.unwrap_or_else(|failure| failure)
}
