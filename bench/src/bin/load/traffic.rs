//! Messages over many sessions at once: one thread, one poll.

use crate::{Target, source};
use clap::Args;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use postroad_bench::{Latencies, TestMessage, complete_reply, json_text, loopback};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// How long a session rests after a refusal or a broken connection.
const REST: Duration = Duration::from_millis(20);

/// Options of `load`.
#[derive(Args)]
pub(crate) struct Load {
    #[command(flatten)]
    target: Target,
    /// Seconds during which new messages are begun.
    #[arg(long, default_value_t = 3.0)]
    duration: f64,
    /// Ends after so many messages instead (0: no such end).
    #[arg(long, default_value_t = 0)]
    messages: u64,
    /// Messages on one connection (0: no limit; 1: one message, one connection).
    #[arg(long, default_value_t = 0)]
    per_connection: u32,
    /// Octets of a message.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Sends commands one by one even where the server offers PIPELINING.
    #[arg(long)]
    one_by_one: bool,
    /// Seconds to wait for transactions under way at the end.
    #[arg(long, default_value_t = 30.0)]
    drain: f64,
    /// The recipient.
    #[arg(long, default_value = "bench@example.test")]
    recipient: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Greeting,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Final,
    Quit,
}

struct Link {
    stream: Option<TcpStream>,
    phase: Phase,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    written: usize,
    pipelining: bool,
    served: u32,
    opened: Instant,
    /// When the final dot had gone to the kernel; only then does the server's time begin.
    ended: Option<Instant>,
}

struct Traffic {
    options: Load,
    poll: Poll,
    links: Vec<Link>,
    message: TestMessage,
    begun: u64,
    taken: u64,
    connections: u64,
    errors: BTreeMap<String, u64>,
    latencies: Latencies,
    greetings: Latencies,
    resting: Vec<(Instant, usize)>,
    end: Instant,
    last: Instant,
}

/// Runs the load and prints the result.
pub(crate) fn run(options: Load) -> io::Result<()> {
    loopback(options.target.addr)?;
    let begun = Instant::now();
    let closed = |_| Link {
        stream: None,
        phase: Phase::Closed,
        inbox: Vec::new(),
        outbox: Vec::new(),
        written: 0,
        pipelining: false,
        served: 0,
        opened: begun,
        ended: None,
    };
    let mut traffic = Traffic {
        poll: Poll::new()?,
        links: (0..options.target.sessions).map(closed).collect(),
        message: TestMessage::new(options.size),
        begun: 0,
        taken: 0,
        connections: 0,
        errors: BTreeMap::new(),
        latencies: Latencies::default(),
        greetings: Latencies::default(),
        resting: (0..options.target.sessions).map(|index| (begun, index)).collect(),
        end: begun + Duration::from_secs_f64(options.duration.clamp(0.0, 86_400.0)),
        last: begun,
        options,
    };
    traffic.go()?;
    traffic.print(begun);
    Ok(())
}

impl Traffic {
    fn go(&mut self) -> io::Result<()> {
        let give_up = self.end + Duration::from_secs_f64(self.options.drain.clamp(0.0, 3600.0));
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 16 << 10];
        loop {
            let now = Instant::now();
            let busy = self.links.iter().any(|link| link.phase != Phase::Closed);
            if !self.may_begin() && !busy || now > give_up {
                return Ok(());
            }
            let due: Vec<usize> =
                self.resting.extract_if(.., |(at, _)| *at <= now).map(|(_, index)| index).collect();
            for index in due {
                if self.may_begin() {
                    self.connect(index);
                }
            }
            let wait =
                if self.resting.is_empty() { Duration::from_millis(100) } else { Duration::from_millis(5) };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                let Token(index) = event.token();
                if event.is_writable() {
                    self.write(index);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(index, &mut buffer);
                }
            }
        }
    }

    /// Whether another message is to be begun.
    fn may_begin(&self) -> bool {
        match self.options.messages {
            0 => Instant::now() < self.end,
            limit => self.begun < limit,
        }
    }

    fn connect(&mut self, index: usize) {
        self.connections += 1;
        match self.try_connect(index) {
            Ok(stream) => {
                if let Some(link) = self.links.get_mut(index) {
                    link.stream = Some(stream);
                    link.phase = Phase::Greeting;
                    link.inbox.clear();
                    link.outbox.clear();
                    link.written = 0;
                    link.served = 0;
                    link.opened = Instant::now();
                    link.ended = None;
                }
            }
            Err(error) => {
                self.note(format!("connect: {error}"));
                self.rest(index);
            }
        }
    }

    fn try_connect(&self, index: usize) -> io::Result<TcpStream> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source(self.options.target.sources, self.connections) {
            socket.bind(&source.into())?;
        }
        match socket.connect(&self.options.target.addr.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    fn note(&mut self, error: String) {
        *self.errors.entry(error).or_default() += 1;
    }

    fn rest(&mut self, index: usize) {
        self.resting.push((Instant::now() + REST, index));
    }

    fn close(&mut self, index: usize) {
        if let Some(link) = self.links.get_mut(index) {
            link.stream = None;
            link.phase = Phase::Closed;
        }
    }

    /// Closes after trouble and tries again a little later.
    fn trouble(&mut self, index: usize, what: String) {
        self.note(what);
        self.close(index);
        self.rest(index);
    }

    fn write(&mut self, index: usize) {
        let Some(link) = self.links.get_mut(index) else { return };
        let Some(stream) = &mut link.stream else { return };
        while let Some(rest) = link.outbox.get(link.written..).filter(|rest| !rest.is_empty()) {
            #[allow(clippy::disallowed_methods, reason = "the loop is what deals with short writes")]
            match stream.write(rest) {
                Ok(count) => link.written += count,
                // Not ready, or broken: then the reading side says so.
                Err(_) => return,
            }
        }
        if !link.outbox.is_empty() {
            link.outbox.clear();
            link.written = 0;
            if link.phase == Phase::Final {
                link.ended = Some(Instant::now());
            }
        }
    }

    fn say(&mut self, index: usize, phase: Phase, octets: &[u8]) {
        if let Some(link) = self.links.get_mut(index) {
            link.phase = phase;
            link.outbox.extend_from_slice(octets);
        }
        self.write(index);
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        loop {
            let Some(link) = self.links.get_mut(index) else { return };
            let Some(stream) = &mut link.stream else { return };
            match stream.read(buffer) {
                Ok(0) => return self.ended(index, "end of stream"),
                Ok(count) => {
                    link.inbox.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    self.replies(index);
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.ended(index, "reset"),
            }
        }
    }

    fn ended(&mut self, index: usize, how: &str) {
        let phase = self.links.get(index).map_or(Phase::Closed, |link| link.phase);
        if phase == Phase::Quit {
            self.close(index);
            self.connect_again(index);
        } else {
            self.trouble(index, format!("{how} in {phase:?}"));
        }
    }

    fn connect_again(&mut self, index: usize) {
        if self.may_begin() {
            self.connect(index);
        }
    }

    fn replies(&mut self, index: usize) {
        loop {
            let Some(link) = self.links.get_mut(index) else { return };
            if link.phase == Phase::Closed {
                return;
            }
            let Some((len, code)) = complete_reply(&link.inbox) else { return };
            let reply: Vec<u8> = link.inbox.drain(..len).collect();
            if link.phase == Phase::Ehlo {
                link.pipelining = memchr::memmem::find(&reply.to_ascii_uppercase(), b"PIPELINING").is_some();
            }
            self.reply(index, code);
        }
    }

    fn reply(&mut self, index: usize, code: u16) {
        let Some(link) = self.links.get_mut(index) else { return };
        let pipelines = link.pipelining && !self.options.one_by_one;
        let phase = link.phase;
        match (phase, code) {
            (Phase::Greeting, 220) => {
                self.greetings.add(link.opened.elapsed());
                self.say(index, Phase::Ehlo, b"EHLO load.sender.example\r\n");
            }
            (Phase::Ehlo, 250) => self.begin(index),
            (Phase::Mail, 250) if pipelines => link.phase = Phase::Rcpt,
            (Phase::Mail, 250) => {
                let rcpt = format!("RCPT TO:<{}>\r\n", self.options.recipient);
                self.say(index, Phase::Rcpt, rcpt.as_bytes());
            }
            (Phase::Rcpt, 250) if pipelines => link.phase = Phase::Data,
            (Phase::Rcpt, 250) => self.say(index, Phase::Data, b"DATA\r\n"),
            (Phase::Data, 354) => {
                link.phase = Phase::Final;
                link.ended = None;
                // Taken apart by hand, because message and link are both borrowed.
                link.outbox.extend_from_slice(self.message.with_serial(self.begun));
                self.write(index);
            }
            (Phase::Final, 250) => {
                let now = Instant::now();
                if let Some(ended) = link.ended {
                    self.latencies.add(now.duration_since(ended));
                }
                link.served += 1;
                self.taken += 1;
                self.last = now;
                self.begin(index);
            }
            (Phase::Quit, 221) => {
                self.close(index);
                self.connect_again(index);
            }
            (phase, code) => self.trouble(index, format!("{code} in {phase:?}")),
        }
    }

    fn begin(&mut self, index: usize) {
        let served = self.links.get(index).map_or(0, |link| link.served);
        let limit = self.options.per_connection;
        if !self.may_begin() || (limit > 0 && served >= limit) {
            return self.say(index, Phase::Quit, b"QUIT\r\n");
        }
        self.begun += 1;
        let pipelines = !self.options.one_by_one && self.links.get(index).is_some_and(|link| link.pipelining);
        let group = if pipelines {
            format!("MAIL FROM:<load@sender.example>\r\nRCPT TO:<{}>\r\nDATA\r\n", self.options.recipient)
        } else {
            "MAIL FROM:<load@sender.example>\r\n".into()
        };
        self.say(index, Phase::Mail, group.as_bytes());
    }

    fn print(&self, begun: Instant) {
        let seconds = self.last.duration_since(begun).as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
        let rate = self.taken as f64 / seconds;
        let unfinished = self.links.iter().filter(|link| link.phase == Phase::Final).count();
        let errors: Vec<_> =
            self.errors.iter().map(|(text, count)| format!("{}:{count}", json_text(text))).collect();
        println!(
            "{{\"ok\":{},\"seconds\":{seconds:.4},\"rate\":{rate:.1},\"final_us\":{},\"greeting_us\":{},\"connections\":{},\"unfinished\":{unfinished},\"errors\":{{{}}}}}",
            self.taken,
            self.latencies.to_json(),
            self.greetings.to_json(),
            self.connections,
            errors.join(",")
        );
    }
}

/// A connection attempt that goes on in the background, as Linux numbers it.
const EINPROGRESS: i32 = 115;
