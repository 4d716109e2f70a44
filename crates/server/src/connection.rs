//! One connection: sockets, TLS and timers around a [`Conversation`].
//!
//! An idle session holds no buffers: octets are read into a buffer of the thread, handed to the
//! session in the same breath, and replies are written and dropped. Every wait has an end.

use crate::config::{ListenerTls, Pregreet};
use crate::connections::{Over, Place};
use crate::conversation::{Conversation, Greeting, Next, Peer, Secured};
use crate::listener::{Running, Stop};
use crate::proxy;
use crate::record::Opened;
use crate::shared::{Active, ListenerSettings, Shared};
use crate::tcp::{self, Figures};
use postroad_proto::reply::{Reply, ReplyId};
use postroad_spool::Spool;
use socket2::SockRef;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

/// Octets read at once.
const READ: usize = 64 << 10;
/// Octets read at once where commands are awaited: the replies to them are many times their size, and
/// stand in memory until they are written.
const READ_COMMANDS: usize = 8 << 10;
/// For a write that makes no progress: the client does not read its replies.
const WRITE_TIMEOUT: Duration = Duration::from_mins(5);
/// For what a peer still sends after we closed our side, so that it sees our last reply.
const LINGER: Duration = Duration::from_secs(2);
/// For a PROXY header.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A socket of either kind, with TLS or without; dispatch once a connection, not once an octet.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Whether octets of the peer wait in the socket.
    fn has_spoken(&self) -> bool;

    /// What the system knows of the connection's packets.
    fn packets(&self) -> Figures;
}

impl Stream for TcpStream {
    fn has_spoken(&self) -> bool {
        let mut octet = [MaybeUninit::uninit()];
        matches!(SockRef::from(self).peek(&mut octet), Ok(1))
    }

    fn packets(&self) -> Figures {
        tcp::figures(self)
    }
}

/// Who can connect to a socket file is trusted to wait for its turn.
impl Stream for UnixStream {
    fn has_spoken(&self) -> bool {
        false
    }

    fn packets(&self) -> Figures {
        Figures::new()
    }
}

impl<T: Stream> Stream for TlsStream<T> {
    fn has_spoken(&self) -> bool {
        self.get_ref().0.has_spoken()
    }

    fn packets(&self) -> Figures {
        self.get_ref().0.packets()
    }
}

/// What a connection was accepted with.
pub(crate) struct Accepted<S> {
    pub(crate) running: Running<S>,
    pub(crate) active: Arc<Active>,
    pub(crate) settings: Arc<ListenerSettings>,
    pub(crate) place: Place,
    pub(crate) peer: Option<SocketAddr>,
}

/// How a conversation ended.
enum End {
    Closed,
    StartTls,
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: Spool, T: Stream + 'static>(accepted: Accepted<S>, mut stream: T) {
    let mut peer = Peer(accepted.peer);
    if accepted.settings.listener.proxy.is_some() {
        let header = until_stop(accepted.running.stop.clone(), proxied(&accepted, &mut stream));
        match Box::pin(header).await.unwrap_or_else(|| Err("the server stops".into())) {
            Ok(true_peer) => peer = Peer(true_peer.or(accepted.peer)),
            Err(error) => return info!(%peer, %error, "closed"),
        }
    }
    let Accepted {
        running: Running { shared, mut stop, alive: _alive }, active, settings, mut place, ..
    } = accepted;
    let implicit = settings.listener.tls == ListenerTls::Implicit;
    // In TLS from the first octet the peer is the one to begin; a PROXY header has been read by now.
    let pregreeted = !implicit && stream.has_spoken();
    if let Some(reply) = unwelcome(&active, &settings, &mut place, peer, pregreeted) {
        shared.metrics.connections_refused.inc();
        info!(%peer, %reply, "refused");
        let reply = turned_away(&shared, peer.0, &settings, &reply);
        return Box::pin(say_and_close(&mut stream, reply)).await;
    }
    let _counted = Counted::new(&shared);
    let mut conversation = Conversation::new(Arc::clone(&shared), active, peer, &settings);
    if !implicit {
        match converse(&mut conversation, &mut stream, &mut stop).await {
            Ok(End::StartTls) => {}
            Ok(End::Closed) => return,
            Err(error) => return debug!(%peer, %error, "the connection broke"),
        }
    }
    let inside_tls = async move {
        let handshake = until_stop(stop.clone(), handshake(stream, conversation.active(), &shared, peer));
        let (mut stream, secured) = match handshake.await {
            Some(Ok(secured)) => secured,
            Some(Err(error)) => return conversation.failed("tls", &error),
            None => return,
        };
        let offer = Arc::clone(&settings.secured);
        conversation.secure(offer, secured, if implicit { Greeting::Due } else { Greeting::Given });
        if let Err(error) = converse(&mut conversation, &mut *stream, &mut stop).await {
            debug!(%peer, %error, "the connection broke");
        }
    };
    Box::pin(inside_tls).await;
}

/// Goes on until the server stops: for what comes before a session can be told of the stop.
async fn until_stop<T>(mut stop: watch::Receiver<Stop>, run: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = run => Some(done),
        _ = stop.wait_for(|stop| *stop > Stop::No) => None,
    }
}

/// What the peer is told instead of a greeting, if anything.
fn unwelcome(
    active: &Active,
    settings: &ListenerSettings,
    place: &mut Place,
    peer: Peer,
    pregreeted: bool,
) -> Option<Reply> {
    if let Some(address) = peer.0
        && let Err(over) = place.of(address.ip(), active.config.limits.connections_per_address)
    {
        return Some(over_limit(over, active));
    }
    if pregreeted {
        info!(%peer, "spoke before the greeting");
    }
    (pregreeted && settings.listener.pregreet == Pregreet::Refuse).then(|| Reply::of(ReplyId::Pregreet))
}

/// The octets of the only reply of a connection, with its reference where there is a ledger.
pub(crate) fn turned_away<S>(
    shared: &Shared<S>,
    peer: Option<SocketAddr>,
    settings: &ListenerSettings,
    reply: &Reply,
) -> Vec<u8> {
    let mut out = Vec::new();
    shared.metrics.count(reply);
    match &shared.records {
        Some(records) => {
            let reference = records.turned_away(&Opened { peer, settings }, reply);
            reply.write_with(&format!(" (ref {reference})"), &mut out);
        }
        None => reply.write_to(&mut out),
    }
    out
}

/// What a connection over a limit is told.
pub(crate) fn over_limit(over: Over, active: &Active) -> Reply {
    let limits = &active.config.limits;
    match over {
        Over::All => Reply::saying(
            ReplyId::TooManyConnections,
            format!("Too many connections: {} are open, the limit; try again later", limits.connections),
        ),
        Over::Address => Reply::saying(
            ReplyId::TooManyConnectionsFromYou,
            format!(
                "Too many connections from your address: the limit is {}",
                limits.connections_per_address
            ),
        ),
    }
}

/// Runs the session until it ends or wants TLS.
async fn converse<S: Spool, T: Stream + ?Sized>(
    conversation: &mut Conversation<S>,
    stream: &mut T,
    stop: &mut watch::Receiver<Stop>,
) -> io::Result<End> {
    let mut told = Stop::No;
    loop {
        // Asked for here as well, so that a peer that never pauses learns of it too.
        let stopping = *stop.borrow();
        if stopping > told {
            told = stopping;
            conversation.stop(stopping);
        }
        match conversation.step() {
            Next::Input => {}
            Next::Commit(draft, envelope) => {
                let Some((draft, envelope)) = conversation.find_room(draft, envelope).await else { continue };
                let commit = conversation.shared.spool.commit(draft, envelope);
                let result = commit.await;
                conversation.committed(result);
                continue;
            }
            Next::StartTls => {
                write(stream, conversation.take_out()).await?;
                return Ok(End::StartTls);
            }
            Next::Close => {
                write(stream, conversation.take_out()).await?;
                close(stream, conversation.is_polite_end()).await;
                return Ok(End::Closed);
            }
        }
        write(stream, conversation.take_out()).await?;
        let deadline = conversation.deadline();
        tokio::select! {
            biased;
            read = timeout_at(deadline, read(stream, conversation)) => match read {
                Ok(Ok(0)) => return Ok(End::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) => conversation.timeout(|| stream.packets()),
            },
            changed = stop.changed(), if told < Stop::CutOff => {
                if changed.is_err() {
                    // A sender that is gone means the end of all patience.
                    told = Stop::CutOff;
                    conversation.stop(told);
                }
            }
        }
    }
}

/// Waits for octets and hands them to the session; returns how many came, 0 at the end.
async fn read<S: Spool, T: Stream + ?Sized>(
    stream: &mut T,
    conversation: &mut Conversation<S>,
) -> io::Result<usize> {
    let most = if conversation.takes_content() { READ } else { READ_COMMANDS };
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer.get_mut(..most).unwrap_or_default());
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    conversation.input(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
    })
    .await
}

async fn write<T: Stream + ?Sized>(stream: &mut T, out: Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let written = async {
        stream.write_all(&out).await?;
        stream.flush().await
    };
    Box::pin(timeout(WRITE_TIMEOUT, written))
        .await
        .map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Ends our side. Where the peer may still be sending, what comes is read away for a moment: closing
/// on unread octets would make the peer's system throw our last reply away.
async fn close<T: Stream + ?Sized>(stream: &mut T, polite: bool) {
    if stream.shutdown().await.is_ok() && !polite {
        let drain = async {
            let mut sink = [0; 512];
            while matches!(stream.read(&mut sink).await, Ok(1..)) {}
        };
        // Over or not: the peer had its time.
        drop(Box::pin(timeout(LINGER, drain)).await);
    }
}

/// Says one thing to a peer that gets no session.
async fn say_and_close<T: Stream + ?Sized>(stream: &mut T, out: Vec<u8>) {
    if write(stream, out).await.is_ok() {
        close(stream, false).await;
    }
}

async fn handshake<S: Spool, T: Stream + 'static>(
    stream: T,
    active: &Active,
    shared: &Shared<S>,
    peer: Peer,
) -> Result<(Box<dyn Stream>, Secured), String> {
    let tls = active.tls.as_ref().ok_or("there is no certificate")?.current();
    let accept = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
    let failed = |error: String| {
        shared.metrics.tls_failures.inc();
        info!(%peer, %error, "the TLS handshake failed");
        Err(error)
    };
    match timeout(active.config.limits.tls_handshake_timeout, accept).await {
        Ok(Ok(stream)) => {
            shared.metrics.tls_handshakes.inc();
            let (_, session) = stream.get_ref();
            let version = match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
                _ => "TLS".to_owned(),
            };
            let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
            let cipher = suite.unwrap_or("unknown").replace("TLS13_", "TLS_");
            Ok((Box::new(stream), Box::new((version, cipher))))
        }
        Ok(Err(error)) => failed(error.to_string()),
        Err(_late) => failed("it took too long".to_owned()),
    }
}

/// Reads the PROXY header that must come first here; the true peer, unless the proxy speaks for itself.
async fn proxied<S, T: Stream>(
    accepted: &Accepted<S>,
    stream: &mut T,
) -> Result<Option<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let trusted = accepted.settings.listener.proxy.as_deref().unwrap_or_default();
    if !accepted.peer.is_some_and(|from| trusted.iter().any(|network| network.contains(from.ip()))) {
        return Err("it may not send a PROXY header here".into());
    }
    let read = async {
        // Octet by octet: what follows the header belongs to the session and must stay in the socket.
        let mut header = Vec::new();
        while header.len() < proxy::MAX {
            header.push(stream.read_u8().await?);
            if let Some(found) = proxy::parse(&header)? {
                return Ok(found.peer);
            }
        }
        Err(proxy::ProxyError::TooLong.into())
    };
    timeout(PROXY_TIMEOUT, read).await.unwrap_or_else(|_late| Err("no PROXY header came in time".into()))
}

/// One session in the gauge of sessions.
struct Counted<S: Spool>(Arc<Shared<S>>);

impl<S: Spool> Counted<S> {
    fn new(shared: &Arc<Shared<S>>) -> Self {
        shared.metrics.sessions.inc();
        Self(Arc::clone(shared))
    }
}

impl<S: Spool> Drop for Counted<S> {
    fn drop(&mut self) {
        self.0.metrics.sessions.dec();
    }
}
