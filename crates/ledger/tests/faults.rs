//! Whatever befalls the file: submitting returns at once, health tells it, and afterwards records are kept again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test"
)]

use postroad_ledger::{
    Ledger, Origin, Query, ReadError, Reader, Reference, References, SessionLog, Settings, State,
};
use postroad_proto::reply::{Reply, ReplyId};
use postroad_proto::time::{Tick, UnixTime};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const START: u64 = 1_795_327_384_000;

/// Writes one record, and gives the reference in it.
fn submit(ledger: &Ledger, references: &References, second: u64) -> Reference {
    let started = UnixTime(START + second * 1000);
    let origin = Origin::Session { peer: None, listener: "mx".into() };
    let mut log = SessionLog::new(references.next(started), started, Tick::default(), origin);
    let reference = references.next(started);
    log.reply(Tick::default(), &Reply::of(ReplyId::NeedMail), Some(reference));
    ledger.submit(log.take().unwrap());
    reference
}

/// Flushes until it works. Each flush is another attempt, so that no test waits for a pause to end.
fn until_written(ledger: &Ledger) {
    for _ in 0..200 {
        if ledger.flush(Duration::from_secs(10)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still broken: {:?}", ledger.health());
}

fn has(path: &Path, reference: Reference) -> bool {
    Reader::open(path).unwrap().find(reference).unwrap().is_some()
}

struct World {
    folder: tempfile::TempDir,
    path: PathBuf,
    references: References,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("ledger.db");
        fs::create_dir(path.parent().unwrap()).unwrap();
        Self { folder, path, references: References::default() }
    }

    fn start(&self) -> Ledger {
        Ledger::start(&Settings::new(&self.path)).unwrap()
    }

    fn broken(&self, number: u32) -> PathBuf {
        self.path.with_file_name(format!("ledger.db.broken-{number}"))
    }
}

#[test]
fn only_the_owner_may_read_it() {
    let world = World::new();
    let folder = world.path.parent().unwrap();
    fs::remove_dir(folder).unwrap();
    let ledger = world.start();
    submit(&ledger, &world.references, 0);
    until_written(&ledger);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        files += 1;
    }
    assert_eq!(files, 3);
}

#[test]
fn a_place_that_cannot_be_written_is_told_and_used_once_it_can() {
    let world = World::new();
    let folder = world.path.parent().unwrap();
    fs::remove_dir(folder).unwrap();
    // A file where the directory should be: even root cannot write there.
    fs::write(folder, "in the way").unwrap();
    let ledger = world.start();
    let reference = submit(&ledger, &world.references, 0);
    assert!(!ledger.flush(Duration::from_mins(1)));
    let health = ledger.health();
    assert_eq!((health.state, health.dropped, health.troubles), (State::Broken, 0, 1));
    let wanted = format!("{} cannot be made or opened (", world.path.display());
    assert!(health.message.starts_with(&wanted), "{}", health.message);

    fs::remove_file(folder).unwrap();
    until_written(&ledger);
    assert_eq!(ledger.health().state, State::Working);
    assert!(has(&world.path, reference));
}

#[test]
fn a_directory_that_is_removed_is_made_again() {
    let world = World::new();
    let ledger = world.start();
    let lost = submit(&ledger, &world.references, 0);
    until_written(&ledger);
    fs::remove_dir_all(world.path.parent().unwrap()).unwrap();
    let kept = submit(&ledger, &world.references, 1);
    until_written(&ledger);
    let health = ledger.health();
    assert_eq!(health.state, State::Working);
    assert_eq!(health.message, "the file was removed or replaced while it was open; a new one was begun");
    assert!(has(&world.path, kept) && !has(&world.path, lost));
}

#[test]
fn a_file_overwritten_while_open_is_set_aside() {
    let world = World::new();
    let ledger = world.start();
    submit(&ledger, &world.references, 0);
    until_written(&ledger);
    // In place: the same file, another content.
    fs::write(&world.path, vec![0xA5; 100_000]).unwrap();
    let kept = submit(&ledger, &world.references, 1);
    until_written(&ledger);
    let aside = world.broken(1);
    assert!(aside.exists());
    let health = ledger.health();
    assert_eq!(health.state, State::Working);
    let wanted = format!("the file was overwritten; it is now {}, and a new one was begun", aside.display());
    assert_eq!(health.message, wanted);
    assert!(has(&world.path, kept));
}

#[test]
fn a_damaged_file_is_set_aside_at_the_start_and_few_are_kept() {
    let world = World::new();
    for number in 0..5u8 {
        fs::write(&world.path, vec![b'0' + number; 50_000]).unwrap();
        let ledger = world.start();
        let reference = submit(&ledger, &world.references, number.into());
        until_written(&ledger);
        drop(ledger);
        assert!(has(&world.path, reference));
    }
    let first = |number| fs::read(world.broken(number)).map(|octets| octets[0]);
    assert_eq!((first(1).unwrap(), first(2).unwrap(), first(3).unwrap()), (b'4', b'3', b'2'));
    assert!(!world.broken(4).exists());
}

#[test]
fn a_file_damaged_behind_its_beginning_is_set_aside_when_that_is_seen() {
    let world = World::new();
    let ledger = world.start();
    for second in 0..2000 {
        submit(&ledger, &world.references, second);
        if second % 100 == 0 {
            until_written(&ledger);
        }
    }
    until_written(&ledger);
    drop(ledger);
    let mut octets = fs::read(&world.path).unwrap();
    // The header stays; what it leads to does not.
    octets[100..].fill(0xA5);
    fs::write(&world.path, octets).unwrap();
    let ledger = world.start();
    let kept = submit(&ledger, &world.references, 3000);
    until_written(&ledger);
    assert!(world.broken(1).exists());
    assert!(ledger.health().message.starts_with("the file is damaged ("), "{}", ledger.health().message);
    assert!(has(&world.path, kept));
}

#[test]
fn another_that_holds_the_file_is_told_and_waited_for() {
    let world = World::new();
    drop(world.start());
    let other = rusqlite::Connection::open(&world.path).unwrap();
    other.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    other.execute_batch("BEGIN EXCLUSIVE; DELETE FROM blocks").unwrap();

    let ledger = world.start();
    let reference = submit(&ledger, &world.references, 0);
    assert!(!ledger.flush(Duration::from_mins(1)));
    let health = ledger.health();
    assert_eq!(health.state, State::Broken);
    assert!(health.message.starts_with("another process holds the file; stop it ("), "{}", health.message);

    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    until_written(&ledger);
    assert!(has(&world.path, reference));
    assert!(!world.broken(1).exists());
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let world = World::new();
    drop(world.start());
    let newer = rusqlite::Connection::open(&world.path).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    drop(newer);
    let before = fs::read(&world.path).unwrap();

    let ledger = world.start();
    let reference = submit(&ledger, &world.references, 0);
    assert!(!ledger.flush(Duration::from_mins(1)));
    let health = ledger.health();
    assert_eq!(health.state, State::Broken);
    assert_eq!(
        health.message,
        "the file was written by a newer version of this program; run that one, or move the file away"
    );
    assert!(matches!(Reader::open(&world.path), Err(ReadError::Newer)));
    assert_eq!(fs::read(&world.path).unwrap(), before);

    fs::rename(&world.path, world.folder.path().join("away")).unwrap();
    until_written(&ledger);
    assert!(has(&world.path, reference));
}

#[test]
fn while_it_is_broken_the_queue_fills_and_the_rest_is_dropped_and_counted() {
    let world = World::new();
    fs::remove_dir(world.path.parent().unwrap()).unwrap();
    fs::write(world.path.parent().unwrap(), "in the way").unwrap();
    let mut settings = Settings::new(&world.path);
    settings.queue_octets = 10_000;
    let ledger = Ledger::start(&settings).unwrap();
    let first = submit(&ledger, &world.references, 0);
    assert!(!ledger.flush(Duration::from_mins(1)));
    for second in 1..2000 {
        submit(&ledger, &world.references, second);
    }
    let dropped = ledger.health().dropped;
    assert!((1500..1990).contains(&dropped), "{dropped}");
    fs::remove_file(world.path.parent().unwrap()).unwrap();
    until_written(&ledger);
    assert!(has(&world.path, first));
    let mut all = Query::default();
    all.limit = 10_000;
    let found = Reader::open(&world.path).unwrap().search(&all).unwrap().lines.len() as u64;
    assert_eq!(found + dropped, 2000);
    let last = submit(&ledger, &world.references, 3000);
    until_written(&ledger);
    assert!(has(&world.path, last));
    assert_eq!(ledger.health().dropped, dropped);
}
