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
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    log: PathBuf,
    pub(crate) listening: Vec<String>,
    out: BufReader<std::process::ChildStdout>,
}

impl Serving {
    pub(crate) fn start(dir: &Path, line: &[&str]) -> Self {
        let log = dir.join("log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_postroad"))
            .arg("serve")
            .args(line)
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
        Self { child, log, listening, out }
    }

    pub(crate) fn with_config(dir: &Path, text: &str) -> Self {
        fs::write(dir.join("postroad.toml"), text).unwrap();
        Self::start(dir, &["--config", "postroad.toml"])
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, then the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        ended(&mut self.child)
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
        let mut client = Client::connect(&self.listening[0]);
        client.expect("220");
        client
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

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(octets.as_ref()).unwrap();
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, beginning: &str) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let last = line.as_bytes().get(3) != Some(&b'-');
            reply.push_str(&line);
            if last {
                break;
            }
        }
        assert!(reply.starts_with(beginning), "expected {beginning:?}, but came {reply:?}");
        reply.trim_end().to_owned()
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
