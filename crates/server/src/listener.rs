//! Listening sockets and the loops that accept from them.

use crate::config::ListenAddress;
use crate::connection::{Accepted, over_limit, serve, turned_away};
use crate::shared::Shared;
use postroad_spool::Spool;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A socket that listens.
pub(crate) enum Socketed {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Socketed {
    /// The address with the port that the system chose where 0 was asked for.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

impl Drop for Socketed {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // If it is gone already there is nothing to remove.
            drop(std::fs::remove_file(path));
        }
    }
}

/// The sockets that the service manager handed over, by name.
pub(crate) struct Inherited {
    fds: listenfd::ListenFd,
    names: Vec<String>,
}

impl Inherited {
    pub(crate) fn from_env() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { fds: listenfd::ListenFd::from_env(), names: names.split(':').map(str::to_owned).collect() }
    }

    /// None: at a reload nothing new is handed over.
    pub(crate) fn none() -> Self {
        Self { fds: listenfd::ListenFd::empty(), names: Vec::new() }
    }

    fn take(&mut self, name: &str) -> io::Result<std::net::TcpListener> {
        let missing = || {
            io::Error::new(io::ErrorKind::NotFound, "the service manager handed over no socket of that name")
        };
        let at = self.names.iter().position(|n| n == name).ok_or_else(missing)?;
        self.fds.take_tcp_listener(at)?.ok_or_else(missing)
    }
}

/// Opens a listening socket.
pub(crate) fn bind(address: &ListenAddress, inherited: &mut Inherited) -> io::Result<Socketed> {
    match address {
        ListenAddress::Tcp(address) => bind_tcp(*address).map(Socketed::Tcp),
        ListenAddress::Unix(path) => {
            // A socket file left by a server that was killed; anything else is not ours to remove.
            if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
                && std::os::unix::net::UnixStream::connect(path).is_err()
            {
                std::fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            // Another user's mail server has to connect, whatever our umask: its directory says who can.
            std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
            Ok(Socketed::Unix(listener, path.clone()))
        }
        ListenAddress::Inherited(name) => {
            let listener = inherited.take(name)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener).map(Socketed::Tcp)
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// How far the server's stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It runs.
    No,
    /// Sessions end between commands; content that is arriving is finished.
    Finish,
    /// Content is waited for no longer.
    CutOff,
}

/// What every accept loop and session of a server has.
pub(crate) struct Running<S> {
    pub(crate) shared: Arc<Shared<S>>,
    /// What the server's stop asks of its sessions.
    pub(crate) stop: watch::Receiver<Stop>,
    /// Held by each session; when all are gone the sessions have ended.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

impl<S> Clone for Running<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), stop: self.stop.clone(), alive: self.alive.clone() }
    }
}

/// Accepts until the server stops or `close` says that this listener is no longer wanted.
pub(crate) async fn accept<S: Spool>(
    mut running: Running<S>,
    socket: Socketed,
    address: ListenAddress,
    mut close: oneshot::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = running.stop.changed() => return,
            _ = &mut close => return,
            accepted = next(&socket) => accepted,
        };
        match accepted {
            Ok(incoming) => begin(&running, &address, incoming),
            Err(error) => {
                // Out of file descriptors, mostly: wait for sessions to end rather than spin.
                warn!(%address, %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

enum Incoming {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

async fn next(socket: &Socketed) -> io::Result<Incoming> {
    match socket {
        Socketed::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Incoming::Tcp(stream, peer)),
        Socketed::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Incoming::Unix(stream)),
    }
}

fn begin<S: Spool>(running: &Running<S>, address: &ListenAddress, incoming: Incoming) {
    let shared = &running.shared;
    let active = shared.active();
    // Gone from the configuration since; this listener is about to close.
    let Some(settings) = active.listeners.get(address).cloned() else { return };
    shared.metrics.connections.inc();
    let place = match shared.connections.enter(active.config.limits.connections) {
        Ok(place) => place,
        Err(over) => {
            shared.metrics.connections_refused.inc();
            let peer = match &incoming {
                Incoming::Tcp(_, peer) => Some(*peer),
                Incoming::Unix(_) => None,
            };
            return refuse(&incoming, &turned_away(shared, peer, &settings, &over_limit(over, &active)));
        }
    };
    let accepted = |peer| Accepted { running: running.clone(), active, settings, place, peer };
    match incoming {
        Incoming::Tcp(stream, peer) => {
            // Replies leave in whole groups, so there is nothing to gather; a failure costs speed, no more.
            drop(stream.set_nodelay(true));
            tokio::spawn(serve(accepted(Some(peer)), stream));
        }
        Incoming::Unix(stream) => {
            tokio::spawn(serve(accepted(None), stream));
        }
    }
}

/// Says why and closes, without spending a task on it.
fn refuse(incoming: &Incoming, out: &[u8]) {
    // A peer whose buffer cannot take one line gets none.
    drop(match incoming {
        Incoming::Tcp(stream, _) => SockRef::from(stream).send(out),
        Incoming::Unix(stream) => SockRef::from(stream).send(out),
    });
}
