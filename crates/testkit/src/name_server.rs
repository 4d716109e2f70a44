//! A name server on loopback that answers from a [`Zone`], for tests of what asks the DNS over sockets.
//!
//! RFC 1035 §4: one question, UDP up to 512 octets, TCP beyond. It gives A, AAAA, MX, TXT and the PTR of
//! IPv4; aliases are answered as their targets. A name that the zone calls `SILENT` gets no answer. It
//! stops when dropped.

use postroad_policy::dns::{Answer, DnsError, Resolver};
use postroad_policy::zone::Zone;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a waiting thread looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(20);

/// Tries to find a port that is free for UDP and TCP.
const TRIES: usize = 16;

/// Octets of an answer over UDP, and of one string of a TXT record.
const UDP: usize = 512;
const STRING: usize = 255;

/// The server; it runs until dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    zone: Zone,
    stop: AtomicBool,
    asked: AtomicU32,
    by_tcp: AtomicU32,
}

impl NameServer {
    /// Starts one on a free port of loopback.
    pub fn start(zone: Zone) -> io::Result<Self> {
        let (udp, tcp) = sockets()?;
        let address = udp.local_addr()?;
        let (stop, asked, by_tcp) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
        let state = Arc::new(State { zone, stop, asked, by_tcp });
        let (for_udp, for_tcp) = (Arc::clone(&state), Arc::clone(&state));
        let threads = vec![
            thread::spawn(move || over_udp(&udp, &for_udp)),
            thread::spawn(move || over_tcp(&tcp, &for_tcp)),
        ];
        Ok(Self { address, state, threads })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many questions came in.
    pub fn asked(&self) -> u32 {
        self.state.asked.load(Ordering::Relaxed)
    }

    /// How many of them over TCP.
    pub fn asked_by_tcp(&self) -> u32 {
        self.state.by_tcp.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been printed already.
            drop(thread.join());
        }
    }
}

fn sockets() -> io::Result<(UdpSocket, TcpListener)> {
    let mut trouble = io::Error::other("no port");
    for _ in 0..TRIES {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => {
                udp.set_read_timeout(Some(LOOK))?;
                tcp.set_nonblocking(true)?;
                return Ok((udp, tcp));
            }
            Err(taken) => trouble = taken,
        }
    }
    Err(trouble)
}

fn over_udp(socket: &UdpSocket, state: &State) {
    let mut buffer = [0; 1500];
    while !state.stop.load(Ordering::Relaxed) {
        let Ok((size, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(answer) = answer(state, buffer.get(..size).unwrap_or_default(), UDP) else { continue };
        // One that went away does not wait for it.
        drop(socket.send_to(&answer, from));
    }
}

fn over_tcp(listener: &TcpListener, state: &State) {
    while !state.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => drop(one_by_tcp(stream, state)),
            Err(_none_yet) => thread::sleep(LOOK),
        }
    }
}

/// Answers one question of a connection.
fn one_by_tcp(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut size = [0; 2];
    stream.read_exact(&mut size)?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(size))];
    stream.read_exact(&mut question)?;
    state.by_tcp.fetch_add(1, Ordering::Relaxed);
    let Some(answer) = answer(state, &question, usize::from(u16::MAX)) else { return Ok(()) };
    let size = u16::try_from(answer.len()).map_err(io::Error::other)?;
    stream.write_all(&[&size.to_be_bytes(), answer.as_slice()].concat())
}

/// The answer to a message, if there is to be one.
fn answer(state: &State, message: &[u8], most: usize) -> Option<Vec<u8>> {
    state.asked.fetch_add(1, Ordering::Relaxed);
    let (name, end) = name(message.get(12..)?)?;
    let question = message.get(12..12 + end + 4)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let (code, records) = match records(&state.zone, &name, kind) {
        Ok(records) => (0, records),
        Err(DnsError::NoData) => (0, Vec::new()),
        Err(DnsError::NoSuchName) => (3, Vec::new()),
        Err(DnsError::Timeout) => return None,
        Err(_) => (2, Vec::new()),
    };
    let head = |flags: u8, count: u16| {
        let mut out = message.get(..2).unwrap_or_default().to_vec();
        out.extend([0x81 | flags, 0x80 | code, 0, 1]);
        out.extend(count.to_be_bytes());
        out.extend([0; 4]);
        out.extend(question);
        out
    };
    let mut out = head(0, u16::try_from(records.len()).ok()?);
    for data in records {
        // The name of the question, class IN, a minute to live.
        out.extend([0xC0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(if out.len() > most { head(0x02, 0) } else { out })
}

/// The name at the beginning of a question, and its length.
fn name(question: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 0;
    for _ in 0..128 {
        let size = usize::from(*question.get(at)?);
        if size == 0 {
            return Some((labels.join("."), at + 1));
        }
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + size)?).into_owned());
        at += size + 1;
    }
    None
}

/// The data of the records of a name.
fn records(zone: &Zone, name: &str, kind: u16) -> Result<Vec<Vec<u8>>, DnsError> {
    match kind {
        1 => Ok(now(zone.a(name))?.iter().map(|ip| ip.octets().to_vec()).collect()),
        28 => Ok(now(zone.aaaa(name))?.iter().map(|ip| ip.octets().to_vec()).collect()),
        12 => {
            let octets = name.strip_suffix(".in-addr.arpa").unwrap_or_default();
            let mut octets: Vec<&str> = octets.split('.').collect();
            octets.reverse();
            let ip: IpAddr = octets.join(".").parse().map_err(|_malformed| DnsError::NoSuchName)?;
            Ok(now(zone.ptr(ip))?.iter().map(|name| wire(name)).collect())
        }
        15 => {
            let all = now(zone.mx(name))?;
            Ok(all
                .iter()
                .map(|mx| [&mx.preference.to_be_bytes(), wire(&mx.host).as_slice()].concat())
                .collect())
        }
        16 => {
            let strings = |text: &String| {
                let mut data = Vec::new();
                for part in text.as_bytes().chunks(STRING) {
                    data.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                    data.extend(part);
                }
                data
            };
            Ok(now(zone.txt(name))?.iter().map(strings).collect())
        }
        _ => Err(DnsError::NoData),
    }
}

/// A zone never waits.
fn now<T>(future: Answer<'_, T>) -> Result<Vec<T>, DnsError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(DnsError::Trouble),
    }
}

fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(63));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}
