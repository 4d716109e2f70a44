//! Measures the spool on a real disk: messages a second by producers and size, and the start with many
//! messages waiting.
//!
//! `spoolbench DIR [seconds a run] [messages for the cold start] [ms added to each flush]`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program that measures, and stops at the first trouble"
)]

use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::{Envelope, Recipient};
use postroad_proto::time::UnixTime;
use postroad_spool::fs::{Disk, RealDisk};
use postroad_spool::{Commit, DiskSpool, Draft, Options, Outcome, Spool};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

const NOW: UnixTime = UnixTime(1_795_327_384_000);

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "spoolbench.tmp".to_owned()));
    let number = |arg: Option<String>, or: u64| arg.map_or(or, |arg| arg.parse().unwrap());
    let seconds = number(args.next(), 3);
    let cold = number(args.next(), 100_000);
    let delay = Duration::from_millis(number(args.next(), 0));
    println!("producers  octets  messages/s     MB/s  CPU µs  flushes/commit  flush ms  taken while");
    for (producers, size) in [(1, 10_240), (32, 10_240), (256, 10_240), (32, 102_400)] {
        for deliver in [false, true] {
            throughput(&dir.join("run"), producers, size, Duration::from_secs(seconds), delay, deliver);
        }
    }
    cold_start(&dir.join("cold"), cold);
}

fn open(dir: &Path, delay: Duration) -> DiskSpool {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir).with_flush_delay(delay));
    DiskSpool::open(disk, Options::default()).unwrap().0
}

fn envelope() -> Envelope {
    let mailbox = Mailbox::parse("somebody@example.org").unwrap();
    let sender = ReversePath::parse("<sender@example.net>").unwrap();
    Envelope::new(sender, vec![Recipient { mailbox, original: None }]).unwrap()
}

/// CPU time of this process so far, in seconds (ticks of 10 ms).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let rest = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<f64> = rest.split_whitespace().skip(11).take(2).map(|n| n.parse().unwrap()).collect();
    fields.iter().sum::<f64>() / 100.0
}

fn throughput(dir: &Path, producers: usize, size: usize, span: Duration, delay: Duration, deliver: bool) {
    let spool = Arc::new(open(dir, delay));
    let stop = Arc::new(AtomicBool::new(false));
    let consumer = deliver.then(|| {
        let (spool, stop) = (Arc::clone(&spool), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut idle = false;
            while !(idle && stop.load(Ordering::Relaxed)) {
                idle = drain(&spool) == 0;
                if idle {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        })
    });
    let drivers = producers.min(2);
    let before = (cpu(), Instant::now());
    let threads: Vec<_> = (0..drivers)
        .map(|_| {
            let (spool, stop) = (Arc::clone(&spool), Arc::clone(&stop));
            std::thread::spawn(move || produce(&spool, producers / drivers, size, &stop))
        })
        .collect();
    std::thread::sleep(span);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let taken = before.1.elapsed().as_secs_f64();
    if let Some(thread) = consumer {
        thread.join().unwrap();
    }
    let status = spool.status();
    let (commits, flushes) = (status.commits as f64, status.flushes as f64);
    println!(
        "{producers:9}  {size:6}  {:10.0}  {:7.1}  {:6.1}  {:14.4}  {:8.3}  {}",
        commits / taken,
        commits * size as f64 / taken / 1e6,
        (cpu() - before.0) * 1e6 / commits,
        flushes / commits,
        status.flush_nanos as f64 / flushes / 1e6,
        if deliver { "read and delivered" } else { "waiting" },
    );
    drop(spool);
    std::fs::remove_dir_all(dir).unwrap();
}

/// Leases, reads and settles what is due; how many.
fn drain(spool: &DiskSpool) -> usize {
    let mut bytes = Vec::new();
    let leases = spool.lease(NOW, 256).unwrap();
    let count = leases.len();
    for lease in leases {
        bytes.clear();
        spool.open(lease.id).unwrap().read_to_end(&mut bytes).unwrap();
        spool.settle(lease, NOW, &[Outcome::Delivered], NOW).unwrap();
    }
    count
}

/// Many producers on one thread, each with one message at a time.
fn produce(spool: &DiskSpool, producers: usize, size: usize, stop: &AtomicBool) {
    let ready = Arc::new(Ready { list: Mutex::default(), thread: std::thread::current() });
    let wakers: Vec<Waker> =
        (0..producers).map(|at| Waker::from(Arc::new(Slot { ready: Arc::clone(&ready), at }))).collect();
    let content = vec![b'x'; size];
    let envelope = envelope();
    let begin = || -> Commit {
        let mut draft = spool.begin(NOW).unwrap();
        for chunk in content.chunks(16 << 10) {
            draft.append(chunk.to_vec()).unwrap();
        }
        spool.commit(draft, envelope.clone())
    };
    let mut commits: Vec<Option<Commit>> = (0..producers).map(|_| Some(begin())).collect();
    let mut turn: Vec<usize> = (0..producers).collect();
    let mut open = producers;
    while open > 0 {
        for at in turn.drain(..) {
            // A new message is polled at once so that its waker is known.
            while let Some(commit) = &mut commits[at] {
                match commit.as_mut().poll(&mut Context::from_waker(&wakers[at])) {
                    Poll::Pending => break,
                    Poll::Ready(result) => {
                        result.unwrap();
                        commits[at] = (!stop.load(Ordering::Relaxed)).then(&begin);
                        open -= usize::from(commits[at].is_none());
                    }
                }
            }
        }
        std::mem::swap(&mut turn, &mut ready.list.lock().unwrap());
        if turn.is_empty() && open > 0 {
            std::thread::park();
        }
    }
}

struct Ready {
    list: Mutex<Vec<usize>>,
    thread: Thread,
}

struct Slot {
    ready: Arc<Ready>,
    at: usize,
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        let mut list = self.ready.list.lock().unwrap();
        list.push(self.at);
        let first = list.len() == 1;
        drop(list);
        if first {
            self.ready.thread.unpark();
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn cold_start(dir: &Path, messages: u64) {
    let spool = open(dir, Duration::ZERO);
    let mut left = messages;
    while left > 0 {
        let batch: Vec<Commit> = (0..left.min(1_000))
            .map(|_| {
                let mut draft = spool.begin(NOW).unwrap();
                draft.append(vec![b'x'; 1_024]).unwrap();
                spool.commit(draft, envelope())
            })
            .collect();
        left -= batch.len() as u64;
        for mut commit in batch {
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            while commit.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                std::thread::park();
            }
        }
    }
    for how in ["after a stop in order", "without index files"] {
        if how == "after a stop in order" {
            spool.close().unwrap();
        } else {
            for entry in std::fs::read_dir(dir.join("log")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "index") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        }
        let (start, before) = (Instant::now(), resident_kib());
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir));
        let (again, report) = DiskSpool::open(disk, Options::default()).unwrap();
        println!(
            "start with {} messages {how}: {:.2} s, {} segments by index, {} read, {} octets of memory a message",
            report.messages,
            start.elapsed().as_secs_f64(),
            report.indexed,
            report.scanned,
            (resident_kib().saturating_sub(before)) * 1024 / messages.max(1),
        );
        again.close().unwrap();
    }
    drop(spool);
    std::fs::remove_dir_all(dir).unwrap();
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
