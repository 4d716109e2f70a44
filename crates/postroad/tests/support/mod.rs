//! The program as a process: its output, its exit code, the files around it.
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

use rustix::process::{Pid, Signal, kill_process};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A whole configuration: one listener, one domain, small files.
pub(crate) const GOOD: &str = "hostname = \"mx.example.org\"\ndata = \"data\"\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\n\
    [spool]\nreserve = \"1MiB\"\nring = \"64MiB\"\n\
    [domain.\"example.org\"]\nmailboxes = [\"postmaster\", \"bob\", \"carol\"]\n";

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn run(dir: &Path, line: &[&str]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_postroad"))
        .args(line)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).unwrap();
        text
    });
    let mut out = String::new();
    let reading = child.stdout.take().unwrap();
    // What should have failed may serve instead, for ever.
    let printed = std::thread::spawn(move || {
        let mut reading = reading;
        reading.read_to_string(&mut out).unwrap();
        out
    });
    let code = ended(&mut child);
    Ran { code, out: printed.join().unwrap(), err: errors.join().unwrap() }
}

fn ended(child: &mut Child) -> i32 {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `postroad serve`, ready; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    dir: PathBuf,
    log: PathBuf,
    pub(crate) listening: Vec<String>,
    out: BufReader<std::process::ChildStdout>,
}

impl Serving {
    pub(crate) fn start(dir: &Path, line: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_postroad")).arg("serve").args(line), dir)
    }

    /// Starts it by a command that becomes the server.
    pub(crate) fn start_by(command: &mut Command, dir: &Path) -> Self {
        let log = dir.join("log");
        let mut child = command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut listening = Vec::new();
        let mut text = String::new();
        while listening.is_empty() {
            text.clear();
            let read = out.read_line(&mut text).unwrap();
            assert!(read > 0, "it did not start: {}", fs::read_to_string(&log).unwrap());
            if let Some(rest) = text.trim().strip_prefix("listening at") {
                listening = rest.trim().split(", ").map(str::to_owned).collect();
            }
        }
        Self { child, dir: dir.to_owned(), log, listening, out }
    }

    pub(crate) fn with_config(dir: &Path, text: &str) -> Self {
        fs::write(dir.join("postroad.toml"), text).unwrap();
        Self::start(dir, &["--config", "postroad.toml"])
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGTERM, then the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        ended(&mut self.child)
    }

    /// Where it was started.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The rest of what it printed, once it has ended.
    pub(crate) fn printed(&mut self) -> String {
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn client(&self) -> Client {
        Client::greeted(&self.listening[0])
    }

    /// The address of the listener at this IP address.
    pub(crate) fn at(&self, ip: &str) -> &str {
        let found = self.listening.iter().find(|one| one.rsplit_once(':').unwrap().0 == ip);
        found.unwrap_or_else(|| panic!("no listener at {ip}: {:?}", self.listening))
    }

    /// Where metrics and health are, which it prints after the listeners.
    pub(crate) fn http_address(&mut self) -> String {
        let mut text = String::new();
        loop {
            text.clear();
            assert!(self.out.read_line(&mut text).unwrap() > 0, "it said nothing of metrics");
            if let Some((_, rest)) = text.split_once("http://") {
                return rest.split('/').next().unwrap().to_owned();
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What `GET` of a path gives: the status and the body.
pub(crate) fn http(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A connection, with TLS or without.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

pub(crate) struct Client {
    stream: BufReader<Box<dyn Wire>>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    pub(crate) fn greeted(address: &str) -> Self {
        let mut client = Self::connect(address);
        client.expect("220");
        client
    }

    /// Says STARTTLS and begins TLS, trusting the certificate of this file.
    pub(crate) fn secured(mut self, certificate: &Path) -> Self {
        self.say("STARTTLS", "220");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("mx.example.org").unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = rustls::StreamOwned::new(connection, self.stream.into_inner());
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(octets.as_ref()).unwrap();
    }

    /// One reply, of all its lines.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let last = line.as_bytes().get(3) != Some(&b'-');
            reply.push_str(&line);
            if last {
                return reply.trim_end().to_owned();
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, beginning: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(beginning), "expected {beginning:?}, but came {reply:?}");
        reply
    }

    #[track_caller]
    pub(crate) fn say(&mut self, line: &str, beginning: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.expect(beginning)
    }

    /// Sends a message and gives its queue id.
    #[track_caller]
    pub(crate) fn deliver(&mut self, to: &[&str], body: &str) -> String {
        self.until_content(to);
        let reply = self.say(&format!("Subject: test\r\n\r\n{body}\r\n."), "250 2.0.0");
        reply.rsplit(' ').next().unwrap().to_owned()
    }

    /// As [`Self::deliver`], with a From field.
    #[track_caller]
    pub(crate) fn deliver_from(&mut self, to: &[&str], body: &str) -> String {
        self.until_content(to);
        let reply = self.say(&format!("From: alice@client.example\r\n\r\n{body}\r\n."), "250 2.0.0");
        reply.rsplit(' ').next().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn until_content(&mut self, to: &[&str]) {
        self.say("EHLO client.example", "250");
        self.say("MAIL FROM:<alice@client.example>", "250");
        for one in to {
            self.say(&format!("RCPT TO:<{one}>"), "250");
        }
        self.say("DATA", "354");
    }
}

/// The contents of `new` in a Maildir.
pub(crate) fn mail_in(maildir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(maildir.join("new")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// Every file below a directory with its content, and every directory.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                rest.push(entry.path());
                all.insert(entry.path(), None);
            } else {
                all.insert(entry.path(), kind.is_file().then(|| fs::read(entry.path()).unwrap()));
            }
        }
    }
    all
}
