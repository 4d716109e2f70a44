//! What the ledger costs for each message, in CPU time: telling it, handing it over, writing it.
//!
//! `cargo run --release -p postroad-ledger --example cost [messages] [folder]`. Two threads stand for the
//! server's, each with fifty sessions in turn. CPU times are those the system counts for each thread.

use postroad_ledger::{Event, Ledger, Origin, Query, Reader, References, SessionLog, Settings};
use postroad_proto::reply::{Reply, ReplyId};
use postroad_proto::time::{Tick, UnixTime};
use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const THREADS: u64 = 2;
const SESSIONS: u64 = 50;
/// Messages between two readings of the CPU time.
const BATCH: u64 = 2000;
/// The start of the made-up time.
const START: u64 = 1_795_327_384_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let messages: u64 = arguments.next().map_or(Ok(400_000), |count| count.parse())?;
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    let path = folder.path().join("ledger.db");
    let each = messages / THREADS;

    // Warms caches and memory; not counted.
    across(each / 10, &References::default(), None);
    let tell_only = across(each, &References::default(), None);
    let ledger = Ledger::start(&Settings::new(&path))?;
    let with_queue = across(each, &References::default(), Some(&ledger));
    let written = ledger.flush(Duration::from_mins(1));
    let writer = thread_cpu("ledger")?;
    let health = ledger.health();
    let size = std::fs::metadata(&path)?.len();

    let per = |nanos: u64| nanos / messages.max(1);
    let mut report = String::new();
    writeln!(report, "{messages} messages, {} dropped, written: {written}", health.dropped)?;
    writeln!(report, "tell   {:>6} ns of CPU a message", per(tell_only))?;
    writeln!(report, "queue  {:>6}", per(with_queue.saturating_sub(tell_only)))?;
    writeln!(report, "write  {:>6}", per(writer))?;
    writeln!(report, "sum    {:>6}", per(with_queue + writer))?;
    writeln!(report, "file   {:>6} octets a message", size / messages.max(1))?;

    let reader = Reader::open(&path)?;
    for (what, query) in queries()? {
        let before = thread_time()?;
        let found = reader.search(&query)?.lines.len();
        writeln!(report, "search by {what}: {found} found in {} ms", (thread_time()? - before) / 1_000_000)?;
    }
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes())?;
    Ok(())
}

fn queries() -> Result<Vec<(&'static str, Query)>, Box<dyn Error>> {
    let (mut to, mut id, mut network) = (Query::default(), Query::default(), Query::default());
    to.to = Some("u7.1@example.org".parse()?);
    id.message_id = Some(message_id(1, 7));
    network.ip = Some("198.51.100.0/24".parse()?);
    Ok(vec![("recipient", to), ("message-id", id), ("prefix that nobody has", network)])
}

/// The CPU time in nanoseconds of all threads together.
fn across(each: u64, references: &References, ledger: Option<&Ledger>) -> u64 {
    let spent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let spent = &spent;
            scope.spawn(move || spent.fetch_add(feed(thread, each, references, ledger), Ordering::Relaxed));
        }
    });
    spent.into_inner()
}

/// What a message is made of; the server has it anyway.
struct Letter {
    sender: String,
    mail: Vec<u8>,
    recipient: String,
    rcpt: Vec<u8>,
    queue_id: String,
    accepted: String,
    message_id: String,
}

impl Letter {
    fn new(thread: u64, number: u64) -> Self {
        let sender = format!("bounce-{:x}@client.example", noise(number) >> 24);
        let recipient = format!("u{}.{thread}@example.org", number % 1000);
        let queue_id = format!("{:016X}", noise(number * THREADS + thread));
        Self {
            mail: format!("MAIL FROM:<{sender}> SIZE=2048").into_bytes(),
            rcpt: format!("RCPT TO:<{recipient}>").into_bytes(),
            accepted: format!("Accepted and stored as {queue_id}"),
            message_id: format!("<{}>", message_id(thread, number)),
            sender,
            recipient,
            queue_id,
        }
    }
}

/// The CPU time that telling and submitting took.
fn feed(thread: u64, messages: u64, references: &References, ledger: Option<&Ledger>) -> u64 {
    let mut logs: Vec<SessionLog> =
        (0..SESSIONS).map(|session| begin(thread * SESSIONS + session, references)).collect();
    let mut spent = 0;
    let mut number = 0;
    while number < messages {
        let letters: Vec<_> =
            (number..messages.min(number + BATCH)).map(|n| Letter::new(thread, n)).collect();
        let before = thread_time().unwrap_or(0);
        for letter in &letters {
            // A hundred microseconds a message, as at ten thousand a second.
            let now = Tick(Duration::from_micros(number * 100));
            number += 1;
            let at = usize::try_from(number % SESSIONS).unwrap_or(0);
            let Some(log) = logs.get_mut(at) else { return spent };
            message(log, now, letter);
            let chunk = log.take();
            if let (Some(ledger), Some(chunk)) = (ledger, chunk) {
                ledger.submit(chunk);
            }
        }
        spent += thread_time().unwrap_or(0).saturating_sub(before);
        // So that the writer keeps up: a queue that overflows is cheap and proves nothing.
        if let Some(ledger) = ledger {
            ledger.flush(Duration::from_secs(10));
        }
    }
    spent
}

fn begin(session: u64, references: &References) -> SessionLog {
    let peer = std::net::SocketAddr::from(([192, 0, 2, u8::try_from(session % 250).unwrap_or(0)], 40_000));
    let origin = Origin::Session { peer: Some(peer), listener: "mx".into() };
    let now = Tick::default();
    let mut log = SessionLog::new(references.next(UnixTime(START)), UnixTime(START), now, origin);
    let local = Some(std::net::SocketAddr::from(([203, 0, 113, 25], 25)));
    let (listener, protocol) = (Cow::Borrowed("mx"), Cow::Borrowed("smtp"));
    log.record(now, &Event::Opened { peer: Some(peer), local, listener, protocol });
    log.reply(now, &Reply::saying(ReplyId::Greeting, "mx.example.org ESMTP Postroad"), None);
    log.command(now, b"EHLO client.example");
    let offers =
        "mx.example.org\nPIPELINING\nSIZE 52428800\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nCHUNKING";
    log.reply(now, &Reply::saying(ReplyId::Ehlo, offers), None);
    log
}

fn message_id(thread: u64, number: u64) -> String {
    let (high, low) = (noise(!number), noise(number ^ (thread << 40)));
    format!("{high:016x}{low:x}@client.example")
}

/// What names are made of in the field: nothing that compresses.
fn noise(number: u64) -> u64 {
    let stirred = (number ^ 0x5DEE_CE66).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (stirred ^ (stirred >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

fn message(log: &mut SessionLog, now: Tick, letter: &Letter) {
    log.command(now, &letter.mail);
    log.reply(now, &Reply::of(ReplyId::SenderOk), None);
    log.command(now, &letter.rcpt);
    log.reply(now, &Reply::of(ReplyId::RecipientOk), None);
    log.command(now, b"DATA");
    log.reply(now, &Reply::of(ReplyId::StartContent), None);
    log.record(
        now,
        &Event::Content { octets: 2048, crlf: 40, bare_lf: 0, bare_cr: 0, first_ms: Some(1), ms: 3 },
    );
    log.reply(now, &Reply::saying(ReplyId::Accepted, letter.accepted.clone()), None);
    log.record(
        now,
        &Event::Message {
            queue_id: Cow::Borrowed(&letter.queue_id),
            sender: Cow::Borrowed(&letter.sender),
            recipients: vec![Cow::Borrowed(&letter.recipient)],
            recipient_count: 1,
            message_id: Some(Cow::Borrowed(&letter.message_id)),
            octets: 2048,
            receive_ms: 3,
            commit_ms: 4,
        },
    );
}

/// The CPU time of this thread in nanoseconds, as the scheduler counts it.
fn thread_time() -> Result<u64, Box<dyn Error>> {
    schedstat("/proc/thread-self/schedstat")
}

/// The same of another thread of this process, by its name.
fn thread_cpu(name: &str) -> Result<u64, Box<dyn Error>> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == name {
            return schedstat(&task.join("schedstat").display().to_string());
        }
    }
    Err("no such thread".into())
}

fn schedstat(file: &str) -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string(file)?;
    Ok(text.split_whitespace().next().ok_or("empty")?.parse()?)
}
