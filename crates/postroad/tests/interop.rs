//! Real clients deliver to a real server: what lies in the Maildir is what they sent, octet by octet.
//!
//! Python's smtplib, curl and swaks, each in plain text, after STARTTLS (RFC 3207) and in implicit TLS
//! (RFC 8314), small and with 25 MiB, and with addresses in UTF-8 (RFC 6531) where the client knows how.
//! A client that is not installed fails its test with the name of its package.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "test")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::serve::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Plain,
    StartTls,
    Implicit,
}

const TRANSPORTS: [Transport; 3] = [Transport::Plain, Transport::StartTls, Transport::Implicit];
const LARGE: usize = 25 << 20;

/// A server with a listener for each kind of TLS. Its files are gone when it is.
struct Site {
    _server: Server,
    folder: TempDir,
    starttls: SocketAddr,
    implicit: SocketAddr,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let (starttls, implicit) = (free(), free());
        let file = folder.path().join("postroad.toml");
        let text = format!(
            "hostname = \"mx.example.test\"\ndata = \"{data}\"\naccept_any = true\n\
             [[listener]]\naddress = \"{starttls}\"\ntls = \"starttls\"\n\
             [[listener]]\naddress = \"{implicit}\"\ntls = \"implicit\"\n\
             [tls]\nself_signed = true\n\
             [delivery]\nmaildir = \"{{data}}/mail/{{domain}}/{{local}}\"\n",
            data = folder.path().join("data").display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroad"));
        command.arg("serve").arg("--config").arg(&file);
        let server = Server::spawn(command, starttls, &folder.path().join("log")).unwrap();
        Self { _server: server, folder, starttls, implicit }
    }

    fn addr(&self, transport: Transport) -> SocketAddr {
        if transport == Transport::Implicit { self.implicit } else { self.starttls }
    }

    /// Has the client send, and compares what arrives.
    fn deliver(&self, name: &str, recipient: &str, size: usize, client: impl FnOnce(&Path) -> Command) {
        let message = message(size);
        let file = self.folder.path().join(format!("{name}.eml"));
        std::fs::write(&file, &message).unwrap();
        let mut command = client(&file);
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => panic!(
                "{} cannot be run ({error}); install its package (Debian: python3, curl, swaks)",
                command.get_program().display()
            ),
        };
        assert!(
            output.status.success(),
            "{name}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout).chars().take(4000).collect::<String>(),
            String::from_utf8_lossy(&output.stderr)
        );
        let stored = self.only_file(name, &folder_name(recipient));
        let trace = stored.strip_suffix(message.as_slice());
        let Some(trace) = trace else {
            let at = first_difference(&stored, &message);
            panic!("{name}: {} octets became {}; {at}", message.len(), stored.len())
        };
        let trace = String::from_utf8(trace.to_vec()).unwrap();
        for line in trace.split_terminator("\r\n") {
            let known = ["Return-Path:", "Received:", "Delivered-To:", " ", "\t"];
            assert!(known.iter().any(|begin| line.starts_with(begin)), "{name}: {line:?} is no trace field");
        }
        assert!(trace.contains("Received:"), "{name}: no Received field");
    }

    fn only_file(&self, name: &str, mailbox: &str) -> Vec<u8> {
        let folder = self.folder.path().join("data/mail/example.test").join(mailbox).join("new");
        let begun = Instant::now();
        loop {
            let files: Vec<PathBuf> = std::fs::read_dir(&folder)
                .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
                .unwrap_or_default();
            if let [file] = files.as_slice() {
                return std::fs::read(file).unwrap();
            }
            assert!(files.is_empty(), "{name}: {} files in place of one", files.len());
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "{name}: nothing arrived in {}",
                folder.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The folder of a mailbox: its local part, with `%` and two digits for octets that need it.
fn folder_name(recipient: &str) -> String {
    let local = recipient.split('@').next().unwrap();
    local
        .bytes()
        .map(|octet| if octet.is_ascii() { char::from(octet).to_string() } else { format!("%{octet:02x}") })
        .collect()
}

/// Where two octet strings part, seen from the end of the header on.
fn first_difference(stored: &[u8], sent: &[u8]) -> String {
    let begin = stored.windows(6).position(|window| window == b"From: ").unwrap_or(0);
    let stored = stored.get(begin..).unwrap_or_default();
    let at = stored.iter().zip(sent).take_while(|(a, b)| a == b).count();
    let shown =
        |octets: &[u8]| octets.get(at..).unwrap_or_default().iter().take(60).copied().collect::<Vec<_>>();
    format!("at {at}: stored {} sent {}", shown(stored).escape_ascii(), shown(sent).escape_ascii())
}

/// A message with lines that begin with dots, and all of printable US-ASCII but what swaks replaces.
fn message(size: usize) -> Vec<u8> {
    let mut out =
        b"From: <a@sender.example>\r\nTo: <b@example.test>\r\nDate: Sun, 22 Nov 2026 00:00:00 +0000\r\n\
        Message-ID: <1@sender.example>\r\nSubject: interop\r\n\r\n.\r\n..\r\n.a line\r\n"
            .to_vec();
    let letters = || (b' '..=b'~').filter(|octet| !b"%\\".contains(octet)).cycle();
    let mut next = letters();
    for width in (1..78).cycle() {
        if out.len() >= size {
            return out;
        }
        out.extend(next.by_ref().take(width));
        // A line must not end by a blank: clients may take it away.
        out.extend_from_slice(b"|\r\n");
    }
    out
}

#[test]
fn smtplib() {
    let site = Site::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/smtplib_send.py");
    let send = |transport: Transport, sender: &str, recipient: &str, file: &Path| {
        let addr = site.addr(transport);
        let mut command = Command::new("python3");
        command.arg(&script).args([addr.ip().to_string(), addr.port().to_string()]).arg(match transport {
            Transport::Plain => "plain",
            Transport::StartTls => "starttls",
            Transport::Implicit => "implicit",
        });
        command.args([sender, recipient]).arg(file);
        command
    };
    for transport in TRANSPORTS {
        for (what, size) in [("small", 500), ("large", LARGE)] {
            let name = format!("{what}-{transport:?}").to_lowercase();
            let recipient = format!("{name}@example.test");
            site.deliver(&name, &recipient, size, |file| {
                send(transport, "a@sender.example", &recipient, file)
            });
        }
    }
    let recipient = "büro@example.test";
    site.deliver("utf8", recipient, 500, |file| send(Transport::Plain, "用户@例子.example", recipient, file));
}

#[test]
fn curl() {
    let site = Site::start();
    let send = |transport: Transport, sender: &str, recipient: &str, file: &Path| {
        let scheme = if transport == Transport::Implicit { "smtps" } else { "smtp" };
        let mut command = Command::new("curl");
        // The server made its certificate itself.
        command.args(["--silent", "--show-error", "--insecure", "--max-time", "60"]);
        command.arg(format!("{scheme}://{}/client.example", site.addr(transport)));
        if transport == Transport::StartTls {
            command.arg("--ssl-reqd");
        }
        command.args(["--mail-from", sender, "--mail-rcpt", recipient, "--upload-file"]).arg(file);
        command
    };
    for transport in TRANSPORTS {
        for (what, size) in [("small", 500), ("large", LARGE)] {
            let name = format!("{what}-{transport:?}").to_lowercase();
            let recipient = format!("{name}@example.test");
            site.deliver(&name, &recipient, size, |file| {
                send(transport, "a@sender.example", &recipient, file)
            });
        }
    }
    let recipient = "büro@example.test";
    site.deliver("utf8", recipient, 500, |file| {
        send(Transport::Plain, "用户@sender.example", recipient, file)
    });
}

/// swaks does not speak SMTPUTF8.
#[test]
fn swaks() {
    let site = Site::start();
    let send = |transport: Transport, recipient: &str, file: &Path| {
        let mut command = Command::new("swaks");
        command.args(["--silent", "2", "--timeout", "60", "--helo", "client.example", "--server"]);
        command.arg(site.addr(transport).to_string());
        match transport {
            Transport::Plain => {}
            Transport::StartTls => drop(command.arg("--tls")),
            Transport::Implicit => drop(command.arg("--tls-on-connect")),
        }
        // It ends the last line itself.
        let octets = std::fs::read(file).unwrap();
        let unended = file.with_extension("swaks");
        std::fs::write(&unended, octets.strip_suffix(b"\r\n").unwrap()).unwrap();
        command.args(["--from", "a@sender.example", "--to", recipient, "--data"]);
        command.arg(format!("@{}", unended.display()));
        command
    };
    for transport in TRANSPORTS {
        for (what, size) in [("small", 500), ("large", LARGE)] {
            let name = format!("{what}-{transport:?}").to_lowercase();
            let recipient = format!("{name}@example.test");
            site.deliver(&name, &recipient, size, |file| send(transport, &recipient, file));
        }
    }
}
