//! `postroad doctor`: whether this machine keeps its promises.

use super::config::ConfigArgs;
use crate::exit::Exit;
use anstream::{eprintln, println};
use indicatif::{ProgressBar, ProgressStyle};
use postroad_server::clock::Clock;
use rustix::fs::statfs;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Measure how long the data directory's disk takes to make mail durable.
    ///
    /// Writes and flushes a small file of its own there, some hundred times, and removes it. Warns
    /// where the disk is slow and where it seems to answer before anything is safe. Exits with 0, or
    /// with 69 where there is a warning.
    Disk {
        #[command(flatten)]
        sources: ConfigArgs,
        /// Flushes to measure.
        #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=100_000))]
        flushes: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub(crate) fn run(command: &Command) -> Exit {
    let Command::Disk { sources, flushes, json } = command;
    let config = match sources.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if config.data.exists() && !config.data.is_dir() {
        eprintln!("postroad: {} is not a directory; name another with --data", config.data.display());
        return Exit::CannotCreate;
    }
    // Where nothing exists yet, the place where it will be made is what counts.
    let Some(dir) = config.data.ancestors().find(|dir| dir.is_dir()) else {
        eprintln!("postroad: {} does not exist, nor anything above it", config.data.display());
        return Exit::CannotCreate;
    };
    match measure(dir, *flushes) {
        Ok(found) => {
            let warnings = found.warnings();
            if *json {
                found.print_json(dir, &warnings);
            } else {
                found.print(dir, &warnings);
            }
            if warnings.is_empty() { Exit::Done } else { Exit::Unavailable }
        }
        Err(error) => {
            eprintln!("postroad: {} cannot be measured: {error}", dir.display());
            if error.kind() == io::ErrorKind::PermissionDenied { Exit::NoPermission } else { Exit::Io }
        }
    }
}

/// What was measured.
struct Found {
    flushes: u32,
    /// A write of 4 KiB over written blocks, and its flush: what a message costs in the spool.
    flush: Spread,
    /// The same write without a flush: what remains if flushing does nothing.
    write: Spread,
    in_memory: bool,
}

struct Spread {
    p50: Duration,
    p99: Duration,
}

fn measure(dir: &Path, flushes: u32) -> io::Result<Found> {
    const BLOCK: [u8; 4096] = [0x5a; 4096];
    let clock = Clock::new();
    let probe = Probe::create(dir)?;
    let bar = ProgressBar::new(u64::from(flushes));
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} flushes") {
        bar.set_style(style);
    }
    bar.set_message("measuring");
    let blocks = 256;
    for at in 0..blocks {
        probe.file.write_all_at(&BLOCK, at * BLOCK.len() as u64)?;
    }
    probe.file.sync_all()?;
    let mut flush_times = Vec::new();
    let mut write_times = Vec::new();
    for round in 0..u64::from(flushes) {
        let at = round % blocks * BLOCK.len() as u64;
        let start = clock.tick();
        probe.file.write_all_at(&BLOCK, at)?;
        let written = clock.tick();
        probe.file.sync_data()?;
        flush_times.push(clock.tick().since(start));
        write_times.push(written.since(start));
        bar.inc(1);
    }
    bar.finish_and_clear();
    // tmpfs and ramfs, by their numbers in Linux's statfs(2).
    let kind = statfs(dir)?.f_type;
    let in_memory = kind == 0x0102_1994 || kind == 0x8584_58f6;
    Ok(Found { flushes, flush: spread(flush_times), write: spread(write_times), in_memory })
}

/// The file that is written to; removed when dropped.
struct Probe {
    file: File,
    path: PathBuf,
}

impl Probe {
    fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!(".postroad-doctor-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // What cannot be removed is one megabyte in a file that says whose it is.
        drop(fs::remove_file(&self.path));
    }
}

fn spread(mut times: Vec<Duration>) -> Spread {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    Spread { p50: at(50), p99: at(99) }
}

impl Found {
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.in_memory {
            warnings.push(
                "this file system lives in memory: all mail in it is gone with the power. Put the data directory on a disk"
                    .to_owned(),
            );
        } else if self.flush.p50 < Duration::from_micros(20) || self.flush.p50 < self.write.p50 * 2 {
            warnings.push(format!(
                "a flush takes {}, which no disk can do that really writes: the disk, the controller or the virtual \
                 machine seems to answer before the data is safe. A power cut can then lose accepted mail. Look for a \
                 write cache without a battery, or `cache=unsafe` of the virtual disk",
                shown(self.flush.p50)
            ));
        }
        if self.flush.p99 > Duration::from_millis(100) {
            warnings.push(format!(
                "one flush in a hundred takes {} or longer: senders wait that long for their 250. Look for other \
                 programs that write to the same disk",
                shown(self.flush.p99)
            ));
        }
        warnings
    }

    fn print(&self, dir: &Path, warnings: &[String]) {
        println!("{}", dir.display());
        println!(
            "  write and flush of 4 KiB   p50 {:>9}   p99 {:>9}",
            shown(self.flush.p50),
            shown(self.flush.p99)
        );
        println!(
            "  the write alone            p50 {:>9}   p99 {:>9}",
            shown(self.write.p50),
            shown(self.write.p99)
        );
        println!("  {} flushes measured; one flush serves all messages that wait for it", self.flushes);
        for warning in warnings {
            println!("warning: {warning}");
        }
        if warnings.is_empty() {
            println!("The disk seems to keep its promise.");
        }
    }

    fn print_json(&self, dir: &Path, warnings: &[String]) {
        let micros = |span: Duration| span.as_secs_f64() * 1e6;
        let value = json!({
            "directory": dir.display().to_string(),
            "flushes": self.flushes,
            "flush_p50_us": micros(self.flush.p50),
            "flush_p99_us": micros(self.flush.p99),
            "write_p50_us": micros(self.write.p50),
            "write_p99_us": micros(self.write.p99),
            "in_memory": self.in_memory,
            "warnings": warnings,
        });
        println!("{value:#}");
    }
}

fn shown(span: Duration) -> String {
    let micros = span.as_secs_f64() * 1e6;
    if micros < 1000.0 { format!("{micros:.0} µs") } else { format!("{:.2} ms", micros / 1000.0) }
}
