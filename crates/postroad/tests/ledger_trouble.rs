//! A ledger that cannot be written: mail goes on, health says why, and records come again once it can.
//!
//! None of these needs rights to be taken away, so they hold for root too. A disk that takes
//! no more is played by a limit on the size of files; one that is full, by the ledger's own tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, prlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{GOOD, Serving, eventually, http, mail_in, run};

const NOT_A_LEDGER: &[u8] = b"This is no ledger, whatever its name says. ";

/// A server with its health page.
struct World {
    dir: tempfile::TempDir,
    more: &'static str,
}

struct Running {
    serving: Serving,
    health: String,
    delivered: usize,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), more: "" }
    }

    /// The same with the ledger elsewhere.
    fn with_ledger(more: &'static str) -> Self {
        Self { more, ..Self::new() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ledger(&self) -> PathBuf {
        self.path().join("data/ledger/ledger.db")
    }

    fn configure(&self) {
        let text = format!("{GOOD}[http]\nlisten = \"127.0.0.1:0\"\n{}", self.more);
        fs::write(self.path().join("postroad.toml"), text).unwrap();
    }

    fn start(&self) -> Running {
        self.configure();
        self.started(Serving::start(self.path(), &["--config", "postroad.toml"]))
    }

    fn started(&self, mut serving: Serving) -> Running {
        let health = serving.http_address();
        let delivered = mail_in(&self.path().join("data/mail/example.org/bob")).len();
        Running { serving, health, delivered }
    }

    /// What `postroad explain` says to a reference: its exit code, and all it prints.
    fn explain(&self, reference: &str) -> (i32, String) {
        let told = run(self.path(), &["explain", reference, "--config", "postroad.toml", "--lang", "en"]);
        (told.code, told.out + &told.err)
    }

    /// Until this refusal has its story. Each look is another attempt to write, so that no pause is waited for.
    fn until_known(&self, reference: &str) {
        let mut last = String::new();
        eventually("it is in the ledger", || {
            let (code, told) = self.explain(reference);
            last = told;
            code == 0
        });
        assert!(last.starts_with(&format!("{reference}: 550 ")), "{last}");
    }
}

impl Running {
    /// Mail is taken and delivered, and refused with a reference, which is given back.
    fn mail_goes_on(&mut self, world: &World) -> String {
        let mut client = self.serving.client();
        client.deliver(&["bob@example.org"], "whatever the ledger does");
        client.say("MAIL FROM:<alice@client.example>", "250");
        let reply = client.say("RCPT TO:<nobody@example.org>", "550 5.1.1 ");
        client.say("QUIT", "221");
        self.delivered += 1;
        let bob = world.path().join("data/mail/example.org/bob");
        eventually("it is delivered", || mail_in(&bob).len() == self.delivered);
        let (_, end) = reply.rsplit_once(" (ref ").unwrap();
        end.strip_suffix(')').unwrap().to_owned()
    }

    fn failing(&self) -> bool {
        let (_, metrics) = http(&self.health, "/metrics");
        let line = metrics.lines().find(|line| line.starts_with("postroad_ledger_failing ")).unwrap();
        line == "postroad_ledger_failing 1"
    }

    /// Whether health says that the ledger cannot be written, and why; the server is ready all the same.
    #[track_caller]
    fn until_health_says(&self, why: &str) {
        eventually("the ledger is seen to be broken", || self.failing());
        let (code, told) = http(&self.health, "/health/ready");
        let told_why = told.strip_prefix("ready\nthe ledger cannot be written: ");
        assert!(code == 200 && told_why.is_some_and(|told| told.contains(why)), "{code} {told}");
        eventually("the log says so", || {
            self.serving.log().contains("the ledger cannot be written; mail goes on")
        });
        assert!(self.serving.log().contains(why), "{}", self.serving.log());
    }

    #[track_caller]
    fn is_healthy(&self) {
        assert!(!self.failing());
        assert_eq!(http(&self.health, "/health/ready"), (200, "ready\n".to_owned()));
    }

    #[track_caller]
    fn is_healthy_again(&self) {
        self.is_healthy();
        eventually("the log says so", || self.serving.log().contains("the ledger works again"));
    }
}

/// The ledger cannot be opened from the start; what `mend` does helps, without a restart.
#[track_caller]
fn broken_from_the_start(world: &World, why: &str, mend: impl FnOnce()) {
    let mut running = world.start();
    running.until_health_says(why);
    let reference = running.mail_goes_on(world);
    running.until_health_says(why);
    let (code, told) = world.explain(&reference);
    assert!(
        code != 0 && told.contains("the server cannot write its ledger: ") && told.contains(why),
        "{told}"
    );
    mend();
    // What was said meanwhile was kept.
    world.until_known(&reference);
    running.is_healthy_again();
    let reference = running.mail_goes_on(world);
    world.until_known(&reference);
    assert_eq!(running.serving.stop(), 0);
}

#[test]
fn the_directory_is_a_file() {
    let world = World::with_ledger("[ledger]\npath = \"elsewhere/ledger.db\"\n");
    let elsewhere = world.path().join("elsewhere");
    fs::write(&elsewhere, "a file").unwrap();
    broken_from_the_start(&world, "elsewhere/ledger.db cannot be made or opened", || {
        fs::remove_file(&elsewhere).unwrap();
    });
    assert!(elsewhere.join("ledger.db").exists());
}

#[test]
fn the_file_is_a_directory() {
    let world = World::new();
    fs::create_dir_all(world.ledger()).unwrap();
    broken_from_the_start(&world, "ledger.db cannot be made or opened", || {
        fs::remove_dir(world.ledger()).unwrap();
    });
}

#[test]
fn the_file_is_of_a_newer_version() {
    let world = World::new();
    fs::create_dir_all(world.ledger().parent().unwrap()).unwrap();
    Connection::open(world.ledger()).unwrap().pragma_update(None, "user_version", 1_000_000).unwrap();
    let before = fs::read(world.ledger()).unwrap();
    let aside = world.path().join("newer.db");
    broken_from_the_start(&world, "a newer version of this program", || {
        assert_eq!(fs::read(world.ledger()).unwrap(), before, "it was left alone");
        fs::rename(world.ledger(), &aside).unwrap();
    });
}

#[test]
fn the_file_is_garbage_from_the_start() {
    let world = World::new();
    fs::create_dir_all(world.ledger().parent().unwrap()).unwrap();
    fs::write(world.ledger(), NOT_A_LEDGER.repeat(1000)).unwrap();
    let mut running = world.start();
    let reference = running.mail_goes_on(&world);
    world.until_known(&reference);
    running.is_healthy();
    assert_eq!(fs::read(world.ledger().with_extension("db.broken-1")).unwrap(), NOT_A_LEDGER.repeat(1000));
    let told = || running.serving.log().contains("ledger.db.broken-1, and a new one was begun");
    eventually("the log says what became of it", told);
}

#[test]
fn the_file_is_overwritten_while_the_server_runs() {
    let world = World::new();
    let mut running = world.start();
    let before = running.mail_goes_on(&world);
    world.until_known(&before);
    fs::write(world.ledger(), NOT_A_LEDGER.repeat(1000)).unwrap();
    let after = running.mail_goes_on(&world);
    world.until_known(&after);
    running.is_healthy();
    // What is in it may be what SQLite wrote over the garbage when it let go of the file.
    assert!(world.ledger().with_extension("db.broken-1").exists());
    assert_eq!(world.explain(&before).0, 69, "what was in it is gone");
    let told = || running.serving.log().contains("ledger.db.broken-1, and a new one was begun");
    eventually("the log says what became of it", told);
    assert_eq!(running.serving.stop(), 0);
}

#[test]
fn the_directory_is_removed_while_the_server_runs() {
    let world = World::new();
    let mut running = world.start();
    let before = running.mail_goes_on(&world);
    world.until_known(&before);
    fs::remove_dir_all(world.ledger().parent().unwrap()).unwrap();
    let after = running.mail_goes_on(&world);
    world.until_known(&after);
    running.is_healthy();
    let told = || {
        running
            .serving
            .log()
            .contains("the file was removed or replaced while it was open; a new one was begun")
    };
    eventually("the log says so", told);
    assert_eq!(running.serving.stop(), 0);
}

#[test]
fn another_process_holds_the_file() {
    let world = World::new();
    let mut running = world.start();
    let before = running.mail_goes_on(&world);
    world.until_known(&before);
    let holder = Connection::open(world.ledger()).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let meanwhile = running.mail_goes_on(&world);
    running.until_health_says("another process holds the file; stop it");
    let more = running.mail_goes_on(&world);
    // Readers are not held up: they say what is known.
    let (code, told) = world.explain(&before);
    assert!(code == 0 && told.contains("550 5.1.1"), "{code} {told}");
    holder.execute_batch("ROLLBACK").unwrap();
    for reference in [before, meanwhile, more] {
        world.until_known(&reference);
    }
    running.is_healthy_again();
    assert_eq!(running.serving.stop(), 0);
}

#[test]
fn the_disk_takes_no_more_of_the_ledger() {
    // The spool's files grow by little for small mail, the ledger's by several pages each time it is written.
    const LIMIT: u64 = 256 << 10;
    let world = World::new();
    world.configure();
    // A write over the limit is to fail, as on a full disk, and not to end the program.
    let become_server = "trap '' XFSZ; exec \"$0\" serve --config postroad.toml";
    let mut shell = Command::new("sh");
    shell.args(["-c", become_server, env!("CARGO_BIN_EXE_postroad")]);
    let mut running = world.started(Serving::start_by(&mut shell, world.path()));
    let pid = running.serving.pid();
    let limit = |current| prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    limit(Some(LIMIT));
    let mut references = Vec::new();
    for _ in 0..40 {
        let reference = running.mail_goes_on(&world);
        let (code, told) = world.explain(&reference);
        references.push(reference);
        if code != 0 {
            assert!(told.contains("the server cannot write its ledger: the disk fails"), "{told}");
            break;
        }
    }
    running.until_health_says("the disk fails");
    assert!((2..40).contains(&references.len()), "{}", references.len());
    references.push(running.mail_goes_on(&world));
    limit(None);
    for reference in &references {
        world.until_known(reference);
    }
    running.is_healthy_again();
    references.push(running.mail_goes_on(&world));
    world.until_known(&references[references.len() - 1]);
    assert_eq!(running.serving.stop(), 0);
}
