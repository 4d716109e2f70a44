//! Coverage-guided fuzzing on the stable toolchain.
//!
//! The compiler's own flags put `LibFuzzer`'s counters into our code and its dependencies; no sanitizer
//! is needed, because nothing of ours is unsafe: what is looked for are panics (overflow and debug
//! assertions are on), disagreement between two ways of reading, hangs and memory without bound.

use crate::{root, targets, trouble};
use std::io;
use std::process::Command;

/// What `cargo-fuzz` passes without a sanitizer, and comparisons traced besides.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// Fuzzes one target, or each in turn, for `seconds` each. What crashes lies in `fuzz/artifacts/`.
pub fn run(only: Option<&str>, seconds: u64) -> io::Result<()> {
    let chosen: Vec<&str> = targets::ALL
        .iter()
        .map(|target| target.name)
        .filter(|name| only.is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        let all: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
        return trouble(format!("no such target; there are: {}", all.join(", ")));
    }
    let folder = root().join("fuzz");
    let host = host()?;
    // For the target only: build scripts and macros must not be instrumented.
    let built = Command::new("cargo")
        .args(["build", "--release", "--target", &host])
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&folder)
        .status()?;
    if !built.success() {
        return trouble("the fuzz targets could not be built");
    }
    let mut failed = Vec::new();
    for name in chosen {
        // New inputs go to a folder of their own; the corpus holds what was chosen to be kept.
        let found = folder.join("target/found").join(name);
        let artifacts = folder.join("artifacts").join(name);
        std::fs::create_dir_all(&found)?;
        std::fs::create_dir_all(&artifacts)?;
        let status = Command::new(folder.join("target").join(&host).join("release").join(name))
            .arg(&found)
            .arg(folder.join("corpus").join(name))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1"])
            .current_dir(&folder)
            .status()?;
        if !status.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        trouble(format!("failed: {}; the inputs are in fuzz/artifacts/", failed.join(", ")))
    }
}

fn host() -> io::Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => trouble("rustc -vV names no host"),
    }
}
