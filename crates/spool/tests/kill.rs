//! What a killed process leaves: the files as they are, read by the next one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::{Envelope, Recipient};
use postroad_proto::time::UnixTime;
use postroad_spool::fs::RealDisk;
use postroad_spool::{DiskSpool, Draft, Options, Outcome, Spool};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn wait<T>(mut future: std::pin::Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
        std::thread::yield_now();
    }
}

fn envelope() -> Envelope {
    let mailbox = Mailbox::parse("bob@example.org").unwrap();
    Envelope::new(ReversePath::Null, vec![Recipient { mailbox, original: None }]).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn large_messages_outlive_the_small_ones_around_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut at = dir.path().join("0");
    let mut expected = std::collections::BTreeSet::new();
    for generation in 1..=8 {
        // A small ring, so that it comes round, and its survivors are copied forward.
        let options = Options {
            segment_bytes: 1 << 20,
            ring_bytes_max: 4 << 20,
            reserve_bytes: 0,
            pace: Duration::from_millis(20),
        };
        let (spool, report) = DiskSpool::open(Arc::new(RealDisk::new(&at)), options).unwrap();
        let found: std::collections::BTreeSet<_> =
            spool.list(None, 10_000).unwrap().into_iter().map(|waiting| waiting.id).collect();
        assert_eq!(found, expected, "generation {generation}: {report:?}");
        for number in 0..30 {
            let mut draft = spool.begin(UnixTime(1000 + generation)).unwrap();
            let size = if number % 3 == 0 { 100_000 } else { 1000 };
            for _ in 0..size / 1000 {
                draft.append(vec![b'x'; 1000]).unwrap();
            }
            let id = wait(spool.commit(draft, envelope())).unwrap();
            expected.insert(id);
        }
        let leases = spool.lease(UnixTime(1_000_000), 1000).unwrap();
        let mut kept = Vec::new();
        for lease in leases {
            if lease.size < 10_000 {
                expected.remove(&lease.id);
                spool.settle(lease, UnixTime(1_000_000), &[Outcome::Delivered], UnixTime(0)).unwrap();
            } else {
                kept.push(lease);
            }
        }
        std::thread::sleep(Duration::from_millis(60 * (generation % 3)));
        let next = dir.path().join(generation.to_string());
        copy(&at, &next);
        at = next;
        drop(kept);
    }
}
