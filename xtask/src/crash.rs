//! The crash battery: the server is killed under load again and again, and nothing may be lost.
//!
//! Several sessions send messages that can be made again from their id alone, so that each can be
//! checked octet by octet without being kept. What was answered 250 is written down. The process is
//! killed at random moments; every second time delivery was paused. After every few kills the queue is
//! let run dry and what lies in the Maildirs is compared with what was answered. A killed process
//! leaves the kernel's cache in place, so this shows order and recovery, not flushing: that is shown
//! by the spool's tests on a disk that forgets.

use crate::serve::Server;
use crate::smtp::Talk;
use crate::trouble;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the queue may stand still, with mail missing, before that mail counts as lost.
const STANDSTILL: Duration = Duration::from_secs(15);
/// Recipients there are.
const MAILBOXES: u64 = 4;

/// What is to be done.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "built by its callers")]
pub struct Plan {
    /// The program under test.
    pub binary: PathBuf,
    /// How often to kill.
    pub kills: u32,
    /// After how many kills to drain and check.
    pub check_every: u32,
    /// Sessions that send at the same time.
    pub sessions: u64,
    /// Where chance begins; the same seed gives the same messages, though not the same moments.
    pub seed: u64,
    /// Whether to say how far it is.
    pub progress: Progress,
}

/// Whether to print while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "either or")]
pub enum Progress {
    /// A line for each check.
    Shown,
    /// Nothing.
    Silent,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Times killed.
    pub kills: u32,
    /// Messages that were answered 250.
    pub acknowledged: u64,
    /// Copies in Maildirs that belong to them.
    pub delivered: u64,
    /// Copies of messages that were sent whole or in part and got no answer; they may be there.
    pub unanswered: u64,
    /// Answered messages whose copy for some recipient is nowhere.
    pub lost: Vec<String>,
    /// Copies that are not octet by octet what was sent.
    pub half: Vec<String>,
    /// Messages that were in the spool twice: copies under two queue ids.
    pub doubled_in_spool: Vec<String>,
    /// Copies delivered twice under one queue id, because the note of it fell to a kill.
    pub doubled_in_maildir: Vec<String>,
}

impl Summary {
    /// Whether the promise was kept: nothing lost, nothing half, nothing twice in the spool.
    pub fn is_kept(&self) -> bool {
        self.lost.is_empty() && self.half.is_empty() && self.doubled_in_spool.is_empty()
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} kills, {} messages answered 250, {} copies found (and {} of messages that got no answer)",
            self.kills, self.acknowledged, self.delivered, self.unanswered
        )?;
        for (what, which) in [
            ("lost", &self.lost),
            ("half", &self.half),
            ("twice in the spool", &self.doubled_in_spool),
            ("twice in a Maildir", &self.doubled_in_maildir),
        ] {
            let first: Vec<_> = which.iter().take(5).map(String::as_str).collect();
            writeln!(f, "{what}: {} {}", which.len(), first.join("; "))?;
        }
        Ok(())
    }
}

/// A message is known by its serial number; the rest follows from it.
type Serial = u64;

/// A copy: which message, for which mailbox.
type Copy = (Serial, u64);

/// What senders and the one who kills share.
struct Field {
    /// Where to send to; `None` between a kill and the restart.
    target: Mutex<Option<SocketAddr>>,
    /// Answered 250 since the last check.
    acknowledged: Mutex<BTreeSet<Serial>>,
    over: AtomicBool,
    seed: u64,
    sessions: u64,
}

/// Runs the battery.
pub fn run(plan: &Plan) -> io::Result<Summary> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    let field = Field {
        target: Mutex::new(None),
        acknowledged: Mutex::default(),
        over: AtomicBool::new(false),
        seed: plan.seed,
        sessions: plan.sessions.max(1),
    };
    std::thread::scope(|scope| {
        for sender in 0..field.sessions {
            let field = &field;
            scope.spawn(move || field.send(sender));
        }
        let summary = field.kill(plan, &data);
        field.over.store(true, Ordering::Relaxed);
        summary
    })
}

impl Field {
    /// Sends messages, one session after the other, until it is over.
    fn send(&self, sender: u64) {
        let mut serial = sender;
        let mut chance = Chance::new(self.seed ^ (sender << 32));
        while !self.over.load(Ordering::Relaxed) {
            let target = *lock(&self.target);
            // Ends by an error when the server is killed: that message got no answer.
            let talk = target.map(Talk::hello);
            if let Some(Ok(mut talk)) = talk {
                while !self.over.load(Ordering::Relaxed) && self.send_one(&mut talk, serial).is_ok() {
                    serial += self.sessions;
                    std::thread::sleep(Duration::from_micros(chance.below(8_000)));
                }
                // Never the same number twice: the server may have it already.
                serial += self.sessions;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn send_one(&self, talk: &mut Talk, serial: Serial) -> io::Result<()> {
        let recipients: Vec<String> = mailboxes(serial).map(|n| format!("box{n}@example.test")).collect();
        let content = content(self.seed, serial);
        if serial.is_multiple_of(3) {
            talk.deliver_chunk(&recipients, &content)?;
        } else {
            talk.deliver(&recipients, &content)?;
        }
        lock(&self.acknowledged).insert(serial);
        Ok(())
    }

    fn kill(&self, plan: &Plan, data: &Path) -> io::Result<Summary> {
        let mut summary = Summary::default();
        let mut chance = Chance::new(plan.seed);
        let mut finder = Checker { seed: plan.seed, done: BTreeMap::new() };
        while summary.kills < plan.kills {
            for _ in 0..plan.check_every.max(1).min(plan.kills - summary.kills) {
                let paused = if summary.kills.is_multiple_of(2) { "true" } else { "false" };
                let server = start(&plan.binary, data, paused)?;
                *lock(&self.target) = Some(server.addr());
                std::thread::sleep(Duration::from_millis(30 + chance.below(270)));
                server.kill()?;
                *lock(&self.target) = None;
                summary.kills += 1;
            }
            // Once a session has failed its sender waits for a target, so nothing more is answered.
            let server = start(&plan.binary, data, "false")?;
            let acknowledged = std::mem::take(&mut *lock(&self.acknowledged));
            let found = finder.drain_and_check(data, &acknowledged, &mut summary)?;
            if !server.stop()?.success() {
                return trouble("the server did not end cleanly when asked to");
            }
            for file in found {
                std::fs::remove_file(file)?;
            }
            if plan.progress == Progress::Shown {
                println!(
                    "{} of {} kills, {} answered, {} lost, {} half, {} twice in the spool, {} in a Maildir",
                    summary.kills,
                    plan.kills,
                    summary.acknowledged,
                    summary.lost.len(),
                    summary.half.len(),
                    summary.doubled_in_spool.len(),
                    summary.doubled_in_maildir.len()
                );
            }
        }
        Ok(summary)
    }
}

fn start(binary: &Path, data: &Path, paused: &str) -> io::Result<Server> {
    let paused = format!("delivery.paused={paused}");
    // A Maildir for each recipient, so that each copy says whose it is; room enough on any disk.
    let settings =
        [paused.as_str(), "delivery.maildir={data}/mail/{domain}/{local}", "delivery.retry=[\"1s\"]"];
    Server::start(binary, data, &settings)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Checker {
    seed: u64,
    /// Copies found so far, with the queue ids they came under.
    done: BTreeMap<Copy, String>,
}

impl Checker {
    /// Waits until every answered message is in its Maildirs and nothing more comes, checks each file
    /// and returns their names.
    fn drain_and_check(
        &mut self,
        data: &Path,
        acknowledged: &BTreeSet<Serial>,
        summary: &mut Summary,
    ) -> io::Result<BTreeSet<PathBuf>> {
        // A sender may read its 250 only after the check that found the copies; those are known.
        let mut missing: BTreeSet<Copy> = acknowledged
            .iter()
            .flat_map(|&serial| mailboxes(serial).map(move |mailbox| (serial, mailbox)))
            .filter(|copy| !self.done.contains_key(copy))
            .collect();
        summary.acknowledged += acknowledged.len() as u64;
        // The files stay until the server has ended: it may look for what it delivered before a kill.
        let mut seen = BTreeSet::new();
        let mut last_arrival = Instant::now();
        loop {
            let mut arrived = false;
            for mailbox in 0..MAILBOXES {
                let folder = data.join(format!("mail/example.test/box{mailbox}/new"));
                let Ok(entries) = std::fs::read_dir(&folder) else { continue };
                for entry in entries {
                    let path = entry?.path();
                    if seen.contains(&path) {
                        continue;
                    }
                    arrived = true;
                    self.check(mailbox, &path, &std::fs::read(&path)?, &mut missing, summary);
                    seen.insert(path);
                }
            }
            if arrived {
                last_arrival = Instant::now();
            }
            // What got no answer may still be on its way when all that was answered is there.
            let patience = if missing.is_empty() { Duration::from_millis(700) } else { STANDSTILL };
            if last_arrival.elapsed() > patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let lost = missing.iter().map(|(serial, mailbox)| format!("message {serial} for box{mailbox}"));
        summary.lost.extend(lost);
        Ok(seen)
    }

    fn check(
        &mut self,
        mailbox: u64,
        path: &Path,
        file: &[u8],
        missing: &mut BTreeSet<Copy>,
        summary: &mut Summary,
    ) {
        let known = read_serial(file).filter(|&serial| mailboxes(serial).any(|wanted| wanted == mailbox));
        let Some(serial) = known else {
            summary.half.push(format!("{}: no message of ours", path.display()));
            return;
        };
        let trace = file.strip_suffix(content(self.seed, serial).as_slice());
        let Some(trace) = trace.filter(|trace| is_trace(trace)) else {
            summary.half.push(format!("{}: message {serial} is not as it was sent", path.display()));
            return;
        };
        let queue_id = queue_id(trace);
        let label = format!("message {serial} for box{mailbox}");
        match self.done.get(&(serial, mailbox)) {
            None => {
                if missing.remove(&(serial, mailbox)) {
                    summary.delivered += 1;
                } else {
                    summary.unanswered += 1;
                }
                self.done.insert((serial, mailbox), queue_id);
            }
            Some(first) if *first == queue_id => summary.doubled_in_maildir.push(label),
            Some(_) => summary.doubled_in_spool.push(label),
        }
    }
}

/// What stands before the message: header fields that say how it came, and nothing else.
fn is_trace(trace: &[u8]) -> bool {
    trace.split_inclusive(|&octet| octet == b'\n').all(|line| {
        let begins = [b"Return-Path:".as_slice(), b"Received:", b"Delivered-To:", b" ", b"\t"];
        line.ends_with(b"\r\n") && begins.iter().any(|begin| line.starts_with(begin))
    })
}

/// The queue id of the `Received` field (RFC 5321 §4.4: `id` and an atom); empty if there is none.
fn queue_id(trace: &[u8]) -> String {
    let text = String::from_utf8_lossy(trace);
    let mut words = text.split_ascii_whitespace().skip_while(|word| *word != "id");
    words.nth(1).unwrap_or_default().trim_end_matches(';').to_owned()
}

fn read_serial(file: &[u8]) -> Option<Serial> {
    let name = b"X-Battery: ";
    let at = file.windows(name.len()).position(|window| window == name)?;
    let digits = file.get(at + name.len()..)?.split(|&octet| octet == b'\r').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The mailboxes a message goes to: one, or each fifth time three.
fn mailboxes(serial: Serial) -> impl Iterator<Item = u64> {
    let count = if serial.is_multiple_of(5) { 3 } else { 1 };
    (0..count).map(move |nth| (serial + nth) % MAILBOXES)
}

/// The message of this number: from 200 octets to 300 KiB, small ones more often than large ones.
fn content(seed: u64, serial: Serial) -> Vec<u8> {
    let mut chance = Chance::new(seed ^ serial.rotate_left(40));
    let size = 200_usize << chance.below(10);
    let size = size + usize::try_from(chance.below(size as u64 * 2)).unwrap_or(0);
    let mut out = format!("X-Battery: {serial}\r\nFrom: <battery@sender.example>\r\n\r\n").into_bytes();
    while out.len() < size {
        // One line in eight begins with a dot.
        if chance.below(8) == 0 {
            out.push(b'.');
        }
        let width = chance.below(77);
        out.extend((0..width).map(|_| b' ' + u8::try_from(chance.below(94)).unwrap_or(0)));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Numbers that look random and repeat with their seed (`SplitMix64`).
struct Chance {
    state: u64,
}

impl Chance {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(files: &[(u64, Vec<u8>)], acknowledged: &[Serial]) -> Summary {
        let mut summary = Summary::default();
        let mut checker = Checker { seed: 7, done: BTreeMap::new() };
        let mut missing: BTreeSet<Copy> =
            acknowledged.iter().flat_map(|&serial| mailboxes(serial).map(move |n| (serial, n))).collect();
        for (mailbox, file) in files {
            checker.check(*mailbox, Path::new("f"), file, &mut missing, &mut summary);
        }
        summary.lost = missing.iter().map(|(serial, _)| serial.to_string()).collect();
        summary
    }

    fn file(serial: Serial, queue_id: &str) -> Vec<u8> {
        let trace =
            format!("Return-Path: <x@y>\r\nReceived: from a by b with ESMTP\r\n\tid {queue_id}; now\r\n");
        [trace.as_bytes(), &content(7, serial)].concat()
    }

    #[test]
    fn what_is_wrong_is_seen() {
        assert!(checked(&[(1, file(1, "A"))], &[1]).is_kept());
        assert_eq!(checked(&[(1, file(1, "A"))], &[1, 2]).lost, ["2"]);
        assert_eq!(checked(&[(1, file(1, "A")), (1, file(1, "A"))], &[1]).doubled_in_maildir.len(), 1);
        assert_eq!(checked(&[(1, file(1, "A")), (1, file(1, "B"))], &[1]).doubled_in_spool.len(), 1);
        let mut cut = file(1, "A");
        cut.pop();
        assert_eq!(checked(&[(1, cut)], &[1]).half.len(), 1);
        let foreign = [b"X-Evil: 1\r\n".as_slice(), &file(1, "A")].concat();
        assert_eq!(checked(&[(1, foreign)], &[1]).half.len(), 1);
        assert_eq!(checked(&[(2, file(1, "A"))], &[1]).half.len(), 1);
        assert_eq!(checked(&[(1, file(1, "A"))], &[]).unanswered, 1);
    }

    #[test]
    fn messages_are_of_many_sizes_and_always_the_same() {
        let sizes: Vec<_> = (0..500).map(|serial| content(7, serial).len()).collect();
        assert!(sizes.iter().any(|size| *size < 600) && sizes.iter().any(|size| *size > 200 << 10));
        assert!(sizes.iter().all(|size| *size < 320 << 10));
        assert_eq!(content(7, 3), content(7, 3));
    }
}
