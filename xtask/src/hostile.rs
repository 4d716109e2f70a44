//! What strangers can do to memory, and whether others are served meanwhile.
//!
//! Each case runs against a fresh server: many idle sessions, slow ones, lines and counts without end.
//! Resident memory is read before, at its peak and after, while another client sends a message ten
//! times a second and takes the time until its 250.

use crate::serve::{Server, resident_kib};
use crate::smtp::Talk;
use crate::trouble;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A misuse: its name, and what is done, which returns what became of it.
struct Case {
    name: &'static str,
    run: fn(SocketAddr) -> io::Result<String>,
}

const CASES: &[Case] = &[
    Case { name: "1,000 idle sessions", run: |addr| idle(addr, 1_000) },
    Case { name: "10,000 idle sessions", run: |addr| idle(addr, 10_000) },
    Case { name: "50 sessions at an octet a second", run: one_octet_a_second },
    Case { name: "a command line without end", run: endless_command },
    Case { name: "a line of content without end", run: endless_content },
    Case { name: "1,000,000 BDAT of one octet", run: chunks },
    Case { name: "1,000,000 RCPT", run: recipients },
    Case { name: "100,000 header lines", run: header_lines },
];

/// Runs every case whose name contains `only`; an error if another client was not served or the server ended.
pub fn run(binary: &Path, only: &str) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    println!("| case | RSS before | peak | after | others: sent | p50 | longest | what became of it |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(only)) {
        if let Err(error) = measure(binary, case) {
            println!("| {} | | | | | | | **{error}** |", case.name);
            wrong.push(case.name);
        }
    }
    if wrong.is_empty() { Ok(()) } else { trouble(format!("not withstood: {}", wrong.join(", "))) }
}

fn measure(binary: &Path, case: &Case) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = Server::start(binary, &folder.path().join("data"), &["delivery.paused=true"])?;
    let (addr, status) = (server.addr(), server.status_file());
    // The first message brings the parts into memory that every server needs.
    Talk::hello(addr)?.deliver(&["other@example.test".into()], b"Subject: first\r\n\r\n")?;
    let before = resident_kib(&status);
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(before));
    let (outcome, others) = std::thread::scope(|scope| {
        let others = scope.spawn(|| others(addr, &over));
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(resident_kib(&status), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let outcome = (case.run)(addr);
        over.store(true, Ordering::Relaxed);
        (outcome, others.join())
    });
    let outcome = outcome?;
    let mut times = others.unwrap_or_else(|_| trouble("the other client panicked"))?;
    std::thread::sleep(Duration::from_secs(2));
    let after = resident_kib(&status);
    if !server.runs() {
        return trouble("the server ended");
    }
    times.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    println!(
        "| {} | {} KiB | {} KiB | {after} KiB | {} | {:.1} ms | {:.1} ms | {outcome} |",
        case.name,
        before,
        peak.into_inner(),
        times.len(),
        millis(times.get(times.len() / 2)),
        millis(times.last())
    );
    Ok(())
}

/// Another client: a message ten times a second on a new session; the times from connecting to 250.
fn others(addr: SocketAddr, over: &AtomicBool) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let begun = Instant::now();
        let sent = Talk::hello(addr)
            .and_then(|mut talk| talk.deliver(&["other@example.test".into()], b"Subject: meanwhile\r\n\r\n"));
        if let Err(error) = sent {
            return trouble(format!("another client was not served: {error}"));
        }
        times.push(begun.elapsed());
        if over.load(Ordering::Relaxed) {
            return Ok(times);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn idle(addr: SocketAddr, count: usize) -> io::Result<String> {
    let mut held = Vec::with_capacity(count);
    for nth in 0..count {
        match Talk::hello(addr) {
            Ok(talk) => held.push(talk),
            Err(error) => return trouble(format!("session {nth} of {count}: {error}")),
        }
    }
    std::thread::sleep(Duration::from_secs(3));
    for talk in &mut held {
        talk.say("NOOP", 250)?;
    }
    Ok(format!("all {count} still answer"))
}

fn one_octet_a_second(addr: SocketAddr) -> io::Result<String> {
    let mut slow: Vec<_> = (0..50).map(|_| Talk::open(addr)).collect::<Result<_, _>>()?;
    for octet in b"EHLO slow\r\n" {
        for talk in &mut slow {
            talk.send(&[*octet])?;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for talk in &mut slow {
        talk.expect(250)?;
    }
    Ok("each was answered".into())
}

/// 512 MiB of one octet, or until the server has had enough.
fn flood(talk: &mut Talk, octet: u8) -> String {
    let block = vec![octet; 1 << 20];
    for sent in 0..512 {
        if let Err(error) = talk.send(&block) {
            return format!("closed after {sent} MiB ({})", error.kind());
        }
    }
    "took 512 MiB".into()
}

fn endless_command(addr: SocketAddr) -> io::Result<String> {
    let mut talk = Talk::open(addr)?;
    let outcome = flood(&mut talk, b'x');
    Ok(format!("{outcome}; {}", last_word(&mut talk, b"\r\n")))
}

fn endless_content(addr: SocketAddr) -> io::Result<String> {
    let mut talk = Talk::hello(addr)?;
    talk.say("MAIL FROM:<a@b.example>", 250)?;
    talk.say("RCPT TO:<c@example.test>", 250)?;
    talk.say("DATA", 354)?;
    let outcome = flood(&mut talk, b'x');
    Ok(format!("{outcome}; {}", last_word(&mut talk, b"\r\n.\r\n")))
}

/// Sends an end and tells the reply.
fn last_word(talk: &mut Talk, end: &[u8]) -> String {
    // The end cannot be sent where the server has closed; its last reply may still be read.
    drop(talk.send(end));
    talk.reply().map_or_else(
        |error| format!("no reply ({})", error.kind()),
        |(_, text)| text.lines().next().unwrap_or_default().to_owned(),
    )
}

/// Sends the same line very often, reading replies from a second thread, and tells how many of which came.
fn repeated(mut talk: Talk, stream: TcpStream, line: &[u8], count: usize, last: &[u8]) -> io::Result<String> {
    let replies = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut codes = std::collections::BTreeMap::<u16, u64>::new();
            let mut last = String::new();
            while let Ok((code, text)) = talk.reply() {
                *codes.entry(code).or_default() += 1;
                last = text;
                if code == 221 {
                    break;
                }
            }
            (codes, last)
        });
        let block = line.repeat(1000);
        let mut writer = io::BufWriter::new(stream);
        for _ in 0..count / 1000 {
            if io::Write::write_all(&mut writer, &block).is_err() {
                break;
            }
        }
        // Not possible where the server has closed; the replies tell.
        drop(io::Write::write_all(&mut writer, &[last, b"QUIT\r\n"].concat()));
        drop(io::Write::flush(&mut writer));
        reader.join()
    });
    match replies {
        Ok((codes, last)) => {
            let counts: Vec<_> = codes.iter().map(|(code, count)| format!("{count} × {code}")).collect();
            Ok(format!("{}; last: {}", counts.join(", "), last.lines().next().unwrap_or_default()))
        }
        Err(_panic) => trouble("reading panicked"),
    }
}

fn chunks(addr: SocketAddr) -> io::Result<String> {
    let mut talk = Talk::hello(addr)?;
    talk.say("MAIL FROM:<a@b.example>", 250)?;
    talk.say("RCPT TO:<c@example.test>", 250)?;
    let stream = talk.stream()?;
    repeated(talk, stream, b"BDAT 1\r\nx", 1_000_000, b"BDAT 0 LAST\r\n")
}

fn recipients(addr: SocketAddr) -> io::Result<String> {
    let mut talk = Talk::hello(addr)?;
    talk.say("MAIL FROM:<a@b.example>", 250)?;
    let stream = talk.stream()?;
    repeated(talk, stream, b"RCPT TO:<c@example.test>\r\n", 1_000_000, b"")
}

fn header_lines(addr: SocketAddr) -> io::Result<String> {
    let mut content = b"X-Line: filler\r\n".repeat(100_000);
    content.extend_from_slice(b"\r\nbody\r\n");
    let mut talk = Talk::hello(addr)?;
    let outcome = talk.deliver(&["c@example.test".into()], &content);
    Ok(outcome.map_or_else(|error| error.to_string().trim_end().replace("\r\n", " "), |()| "taken".into()))
}
