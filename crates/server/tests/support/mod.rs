//! A real server on loopback ports, clients that speak with it, and a look at what it delivered.
//!
//! Every wait ends: a server that says nothing for [`PATIENCE`] fails the test.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "test; each test file uses its part"
)]

use postroad_server::clock::Clock;
use postroad_server::config::{Config, Loaded, Sources};
use postroad_server::control::{Answer, Request, ask};
use postroad_server::queue::Item;
use postroad_server::server::{Server, StartError};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Names who gets mail; what a test adds comes before or after.
pub(crate) const DOMAIN: &str =
    "[domain.\"example.org\"]\nmailboxes = [\"postmaster\", \"bob\", \"carol\"]\n";

/// A server that runs, in a directory of its own; it stops when this is dropped.
pub(crate) struct Running {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    runtime: Runtime,
    server: Option<Server>,
}

/// `hostname`, listeners at these addresses of this machine, then `rest`.
pub(crate) fn toml(listeners: &[&str], rest: &str) -> String {
    let mut text = "hostname = \"mx.example.org\"\ndata = \"data\"\n".to_owned();
    for listener in listeners {
        text.push_str("[[listener]]\n");
        text.push_str(listener);
        text.push('\n');
    }
    text + "[spool]\nreserve = \"1MiB\"\nring = \"64MiB\"\n[http]\nlisten = \"127.0.0.1:0\"\n" + rest
}

/// One listener for SMTP.
pub(crate) fn plain(rest: &str) -> String {
    toml(&["address = \"127.0.0.1:0\""], &format!("{DOMAIN}{rest}"))
}

impl Running {
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with(toml, |_| {})
    }

    /// Starts with a configuration that no file could ask for.
    pub(crate) fn start_with(toml: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), toml, change).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn start_in(
        dir: TempDir,
        toml: &str,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, StartError> {
        let file = dir.path().join("postroad.toml");
        fs::write(&file, toml).unwrap();
        let mut config = load(&file).unwrap_or_else(|why| panic!("{why}")).config;
        change(&mut config);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let reload = Box::new(move || load(&file));
        let server = runtime.block_on(Server::start(config.clone(), Clock::new(), reload))?;
        Ok(Self { dir, config, runtime, server: Some(server) })
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.server().addresses().iter().filter_map(|address| address.parse().ok()).collect()
    }

    /// The address of the listener on this loopback address.
    pub(crate) fn address_at(&self, ip: &str) -> SocketAddr {
        let ip: std::net::IpAddr = ip.parse().unwrap();
        self.addresses().into_iter().find(|address| address.ip() == ip).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        let (head, body) =
            self.http_raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        (head[9..12].parse().unwrap(), body)
    }

    pub(crate) fn http_raw(&self, request: &[u8]) -> (String, String) {
        let mut stream = connect(self.server().http_address().unwrap());
        // A server that has heard enough may close while the rest is on its way.
        drop(stream.write_all(request));
        let mut octets = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            octets.extend(&buffer[..read]);
        }
        let text = String::from_utf8(octets).unwrap();
        text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap_or_default()
    }

    pub(crate) fn http_address(&self) -> SocketAddr {
        self.server().http_address().unwrap()
    }

    /// A metric that counts.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let (_, text) = self.http("/metrics");
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn client(&self) -> Client<TcpStream> {
        Client::greeted(self.address())
    }

    /// Writes the file anew and reloads.
    pub(crate) fn reload(&self, toml: &str) -> Result<(), String> {
        fs::write(self.dir.path().join("postroad.toml"), toml).unwrap();
        let _runtime = self.runtime.enter();
        self.server().reload()
    }

    pub(crate) fn stop(mut self) -> TempDir {
        self.stop_server();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    /// Begins the stop and gives back what to wait for.
    pub(crate) fn stopping(&mut self) -> tokio::task::JoinHandle<()> {
        self.runtime.spawn(self.server.take().unwrap().stop())
    }

    pub(crate) fn wait_for(&self, stopping: tokio::task::JoinHandle<()>) {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, stopping).await }).unwrap().unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("data/control.sock")
    }

    pub(crate) fn queue(&self) -> Vec<Item> {
        match ask(&self.socket(), &Request::QueueList { after: None }) {
            Ok(Answer::Queue { items }) => items,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until nothing is left in the queue.
    pub(crate) fn settle(&self) {
        eventually("the queue is empty", || self.queue().is_empty());
    }

    /// What is new in a mailbox of example.org, in the order of acceptance, once the queue is empty.
    pub(crate) fn mail(&self, local: &str) -> Vec<String> {
        self.settle();
        mail_in(&self.dir.path().join("data/mail/example.org").join(local))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_server();
    }
}

pub(crate) fn load(file: &Path) -> Result<Loaded, String> {
    Sources { file: Some(file.to_owned()), ..Sources::default() }.load().map_err(|error| error.to_string())
}

/// The contents of `new` in a Maildir, oldest first.
pub(crate) fn mail_in(maildir: &Path) -> Vec<String> {
    mail_octets(maildir).into_iter().map(|octets| String::from_utf8(octets).unwrap()).collect()
}

pub(crate) fn mail_octets(maildir: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(maildir.join("new")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    // By message and recipient: SECONDS.MMICROS_ID-RECIPIENT.host
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (id, rest) = name.split_once('_').unwrap().1.split_once('-').unwrap();
        (id.to_owned(), rest.split('.').next().unwrap().parse::<u32>().unwrap())
    });
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Waits until it is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A client that reads whole replies.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    unread: Vec<u8>,
}

impl Client<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(connect(address))
    }

    /// Connected and greeted.
    pub(crate) fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.expect("220 mx.example.org ");
        client
    }

    /// Says that nothing more will come.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl Client<UnixStream> {
    pub(crate) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next reply, its lines joined by `\n`; empty at the end of the connection.
    pub(crate) fn reply(&mut self) -> String {
        let mut lines: Vec<String> = Vec::new();
        while let Some(line) = self.line() {
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                break;
            }
        }
        lines.join("\n")
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.unread.is_empty(), "half a line: {:?}", self.unread);
                    return None;
                }
                Ok(read) => self.unread.extend(&buffer[..read]),
                Err(error) if is_end(&error) => return None,
                Err(error) => panic!("waiting for a reply: {error}"),
            }
        }
    }

    /// The next reply, which begins so.
    #[track_caller]
    pub(crate) fn expect(&mut self, beginning: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(beginning), "expected {beginning:?}, but came {reply:?}");
        reply
    }

    /// Sends a line and expects a reply.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str, beginning: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.expect(beginning)
    }

    /// Goes up to the 354.
    #[track_caller]
    pub(crate) fn until_content(&mut self, to: &[&str]) {
        self.say("EHLO client.example", "250");
        self.say("MAIL FROM:<alice@client.example>", "250 2.1.0");
        for one in to {
            self.say(&format!("RCPT TO:<{one}>"), "250 2.1.5");
        }
        self.say("DATA", "354");
    }

    /// Sends a whole message; the reply names its id, which is returned.
    #[track_caller]
    pub(crate) fn deliver(&mut self, to: &[&str], body: &str) -> String {
        self.until_content(to);
        let reply = self.say(&format!("Subject: test\r\n\r\n{body}\r\n."), "250 2.0.0");
        reply.rsplit(' ').next().unwrap().to_owned()
    }

    /// Nothing more comes and the connection ends.
    #[track_caller]
    pub(crate) fn closed(&mut self) {
        let reply = self.reply();
        assert!(reply.is_empty(), "the server said more: {reply:?}");
    }
}

/// The server is gone, in one way or the other.
fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | BrokenPipe | UnexpectedEof)
}
