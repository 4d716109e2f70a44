//! The floor: how fast "durable before 250" can be on this machine, with nothing else done.
//!
//! One thread speaks just enough SMTP to take messages: fixed replies, nothing is checked, dots stay
//! stuffed. A second thread appends to one file all content that has come in while its last flush
//! ran, flushes once, and then the 250s go out together. `prealloc` does the same inside a file
//! whose blocks were written before, so that a flush has no size to record. `none` stores nothing:
//! the next hop to relay to. `--delay-ms` sleeps after each flush, as a slow disk would.
#![allow(clippy::disallowed_methods, reason = "a measuring tool")]
#![allow(clippy::print_stdout, reason = "says where it listens")]

use clap::{Parser, ValueEnum};
use memchr::{memchr, memmem};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use postroad_bench::loopback;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Octets of the file in mode `prealloc`; writing goes round in it.
const RING: u64 = 256 << 20;
const LISTENER: Token = Token(usize::MAX);
const FLUSHED: Token = Token(usize::MAX - 1);

#[derive(Parser)]
#[command(about = "The physical floor of accepting mail durably")]
struct Options {
    /// Where to listen (loopback only; port 0 takes a free one and prints it).
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// Where to put the file.
    #[arg(long)]
    dir: PathBuf,
    /// How to store.
    #[arg(long, value_enum, default_value_t = Mode::Append)]
    mode: Mode,
    /// Milliseconds that each flush takes longer.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// A file in which to keep the number of messages taken (written every 10 ms).
    #[arg(long)]
    count: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// One growing file.
    Append,
    /// One file of fixed size, written before.
    Prealloc,
    /// No file: a sink.
    None,
}

/// Which connection waits, and for which use of its slot.
#[derive(Clone, Copy)]
struct Waiting {
    slot: usize,
    generation: u64,
}

#[derive(Default)]
struct Batch {
    content: Vec<u8>,
    waiting: Vec<Waiting>,
}

/// What the two threads hand each other.
#[derive(Default)]
struct Exchange {
    pending: Mutex<Batch>,
    arrived: Condvar,
    flushed: Mutex<Vec<Waiting>>,
}

#[derive(PartialEq, Eq)]
enum Phase {
    Commands,
    Content,
    Flushing,
    Quitting,
}

struct Link {
    stream: TcpStream,
    generation: u64,
    phase: Phase,
    inbox: Vec<u8>,
    /// How far `inbox` has been searched for the final dot.
    searched: usize,
    outbox: Vec<u8>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&loopback(options.addr)?.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(socket.into());
    println!("listening on {}", listener.local_addr()?);

    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let exchange = Arc::new(Exchange::default());
    if options.mode != Mode::None {
        let log = Log::open(&options.dir, options.mode, Duration::from_millis(options.delay_ms))?;
        let waker = Waker::new(poll.registry(), FLUSHED)?;
        let exchange = Arc::clone(&exchange);
        std::thread::spawn(move || {
            if let Err(error) = commit(log, &exchange, &waker) {
                println!("the disk said: {error}");
                std::process::exit(1);
            }
        });
    }
    let taken = Arc::new(AtomicU64::new(0));
    if let Some(path) = options.count {
        let taken = Arc::clone(&taken);
        std::thread::spawn(move || {
            let mut last = u64::MAX;
            loop {
                let now = taken.load(Ordering::Relaxed);
                if now != last && std::fs::write(&path, now.to_string()).is_err() {
                    return;
                }
                last = now;
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
    let mut server = Server { links: Vec::new(), free: Vec::new(), generations: 0, exchange, taken };
    server.run(&mut poll, &listener, options.mode != Mode::None)
}

struct Server {
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    generations: u64,
    exchange: Arc<Exchange>,
    taken: Arc<AtomicU64>,
}

impl Server {
    fn run(&mut self, poll: &mut Poll, listener: &mio::net::TcpListener, stores: bool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 << 10];
        let mut batch = Batch::default();
        let mut done = Vec::new();
        loop {
            if let Err(error) = poll.poll(&mut events, None) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(poll, listener)?,
                    FLUSHED => {
                        done.append(
                            &mut self.exchange.flushed.lock().unwrap_or_else(PoisonError::into_inner),
                        );
                    }
                    Token(slot) => self.ready(slot, &mut buffer, &mut batch),
                }
            }
            for waiting in done.drain(..) {
                self.answer(waiting, &mut batch);
            }
            // A sink has nothing to wait for; answering may make further messages complete.
            while !stores && !batch.waiting.is_empty() {
                batch.content.clear();
                for waiting in std::mem::take(&mut batch.waiting) {
                    self.answer(waiting, &mut batch);
                }
            }
            if !batch.waiting.is_empty() {
                let mut pending = self.exchange.pending.lock().unwrap_or_else(PoisonError::into_inner);
                if pending.waiting.is_empty() {
                    std::mem::swap(&mut *pending, &mut batch);
                } else {
                    pending.content.append(&mut batch.content);
                    pending.waiting.append(&mut batch.waiting);
                }
                self.exchange.arrived.notify_one();
            }
        }
    }

    fn accept(&mut self, poll: &Poll, listener: &mio::net::TcpListener) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.links.push(None);
                self.links.len() - 1
            });
            poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
            self.generations += 1;
            let mut link = Link {
                stream,
                generation: self.generations,
                phase: Phase::Commands,
                inbox: Vec::new(),
                searched: 0,
                outbox: b"220 floor ESMTP\r\n".to_vec(),
            };
            link.send();
            if let Some(place) = self.links.get_mut(slot) {
                *place = Some(link);
            }
        }
    }

    fn ready(&mut self, slot: usize, buffer: &mut [u8], batch: &mut Batch) {
        let Some(Some(link)) = self.links.get_mut(slot) else { return };
        let open = loop {
            match link.stream.read(buffer) {
                Ok(0) => break false,
                Ok(count) => {
                    link.inbox.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    if count < buffer.len() {
                        break true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => break false,
            }
        };
        link.work(slot, batch);
        link.send();
        if !open || link.phase == Phase::Quitting {
            self.links.get_mut(slot).and_then(Option::take);
            self.free.push(slot);
        }
    }

    fn answer(&mut self, waiting: Waiting, batch: &mut Batch) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let Some(Some(link)) = self.links.get_mut(waiting.slot) else { return };
        if link.generation == waiting.generation {
            link.outbox.extend_from_slice(b"250 ok\r\n");
            link.phase = Phase::Commands;
            link.work(waiting.slot, batch);
            link.send();
        }
    }
}

impl Link {
    /// Goes through what has arrived, up to the end of a message.
    fn work(&mut self, slot: usize, batch: &mut Batch) {
        let mut taken = 0;
        loop {
            let rest = self.inbox.get(taken..).unwrap_or_default();
            match self.phase {
                Phase::Flushing | Phase::Quitting => break,
                Phase::Content => {
                    // The dot's line may have begun in what was searched before.
                    let from = self.searched.saturating_sub(4);
                    let Some(at) = memmem::find(rest.get(from..).unwrap_or_default(), b"\r\n.\r\n") else {
                        self.searched = rest.len();
                        break;
                    };
                    let end = from + at + 5;
                    batch.content.extend_from_slice(rest.get(..end).unwrap_or_default());
                    batch.waiting.push(Waiting { slot, generation: self.generation });
                    taken += end;
                    self.phase = Phase::Flushing;
                }
                Phase::Commands => {
                    let Some(end) = memchr(b'\n', rest) else { break };
                    let verb = rest.get(..4).unwrap_or_default().to_ascii_uppercase();
                    taken += end + 1;
                    self.outbox.extend_from_slice(match verb.as_slice() {
                        b"EHLO" => b"250-floor\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n".as_slice(),
                        b"DATA" => {
                            self.phase = Phase::Content;
                            self.searched = 0;
                            b"354 go on\r\n"
                        }
                        b"QUIT" => {
                            self.phase = Phase::Quitting;
                            b"221 bye\r\n"
                        }
                        _ => b"250 ok\r\n",
                    });
                }
            }
        }
        self.inbox.drain(..taken);
        if self.inbox.is_empty() {
            self.inbox = Vec::new(); // an idle session holds no buffer
        }
    }

    /// Writes what is to be said. Replies are tiny: a peer whose buffer is full of them does not read,
    /// and gets no more.
    fn send(&mut self) {
        if !self.outbox.is_empty() && self.stream.write_all(&self.outbox).is_err() {
            self.phase = Phase::Quitting;
        }
        self.outbox = Vec::new();
    }
}

struct Log {
    file: File,
    at: u64,
    goes_round: bool,
    delay: Duration,
}

impl Log {
    fn open(dir: &Path, mode: Mode, delay: Duration) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("floor.log");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        let goes_round = mode == Mode::Prealloc;
        if goes_round {
            let zeros = vec![0; 1 << 20];
            for _ in 0..RING >> 20 {
                file.write_all(&zeros)?;
            }
        }
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Self { file, at: 0, goes_round, delay })
    }

    fn put(&mut self, content: &[u8]) -> io::Result<()> {
        let len = content.len() as u64;
        if self.goes_round && self.at + len > RING {
            self.at = 0;
        }
        self.file.write_all_at(content, self.at)?;
        self.at += len;
        self.file.sync_data()?;
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        Ok(())
    }
}

fn commit(mut log: Log, exchange: &Exchange, waker: &Waker) -> io::Result<()> {
    let mut batch = Batch::default();
    loop {
        {
            let mut pending = exchange.pending.lock().unwrap_or_else(PoisonError::into_inner);
            while pending.waiting.is_empty() {
                pending = exchange.arrived.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut *pending, &mut batch);
        }
        log.put(&batch.content)?;
        batch.content.clear();
        exchange.flushed.lock().unwrap_or_else(PoisonError::into_inner).append(&mut batch.waiting);
        waker.wake()?;
    }
}
