//! The connection: found, made, read and written in short waits, so that the caller can look at the
//! clock and at what the other side says meanwhile.

use super::clock::Clock;
use super::exit::{Exit, Fault};
use postroad_proto::client::Timers;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The longest a read or write blocks before the caller may look up.
const WAIT: Duration = Duration::from_millis(250);
/// The longest wait for one address to take the connection; the next address may be quicker.
const CONNECT: Duration = Duration::from_secs(30);

/// Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
pub(super) fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
    } else if text.matches(':').count() == 1 {
        let (host, port) = text.split_once(':')?;
        (host, Some(port))
    } else {
        (text, None)
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port| port > 0)?,
        None => default,
    };
    if host.is_empty() { None } else { Some((host.to_owned(), port)) }
}

/// Resolves the host and connects to the first of its addresses that answers; also how long it took.
pub(super) fn connect(
    host: &str,
    port: u16,
    timers: Timers,
    clock: &Clock,
) -> Result<(SocketAddr, TcpStream, Duration), Fault> {
    let begun = clock.now();
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| Fault::new(Exit::NoHost, format!("the host {host:?} is not known: {error}")))?
        .collect();
    let mut last = None;
    for address in &addresses {
        match TcpStream::connect_timeout(address, CONNECT.min(timers.greeting)) {
            Ok(socket) => {
                prepare(&socket).map_err(|error| {
                    Fault::new(Exit::Temporary, format!("no usable connection to {address}: {error}"))
                })?;
                return Ok((*address, socket, clock.now().since(begun)));
            }
            Err(error) => last = Some(format!("no connection to {address}: {error}")),
        }
    }
    match last {
        Some(text) => Err(Fault::new(Exit::Temporary, text)),
        None => Err(Fault::new(Exit::NoHost, format!("the host {host:?} has no address"))),
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    // A group of commands leaves in one write; waiting to fill a segment would only cost time.
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many octets.
    Octets(usize),
    /// Nothing within the wait.
    Nothing,
    /// The other side is gone.
    End,
}

/// A connection in plain text or in TLS.
pub(super) enum Link {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    /// Waits a short time for octets.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Heard {
        let read = match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        };
        match read {
            Ok(0) => Heard::End,
            Ok(count) => Heard::Octets(count),
            Err(error) if is_wait(&error) => Heard::Nothing,
            Err(_) => Heard::End,
        }
    }

    /// Octets that are there already, without waiting.
    pub(super) fn peek(&mut self, buffer: &mut [u8]) -> Heard {
        if self.socket().set_nonblocking(true).is_err() {
            return Heard::End;
        }
        let heard = self.read(buffer);
        if self.socket().set_nonblocking(false).is_err() { Heard::End } else { heard }
    }

    /// Writes what goes within a short wait; 0 where nothing went.
    pub(super) fn write_some(&mut self, octets: &[u8]) -> io::Result<usize> {
        #[expect(clippy::disallowed_methods, reason = "the caller needs to know how far a slow write came")]
        let written = match self {
            Self::Plain(socket) => socket.write(octets),
            Self::Tls(stream) => stream.write(octets),
        };
        match written {
            Err(error) if is_wait(&error) => Ok(0),
            other => other,
        }
    }

    /// Pushes out what TLS holds back; false where more time is needed.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let flushed = match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        };
        match flushed {
            Ok(()) => Ok(true),
            Err(error) if is_wait(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error only says that the wait is over.
pub(super) fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        for (text, host, port) in [
            ("mx.example.org", "mx.example.org", 25),
            ("mx.example.org:587", "mx.example.org", 587),
            ("127.0.0.1:2525", "127.0.0.1", 2525),
            ("[::1]:2525", "::1", 2525),
            ("[::1]", "::1", 25),
            ("::1", "::1", 25),
        ] {
            assert_eq!(host_and_port(text, 25), Some((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":25", "x:", "x:0", "x:99999", "[::1", "[::1]25"] {
            assert_eq!(host_and_port(text, 25), None, "{text}");
        }
    }
}
