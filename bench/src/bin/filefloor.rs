//! The yardstick for delivery to a Maildir: a program that only writes the files, durably.
//!
//! For each message: a file in `tmp/`, its content, fsync, rename to `new/`, fsync of `new/`. Several
//! threads do this side by side, so that the file system can join their flushes. No SMTP, no queue.
#![allow(clippy::disallowed_methods, reason = "a measuring tool reads the clock")]
#![allow(clippy::print_stdout, reason = "the result is printed")]

use clap::Parser;
use postroad_bench::TestMessage;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Writes Maildir files durably and prints how many a second")]
struct Options {
    /// Where to make the Maildir.
    #[arg(long)]
    dir: PathBuf,
    /// How many threads write.
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// Octets of a message.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Seconds to write.
    #[arg(long, default_value_t = 3.0)]
    duration: f64,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    for part in ["tmp", "new", "cur"] {
        fs::create_dir_all(options.dir.join(part))?;
    }
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(options.duration.clamp(0.1, 3600.0));
    let results: Vec<io::Result<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..options.threads.clamp(1, 256))
            .map(|writer| {
                let (dir, size) = (options.dir.as_path(), options.size);
                scope.spawn(move || write_until(end, dir, writer, size))
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or_else(|_| Err(io::Error::other("a writer panicked"))))
            .collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let mut files = 0;
    for result in results {
        files += result?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = files as f64 / seconds;
    println!("{{\"ok\":{files},\"seconds\":{seconds:.3},\"rate\":{rate:.1}}}");
    Ok(())
}

fn write_until(end: Instant, dir: &Path, writer: usize, size: usize) -> io::Result<u64> {
    let new = File::open(dir.join("new"))?;
    let mut message = TestMessage::new(size);
    let mut written = 0;
    while Instant::now() < end {
        let name = format!("{writer}.{written}.filefloor");
        let temporary = dir.join("tmp").join(&name);
        let mut file = File::create(&temporary)?;
        file.write_all(message.with_serial(written))?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join("new").join(&name))?;
        new.sync_all()?;
        written += 1;
    }
    Ok(written)
}
