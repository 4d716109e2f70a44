//! Compares ways to make many small Maildir files durable; docs/delivery.md quotes its output.
//!
//! `cargo run --release -p postroad-delivery --example flush -- DIR [FILES [STAT]]`; DIR is on the disk
//! to measure, STAT its `/sys/block/…/stat`, from which the device's flushes are counted.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that measures; the machine it runs on is its only input"
)]

use postroad_delivery::agent::maildir::{FlushBy, LineEnds, MaildirAgent, MaildirSettings};
use postroad_delivery::directory::{Directory, DirectorySettings, Unlisted};
use postroad_delivery::observer::{Event, Observer};
use postroad_delivery::route::{Quota, Route, Template};
use postroad_delivery::runner::{Clock, Deliveries, RunnerSettings};
use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::{Envelope, Recipient};
use postroad_proto::time::UnixTime;
use postroad_spool::memory::MemorySpool;
use postroad_spool::{Draft, Spool};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const SIZE: usize = 10 * 1024;

#[derive(Clone, Copy)]
enum Way {
    /// Writes and renames, no flush at all: what the file system's own work costs.
    NoFlush,
    /// `fdatasync` for each file, by this many threads; then each directory.
    Each(usize),
    /// Starts the write-back of all files (`fadvise`), then `fdatasync` for each; then each directory.
    Kick,
    /// One `syncfs` before the renames; each directory after them.
    SyncfsThenDirs,
    /// One `syncfs` before the renames, one after them.
    SyncfsTwice,
    /// Files without a name (`O_TMPFILE`), one `syncfs`, links into `new`, one `syncfs`.
    Unnamed,
    /// The Maildir agent with its runner's rounds, from a spool in memory.
    Agent(FlushBy),
}

struct WallClock;

impl Clock for WallClock {
    fn unix(&self) -> UnixTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        UnixTime(u64::try_from(since.as_millis()).unwrap())
    }
}

struct Silent;

impl Observer for Silent {
    fn observe(&self, event: &Event<'_>) {
        assert!(matches!(event, Event::Delivered { .. }), "{event:?}");
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let base = PathBuf::from(args.next().unwrap_or_else(|| "/tmp".into())).join("postroad-flush");
    let files: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(2048);
    let stat = args.next();
    let ways = [
        ("no flush", Way::NoFlush),
        ("each, 1 thread", Way::Each(1)),
        ("each, 8 threads", Way::Each(8)),
        ("each, 32 threads", Way::Each(32)),
        ("kick, then each", Way::Kick),
        ("syncfs, dirs", Way::SyncfsThenDirs),
        ("syncfs twice", Way::SyncfsTwice),
        ("unnamed, syncfs twice", Way::Unnamed),
        ("agent, by batch", Way::Agent(FlushBy::Batch)),
        ("agent, by file", Way::Agent(FlushBy::File)),
    ];
    println!(
        "files/s, medians of three (slowest to fastest), flushes per 1000; {files} files of {SIZE} octets"
    );
    let shapes = [(32, 1), (256, 1), (32, 32), (256, 64)];
    let mut rates = vec![vec![Vec::new(); shapes.len()]; ways.len()];
    let mut counts = vec![vec![0; shapes.len()]; ways.len()];
    for _ in 0..3 {
        // in turn, so that the machine's moods meet all ways alike
        for (shape, (batch, boxes)) in shapes.iter().enumerate() {
            for (place, (_, way)) in ways.iter().enumerate() {
                let before = flushes(stat.as_deref());
                rates[place][shape].push(measure(&base, *way, files, *batch, *boxes));
                counts[place][shape] = (flushes(stat.as_deref()) - before) * 1000 / files;
            }
        }
    }
    print!("{:22}", "");
    for (batch, boxes) in shapes {
        print!("{:>30}", format!("batch {batch}, {boxes} Maildirs"));
    }
    println!();
    for (((name, _), rates), counts) in ways.iter().zip(&mut rates).zip(&counts) {
        print!("{name:22}");
        for (rates, count) in rates.iter_mut().zip(counts) {
            rates.sort_by(f64::total_cmp);
            print!("{:>30}", format!("{:.0} ({:.0}-{:.0}) {count}", rates[1], rates[0], rates[2]));
        }
        println!();
    }
}

/// Flushes that the device has done.
fn flushes(stat: Option<&str>) -> usize {
    let text = stat.map(|path| std::fs::read_to_string(path).unwrap());
    text.and_then(|text| text.split_ascii_whitespace().nth(15)?.parse().ok()).unwrap_or(0)
}

fn measure(base: &Path, way: Way, files: usize, batch: usize, boxes: usize) -> f64 {
    std::fs::remove_dir_all(base).ok();
    for number in 0..boxes {
        for sub in ["tmp", "new"] {
            std::fs::create_dir_all(base.join(format!("{number}/{sub}"))).unwrap();
        }
    }
    let root = File::open(base).unwrap();
    rustix::fs::syncfs(&root).unwrap();
    let content = vec![b'x'; SIZE];
    let rate = |start: Instant| {
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate = files as f64 / start.elapsed().as_secs_f64();
        rate
    };
    if let Way::Agent(flush_by) = way {
        let deliveries = agent(base, flush_by, files, batch, boxes, &content);
        let start = Instant::now();
        while deliveries.round().unwrap() > 0 {}
        let rate = rate(start);
        std::fs::remove_dir_all(base).unwrap();
        return rate;
    }
    let start = Instant::now();
    for first in (0..files).step_by(batch) {
        let jobs: Vec<(PathBuf, PathBuf)> = (first..(first + batch).min(files))
            .map(|n| {
                let mailbox = base.join((n % boxes).to_string());
                (mailbox.join(format!("tmp/{n}")), mailbox.join(format!("new/{n}")))
            })
            .collect();
        deliver(way, &jobs, &content, &root, base, boxes);
    }
    let rate = rate(start);
    std::fs::remove_dir_all(base).unwrap();
    rate
}

fn agent(
    base: &Path,
    flush_by: FlushBy,
    files: usize,
    batch: usize,
    boxes: usize,
    content: &[u8],
) -> Deliveries<MemorySpool> {
    let directory =
        Directory::build(&DirectorySettings { domains: vec![], unlisted: Unlisted::Take }).unwrap();
    let template = Template::parse(&format!("{}/{{domain}}/{{local}}", base.display())).unwrap();
    let agent = MaildirAgent::open(MaildirSettings {
        route: Route::new(template, Quota::default(), vec![], &directory).unwrap(),
        host: "localhost".into(),
        line_ends: LineEnds::Crlf,
        flush_by,
        full_is_permanent_after: Duration::ZERO,
    });
    let spool = MemorySpool::new();
    for number in 0..files {
        let mailbox = Mailbox::parse(&format!("{}@example.org", number % boxes)).unwrap();
        let recipient = Recipient { mailbox, original: None };
        let mut draft = spool.begin(UnixTime(0)).unwrap();
        draft.append(content.to_vec()).unwrap();
        // the spool in memory has done it when this returns
        drop(spool.commit(draft, Envelope::new(ReversePath::Null, vec![recipient]).unwrap()));
    }
    let settings = RunnerSettings { batch, ..RunnerSettings::default() };
    let (agent, clock) = (Arc::new(agent.unwrap()), Arc::new(WallClock));
    Deliveries::new(Arc::new(spool), agent, clock, Arc::new(Silent), settings)
}

fn deliver(way: Way, jobs: &[(PathBuf, PathBuf)], content: &[u8], root: &File, base: &Path, boxes: usize) {
    let write = |path: &Path| {
        let mut file = File::create_new(path).unwrap();
        file.write_all(content).unwrap();
        file
    };
    let dirs = || {
        for number in 0..boxes.min(jobs.len()) {
            File::open(base.join(format!("{number}/new"))).unwrap().sync_all().unwrap();
        }
    };
    let rename = || {
        for (tmp, new) in jobs {
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                tmp,
                rustix::fs::CWD,
                new,
                rustix::fs::RenameFlags::NOREPLACE,
            )
            .unwrap();
        }
    };
    match way {
        Way::NoFlush => {
            for (tmp, _) in jobs {
                drop(write(tmp));
            }
            rename();
        }
        Way::Each(threads) => {
            std::thread::scope(|scope| {
                for part in jobs.chunks(jobs.len().div_ceil(threads)) {
                    scope.spawn(move || part.iter().for_each(|(tmp, _)| write(tmp).sync_data().unwrap()));
                }
            });
            rename();
            dirs();
        }
        Way::Kick => {
            let open: Vec<File> = jobs.iter().map(|(tmp, _)| write(tmp)).collect();
            for file in &open {
                rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
            for file in &open {
                file.sync_data().unwrap();
            }
            rename();
            dirs();
        }
        Way::SyncfsThenDirs | Way::SyncfsTwice => {
            for (tmp, _) in jobs {
                drop(write(tmp));
            }
            rustix::fs::syncfs(root).unwrap();
            rename();
            if matches!(way, Way::SyncfsTwice) {
                rustix::fs::syncfs(root).unwrap();
            } else {
                dirs();
            }
        }
        Way::Unnamed => {
            let open: Vec<File> = jobs
                .iter()
                .map(|(tmp, _)| {
                    let dir = tmp.parent().unwrap();
                    let mut file = File::from(
                        rustix::fs::open(dir, OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR)
                            .unwrap(),
                    );
                    file.write_all(content).unwrap();
                    file
                })
                .collect();
            rustix::fs::syncfs(root).unwrap();
            for (file, (_, new)) in open.iter().zip(jobs) {
                let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
                rustix::fs::linkat(
                    rustix::fs::CWD,
                    own,
                    rustix::fs::CWD,
                    new,
                    rustix::fs::AtFlags::SYMLINK_FOLLOW,
                )
                .unwrap();
            }
            rustix::fs::syncfs(root).unwrap();
        }
        Way::Agent(_) => {}
    }
}
