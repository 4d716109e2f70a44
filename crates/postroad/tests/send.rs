//! `postroad send` as a process, against small servers that say what a test wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A connection a script can talk over, with or without TLS.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// The server's side of a dialogue.
struct Peer {
    wire: BufReader<Box<dyn Wire>>,
}

impl Peer {
    fn new(wire: impl Wire + 'static) -> Self {
        Self { wire: BufReader::new(Box::new(wire)) }
    }

    /// Says lines in one write.
    fn say(&mut self, lines: &[&str]) {
        let text = lines.join("\r\n") + "\r\n";
        self.wire.get_mut().write_all(text.as_bytes()).unwrap();
        self.wire.get_mut().flush().unwrap();
    }

    /// The next line, with its CRLF checked and taken off; empty when the client is gone.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.wire.read_line(&mut line).unwrap_or(0);
        if line.is_empty() {
            return line;
        }
        line.strip_suffix("\r\n").expect("a command ends in CRLF").to_owned()
    }

    /// Greets, takes EHLO, offers these.
    fn greet(&mut self, offer: &[&str]) {
        self.say(&["220 test.example ESMTP"]);
        self.hello(offer);
    }

    fn hello(&mut self, offer: &[&str]) {
        let line = self.hear();
        assert!(line.starts_with("EHLO ") || line.starts_with("LHLO "), "{line}");
        let mut lines = vec!["250-test.example".to_owned()];
        lines.extend(offer.iter().map(|word| format!("250-{word}")));
        lines.push("250 ENHANCEDSTATUSCODES".to_owned());
        self.say(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// The raw content through its final dot, dots still stuffed.
    fn content(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            let begin = content.len();
            assert!(self.wire.read_until(b'\n', &mut content).unwrap() > 0, "the content has no end");
            if &content[begin..] == b".\r\n" {
                return content;
            }
        }
    }

    /// Takes a whole message with these replies to the recipients; gives MAIL's line and the content.
    fn transaction(&mut self, recipients: &[&str], end: &[&str]) -> (String, Vec<u8>) {
        let mail = self.hear();
        self.say(&["250 2.1.0 ok"]);
        for reply in recipients {
            assert!(self.hear().starts_with("RCPT TO:<"));
            self.say(&[reply]);
        }
        assert_eq!(self.hear(), "DATA");
        self.say(&["354 go on"]);
        let content = self.content();
        self.say(end);
        (mail, content)
    }

    fn part(&mut self) {
        assert_eq!(self.hear(), "QUIT");
        self.say(&["221 2.0.0 bye"]);
    }
}

/// Runs a script for the first connection; the handle gives what the script gives.
fn serve<T: Send + 'static>(
    script: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handle = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        script(socket)
    });
    (address, handle)
}

fn serve_plain<T: Send + 'static>(
    script: impl FnOnce(&mut Peer) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    serve(|socket| script(&mut Peer::new(socket)))
}

fn command(server: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroad"));
    command.args(["send", "--server", &server.to_string(), "--from", "me@client.example"]);
    command.args(["--helo", "client.example"]).stdin(Stdio::null());
    command
}

/// Runs `postroad send` to one recipient with more arguments.
fn send(server: SocketAddr, more: &[&str]) -> Output {
    command(server).args(["--to", "bob@example.org"]).args(more).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{} {}", out(output), err(output)))
}

fn write_file(name: &str, content: &[u8]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn a_message_of_subject_and_body_is_accepted() {
    let (server, script) = serve_plain(|peer| {
        peer.greet(&["SIZE 100000", "8BITMIME"]);
        let taken = peer.transaction(&["250 2.1.5 ok"], &["250 2.0.0 stored as 01ABC"]);
        peer.part();
        taken
    });
    let output = send(server, &["--subject", "Grüße", "--body", "schön\n.\n", "--json"]);
    let (mail, content) = script.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let content = String::from_utf8(content).unwrap();
    let (header, body) = content.split_once("\r\n\r\n").unwrap();
    for field in [
        "From: me@client.example\r\n",
        "To: bob@example.org\r\n",
        "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n",
        "Date: ",
        "Message-ID: <",
        "MIME-Version: 1.0\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Transfer-Encoding: 8bit",
    ] {
        assert!(header.contains(field), "{field} in {header}");
    }
    assert_eq!(body, "schön\r\n..\r\n.\r\n");
    let size = content.len() - ".\r\n".len() - ".".len();
    assert_eq!(mail, format!("MAIL FROM:<me@client.example> SIZE={size} BODY=8BITMIME"));
    let report = json(&output);
    assert_eq!(report["outcome"], "accepted");
    assert_eq!(report["queue_id"], "01ABC");
    assert_eq!(report["size"], size);
    assert_eq!(report["tls"], Value::Null);
    assert_eq!(report["stall"], Value::Null);
    assert_eq!(report["recipients"][0]["code"], 250);
    assert_eq!(report["recipients"][0]["enhanced"], "2.0.0");
    assert_eq!(report["recipients"][0]["reply"], "250 2.0.0 stored as 01ABC");
    assert!(report["timings_ms"]["total"].is_u64() && report["timings_ms"]["end"].is_u64());
}

#[test]
fn a_file_goes_as_it_is_but_for_line_ends_and_dots() {
    let message = b"From: a@b.example\nTo: c@d.example\nDate: Sun, 22 Nov 2026 06:00:00 +0000\nMessage-ID: <1@b.example>\nSubject: x\n\n.one\r\n..two\rthree\n.\nend without line end";
    let wire = b"From: a@b.example\r\nTo: c@d.example\r\nDate: Sun, 22 Nov 2026 06:00:00 +0000\r\nMessage-ID: <1@b.example>\r\nSubject: x\r\n\r\n..one\r\n...two\r\nthree\r\n..\r\nend without line end\r\n.\r\n";
    let (_kept, file) = write_file("message.eml", message);
    let (server, script) = serve_plain(|peer| {
        peer.greet(&[]);
        let (_, content) = peer.transaction(&["250 ok"], &["250 ok"]);
        peer.part();
        content
    });
    let output = send(server, &[&file]);
    assert_eq!(script.join().unwrap(), wire);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(out(&output), "bob@example.org: accepted: 250 ok\n");
    assert_eq!(err(&output), "");
}

#[test]
fn missing_fields_are_added_and_standard_input_is_read() {
    for (input, head, tail) in [
        ("Subject: hi\n\nbody\n", "Date: ", "From: me@client.example\r\nSubject: hi\r\n\r\nbody\r\n.\r\n"),
        ("just text\n", "From: me@client.example\r\n", "Encoding: 7bit\r\n\r\njust text\r\n.\r\n"),
    ] {
        let (server, script) = serve_plain(|peer| {
            peer.greet(&[]);
            let (_, content) = peer.transaction(&["250 ok"], &["250 ok"]);
            peer.part();
            String::from_utf8(content).unwrap()
        });
        let mut child = command(server)
            .args(["--to", "bob@example.org", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
        let content = script.join().unwrap();
        assert!(content.starts_with(head), "{content}");
        assert!(content.ends_with(tail), "{content}");
        assert!(content.contains("Message-ID: <"), "{content}");
    }
}

#[test]
fn a_line_that_is_too_long_is_told_and_sent() {
    for (length, told) in [(2000, true), (999, true), (998, false)] {
        let (server, script) = serve_plain(|peer| {
            peer.greet(&[]);
            let (_mail, content) = peer.transaction(&["250 ok"], &["250 2.0.0 ok"]);
            peer.part();
            content
        });
        let body = format!("Subject: x\n\nshort\n{}\n", "y".repeat(length));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("long.eml");
        std::fs::write(&file, format!("Date: x\nFrom: a@b.example\nMessage-ID: <a@b>\n{body}")).unwrap();
        let file = file.to_str().unwrap();
        let output = command(server).args(["--to", "bob@example.org", "--json", file]).output().unwrap();
        let content = String::from_utf8(script.join().unwrap()).unwrap();
        assert!(content.ends_with(&format!("{}\r\n.\r\n", "y".repeat(length))));
        assert_eq!(output.status.code(), Some(0));
        let said = err(&output);
        assert_eq!(said.contains("line 7 has ") && said.contains("RFC 5321 §4.5.3.1.6"), told, "{said}");
        assert_eq!(said.contains("2,000 octets"), length == 2000, "{said}");
        let long = &json(&output)["long_line"];
        assert_eq!(long["octets"].as_u64(), told.then_some(length as u64));
        assert_eq!(long["line"].as_u64(), told.then_some(7));
    }
}

#[test]
fn refusals_have_their_codes() {
    for (recipient, end, code, word) in [
        ("451 4.3.0 later", "", 75, "bob@example.org: the recipient is not taken now: 451 4.3.0 later\n"),
        ("550 5.1.1 nobody", "", 69, "bob@example.org: the recipient is refused: 550 5.1.1 nobody\n"),
        ("250 ok", "452 4.3.1 full", 75, "bob@example.org: the content is not taken now: 452 4.3.1 full\n"),
        (
            "250 ok",
            "554 5.6.0 \u{1b}[31mbad",
            69,
            "bob@example.org: the content is refused: 554 5.6.0 \\u{1b}[31mbad\n",
        ),
    ] {
        let (server, script) = serve_plain(move |peer| {
            peer.greet(&[]);
            if end.is_empty() {
                peer.hear();
                peer.say(&["250 ok"]);
                peer.hear();
                peer.say(&[recipient]);
            } else {
                peer.transaction(&[recipient], &[end]);
            }
            peer.part();
        });
        let output = send(server, &["--body", "x"]);
        script.join().unwrap();
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(code), word));
    }
}

#[test]
fn a_partial_acceptance_is_the_worst_of_its_recipients_and_says_so() {
    let (server, script) = serve_plain(|peer| {
        peer.greet(&["PIPELINING"]);
        let lines: Vec<String> = (0..5).map(|_| peer.hear()).collect();
        peer.say(&["250 ok", "250 ok", "550 5.1.1 no", "450 4.2.0 busy", "354 go"]);
        peer.content();
        peer.say(&["250 2.0.0 queued as A1"]);
        peer.part();
        lines
    });
    let to = ["--to", "a@x.example", "--to", "b@x.example", "--to", "c@x.example"];
    let output = command(server).args(to).args(["--body", "x", "--json"]).output().unwrap();
    let lines = script.join().unwrap();
    assert_eq!(lines[4], "DATA");
    assert_eq!(output.status.code(), Some(69));
    let report = json(&output);
    assert_eq!(report["outcome"], "partial");
    assert_eq!(report["exit"], 69);
    let outcomes: Vec<&Value> =
        report["recipients"].as_array().unwrap().iter().map(|recipient| &recipient["outcome"]).collect();
    assert_eq!(outcomes, ["accepted", "refused", "temporary"]);
    assert_eq!(report["recipients"][1]["retry"], false);
    assert_eq!(report["recipients"][2]["retry"], true);
}

#[test]
fn a_connection_lost_after_the_dot_is_temporary_and_uncertain() {
    let (server, script) = serve_plain(|peer| {
        peer.greet(&[]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["354 go"]);
        peer.content();
    });
    let output = send(server, &["--body", "x"]);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(75));
    let told = out(&output);
    assert!(told.contains("it is unknown whether the message was accepted: all of it was sent"), "{told}");
    assert!(!told.contains("not sent"), "{told}");
}

#[test]
fn silence_after_the_dot_is_explained() {
    let (server, script) = serve_plain(|peer| {
        peer.greet(&[]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["354 go"]);
        peer.content();
        // Waits until the client has given up.
        assert_eq!(peer.hear(), "");
    });
    let output = send(server, &["--body", "x", "--timeout", "2", "--json"]);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(75));
    let report = json(&output);
    assert_eq!(report["stall"]["phase"], "end");
    assert_eq!(report["stall"]["timer_seconds"], 2);
    assert!(report["stall"]["sent_octets"].as_u64().unwrap() > report["size"].as_u64().unwrap());
    if Path::new("/proc/self/net/tcp").exists() {
        assert_eq!(report["stall"]["unacknowledged_octets"], 0);
    }
    assert!(err(&output).contains("Nothing has moved"), "{}", err(&output));
    assert!(err(&output).contains("the reply to the end of the content"), "{}", err(&output));
}

#[test]
fn a_server_that_stops_reading_is_told_from_one_that_thinks() {
    let (_kept, file) = write_file("large.txt", &b"0123456789abcde\n".repeat(2 * 1024 * 1024));
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let (server, script) = serve_plain(move |peer| {
        peer.greet(&[]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["354 go"]);
        wait.recv().unwrap_err();
    });
    let output = send(server, &[&file, "--timeout", "2", "--json"]);
    drop(done);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(75));
    let report = json(&output);
    assert_eq!(report["stall"]["phase"], "content");
    if Path::new("/proc/self/net/tcp").exists() {
        assert!(report["stall"]["unacknowledged_octets"].as_u64().unwrap() > 0);
    }
    assert!(err(&output).contains("does not read"), "{}", err(&output));
}

#[test]
fn a_size_too_small_is_known_before_anything_is_sent() {
    let (server, script) = serve_plain(|peer| {
        peer.greet(&["SIZE 100"]);
        peer.part();
    });
    let output = send(server, &["--body", &"x".repeat(200)]);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(65));
    assert!(out(&output).contains("the server takes at most 100"), "{}", out(&output));
}

#[test]
fn utf8_addresses_need_smtputf8() {
    for (offer, code) in [(&["SMTPUTF8", "8BITMIME"][..], 0), (&["8BITMIME"][..], 65)] {
        let (server, script) = serve_plain(move |peer| {
            peer.greet(offer);
            let mail = if code == 0 {
                peer.transaction(&["250 ok"], &["250 ok"]).0
            } else {
                "MAIL FROM:<me@client.example> BODY=8BITMIME SMTPUTF8".to_owned()
            };
            peer.part();
            mail
        });
        let output = command(server).args(["--to", "用户@例子.广告", "--body", "x"]).output().unwrap();
        assert_eq!(script.join().unwrap(), "MAIL FROM:<me@client.example> BODY=8BITMIME SMTPUTF8");
        assert_eq!(output.status.code(), Some(code), "{}", out(&output));
    }
}

#[test]
fn what_cannot_begin_has_its_code() {
    // A port that is given to no test, unlike one that was just let go.
    let gone = "127.0.0.1:1".parse().unwrap();
    let code = |more: &[&str]| send(gone, more).status.code();
    assert_eq!(code(&["--body", "x"]), Some(75), "nobody listens");
    assert_eq!(code(&["/no/such/file"]), Some(66));
    assert_eq!(code(&[]), Some(64), "nothing to send");
    assert_eq!(code(&["--body", "x", "--nonsense"]), Some(64));
    assert_eq!(code(&["--body", "x", "--subject", "a\nb: c"]), Some(64));
    assert_eq!(code(&["--body", "x", "--to", "no address"]), Some(65));
    let output = send(gone, &["--body", "x", "--json"]);
    let report = json(&output);
    assert_eq!((&report["outcome"], &report["exit"]), (&"temporary".into(), &75.into()));
    assert!(report["error"].as_str().unwrap().contains("no connection"));
    assert_eq!(report["recipients"][0]["outcome"], "not-tried");
}

#[test]
fn a_server_that_does_not_speak_smtp_is_76() {
    let (server, script) = serve_plain(|peer| {
        peer.say(&["HTTP/1.1 400 Bad Request", ""]);
        peer.hear();
    });
    let output = send(server, &["--body", "x"]);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(76));
    assert!(out(&output).contains("not an SMTP reply"), "{}", out(&output));
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let (server, script) = serve_plain(|peer| {
        peer.greet(&[]);
        peer.transaction(&["250 ok", "250 ok"], &["250 2.0.0 a has it", "552 5.2.2 b is full"]);
        peer.part();
    });
    let to = ["--to", "a@x.example", "--to", "b@x.example", "--lmtp", "--body", "x"];
    let output = command(server).args(to).output().unwrap();
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert_eq!(
        out(&output),
        "a@x.example: accepted: 250 2.0.0 a has it\nb@x.example: the content is refused: 552 5.2.2 b is full\naccepted for 1 of 2 recipients; the exit code is that of the worst\n"
    );
}

#[test]
fn the_dialogue_is_shown_without_content_and_secrets() {
    let (_kept, password) = write_file("password", b"open sesame\nsecond line\n");
    let (server, script) = serve_plain(|peer| {
        peer.greet(&["AUTH PLAIN"]);
        let login = peer.hear();
        peer.say(&["235 2.7.0 welcome"]);
        peer.transaction(&["250 ok"], &["250 ok"]);
        peer.part();
        login
    });
    let more = ["--body", "private", "-v", "--auth-user", "me", "--auth-password-file", &password];
    let output = send(server, &more);
    // NUL me NUL open sesame
    assert_eq!(script.join().unwrap(), "AUTH PLAIN AG1lAG9wZW4gc2VzYW1l");
    assert_eq!(output.status.code(), Some(0));
    let shown = err(&output);
    for line in [
        "S: 220 test.example ESMTP\n",
        "C: EHLO client.example\n",
        "S: 250-test.example\n",
        "C: AUTH PLAIN ****\n",
        "C: MAIL FROM:<me@client.example>\n",
        "S: 354 go on\n",
        "C: [content: ",
        "C: QUIT\nS: 221 2.0.0 bye\n",
    ] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    assert!(!shown.contains("private") && !shown.contains("sesame") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_refused_login_is_77() {
    let (_kept, password) = write_file("password", b"wrong");
    let (server, script) = serve_plain(|peer| {
        peer.greet(&["AUTH PLAIN"]);
        peer.hear();
        peer.say(&["535 5.7.8 no"]);
        peer.part();
    });
    let output = send(server, &["--body", "x", "--auth-user", "me", "--auth-password-file", &password]);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(77));
}

/// A self-signed certificate for 127.0.0.1: the server's configuration, and its PEM.
fn certificate() -> (Arc<rustls::ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (server_config(made.cert.der().clone(), &made.signing_key), made.cert.pem())
}

fn secured(config: Arc<rustls::ServerConfig>, socket: TcpStream) -> Peer {
    Peer::new(rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), socket))
}

#[test]
fn starttls_with_a_trusted_certificate() {
    let (config, pem) = certificate();
    let (_kept, ca) = write_file("ca.pem", pem.as_bytes());
    let (server, script) = serve(move |socket| {
        let mut peer = Peer::new(socket.try_clone().unwrap());
        peer.greet(&["STARTTLS"]);
        assert_eq!(peer.hear(), "STARTTLS");
        peer.say(&["220 2.0.0 go"]);
        let mut peer = secured(config, socket);
        peer.hello(&["SIZE"]);
        let (_, content) = peer.transaction(&["250 ok"], &["250 2.0.0 queued as T1"]);
        peer.part();
        content
    });
    let output = send(server, &["--body", "x", "--tls", "require", "--ca", &ca, "--json"]);
    assert!(script.join().unwrap().ends_with(b"\r\n\r\nx\r\n.\r\n"));
    assert_eq!(output.status.code(), Some(0), "{} {}", out(&output), err(&output));
    let report = json(&output);
    assert_eq!(report["tls"]["version"], "TLSv1_3");
    assert_eq!(report["tls"]["verified"], true);
}

#[test]
fn an_unknown_certificate_is_refused_noted_or_taken() {
    for (tls, more, code) in [
        ("require", None, 77),
        ("implicit", None, 77),
        ("implicit", Some("--insecure"), 0),
        ("starttls", None, 0),
        ("starttls", Some("--insecure"), 0),
    ] {
        let (config, _) = certificate();
        let (server, script) = serve(move |socket| {
            let mut peer = if tls == "implicit" {
                let mut peer = secured(config, socket);
                if peer.wire.get_mut().write_all(b"220 test.example\r\n").is_err() {
                    return;
                }
                peer
            } else {
                let mut peer = Peer::new(socket.try_clone().unwrap());
                peer.greet(&["STARTTLS"]);
                peer.hear();
                peer.say(&["220 go"]);
                secured(config, socket)
            };
            if code == 0 {
                peer.hello(&[]);
                peer.transaction(&["250 ok"], &["250 ok"]);
                peer.part();
            } else {
                assert_eq!(peer.hear(), "", "nothing is said to a stranger");
            }
        });
        let output = send(
            server,
            &[&["--body", "x", "--tls", tls][..], &more.into_iter().collect::<Vec<_>>()].concat(),
        );
        script.join().unwrap();
        assert_eq!(output.status.code(), Some(code), "{tls} {more:?}: {} {}", out(&output), err(&output));
        if code == 0 {
            let told = err(&output);
            assert!(told.contains("not verified: it is self-signed, or its issuer is not trusted"), "{told}");
        } else {
            let told = out(&output);
            assert!(told.contains("the TLS handshake failed: the server's certificate is not"), "{told}");
            assert!(told.contains("self-signed") && told.contains("--ca FILE"), "{told}");
            assert!(told.contains("--insecure"), "{told}");
        }
    }
}

#[test]
fn a_certificate_that_does_not_fit_is_told_in_plain_words() {
    let wrong_name = rcgen::CertificateParams::new(["mx.example.org".to_owned()]).unwrap();
    let mut expired = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let mut not_yet = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    not_yet.not_before = rcgen::date_time_ymd(4000, 1, 2);
    for (leaf, said) in [
        (wrong_name, "it is for another name; name the server with --server as its certificate does"),
        (expired, "it has expired; the server needs a new one"),
        (not_yet, "it is not valid yet; look at the clocks"),
    ] {
        let (config, pem) = issued(&leaf);
        let (_kept, ca) = write_file("ca.pem", pem.as_bytes());
        let (server, script) = serve(move |socket| {
            assert_eq!(secured(config, socket).hear(), "");
        });
        let output = send(server, &["--body", "x", "--tls", "implicit", "--ca", &ca]);
        script.join().unwrap();
        assert_eq!(output.status.code(), Some(77));
        let told = out(&output);
        assert!(told.contains(said) && told.contains("--insecure"), "{told}");
    }
    let (server, script) = serve_plain(|peer| {
        peer.say(&["220 test.example ESMTP"]);
        // the handshake is no text
        drop(peer.wire.fill_buf());
    });
    let output = send(server, &["--body", "x", "--tls", "implicit"]);
    script.join().unwrap();
    assert!(
        out(&output).contains("what the server sent is not TLS; --tls implicit is for"),
        "{}",
        out(&output)
    );
}

/// A server that shows this certificate, and the PEM of the CA that signed it.
fn issued(leaf: &rcgen::CertificateParams) -> (Arc<rustls::ServerConfig>, String) {
    let mut ca = rcgen::CertificateParams::new([]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "The tests' CA");
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = rcgen::KeyPair::generate().unwrap();
    let signed = leaf.signed_by(&key, &rcgen::Issuer::from_params(&ca, &ca_key)).unwrap();
    (server_config(signed.der().clone(), &key), ca_pem)
}

fn server_config(
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: &rcgen::KeyPair,
) -> Arc<rustls::ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

#[test]
fn words_before_tls_are_an_attack() {
    let (server, script) = serve_plain(|peer| {
        peer.greet(&["STARTTLS"]);
        peer.hear();
        peer.say(&["220 go", "250 injected"]);
        assert_eq!(peer.hear(), "");
    });
    let output = send(server, &["--body", "x"]);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(76));
    assert!(out(&output).contains("before TLS was on"), "{}", out(&output));
}

#[test]
fn chunks_carry_binary_content_unchanged() {
    let (_kept, file) = write_file("binary.eml", b"From: a@b.example\nDate: x\nMessage-ID: <1@b>\n\n\0\n.\r");
    let (server, script) = serve_plain(|peer| {
        peer.greet(&["CHUNKING", "BINARYMIME"]);
        assert_eq!(peer.hear(), "MAIL FROM:<me@client.example> BODY=BINARYMIME");
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["250 ok"]);
        let mut content = Vec::new();
        loop {
            let line = peer.hear();
            let mut words = line.strip_prefix("BDAT ").unwrap().split(' ');
            let mut chunk = vec![0; words.next().unwrap().parse().unwrap()];
            peer.wire.read_exact(&mut chunk).unwrap();
            content.extend(chunk);
            peer.say(&["250 ok"]);
            if words.next() == Some("LAST") {
                break;
            }
        }
        peer.part();
        content
    });
    let output = send(server, &[&file]);
    assert_eq!(script.join().unwrap(), b"From: a@b.example\r\nDate: x\r\nMessage-ID: <1@b>\r\n\r\n\0\n.\r");
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
}

#[test]
fn a_refusal_amid_the_content_stops_it() {
    let (_kept, file) = write_file("large.txt", &b"0123456789abcde\n".repeat(1024 * 1024));
    let (server, script) = serve_plain(|peer| {
        peer.greet(&[]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["250 ok"]);
        peer.hear();
        peer.say(&["354 go"]);
        let mut some = vec![0; 1024 * 1024];
        peer.wire.read_exact(&mut some).unwrap();
        peer.say(&["552 5.3.4 enough"]);
        let mut rest = Vec::new();
        peer.wire.read_to_end(&mut rest).unwrap_or_default();
        assert!(!rest.ends_with(b"\r\n.\r\n"), "what was refused has no end mark");
    });
    let output = send(server, &[&file]);
    script.join().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", out(&output));
    assert_eq!(out(&output), "bob@example.org: the content is refused: 552 5.3.4 enough\n");
}

/// The peak of a process's memory in KiB, read when the server has the content and the client waits.
#[cfg(target_os = "linux")]
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn twenty_five_mebibytes_go_through_little_memory() {
    const LINE: &[u8] = b".the same line of forty octets, again...\n";
    let peak = |lines: usize| {
        let (_kept, file) = write_file("large.txt", &LINE.repeat(lines));
        let (tell, told) = std::sync::mpsc::channel::<u32>();
        let (server, script) = serve_plain(move |peer| {
            peer.greet(&["SIZE 30000000"]);
            peer.hear();
            peer.say(&["250 ok"]);
            peer.hear();
            peer.say(&["250 ok"]);
            peer.hear();
            peer.say(&["354 go"]);
            let mut octets = 0;
            let mut line = Vec::new();
            while line != b".\r\n" {
                line.clear();
                octets += peer.wire.read_until(b'\n', &mut line).unwrap();
            }
            let peak = peak_memory(told.recv().unwrap());
            peer.say(&["250 ok"]);
            peer.part();
            (octets, peak)
        });
        let child = command(server)
            .args(["--to", "bob@example.org", &file])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        tell.send(child.id()).unwrap();
        let (octets, peak) = script.join().unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
        // Each line grows by its CR and its stuffed dot.
        assert!(octets > lines * (LINE.len() + 2));
        peak
    };
    let (small, large) = (peak(1), peak(25 * 1024 * 1024 / LINE.len()));
    assert!(large < small + 4096, "{large} KiB for 25 MiB, {small} KiB for one line");
}
