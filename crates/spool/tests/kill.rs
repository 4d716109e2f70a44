//! Mail that stays while mail around it comes and goes, and the machine dies in between.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::{Envelope, Recipient};
use postroad_proto::time::UnixTime;
use postroad_spool::sim::SimDisk;
use postroad_spool::{DiskSpool, Draft, Options, Outcome, Spool};
use std::collections::BTreeSet;
use std::future::Future;
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

#[test]
fn large_messages_outlive_the_small_ones_around_them() {
    let mut disk = SimDisk::new();
    let mut expected = BTreeSet::new();
    for generation in 1..=8 {
        // A small ring, so that it comes round, and its survivors are copied forward.
        let options = Options {
            segment_bytes: 1 << 20,
            ring_bytes_max: 4 << 20,
            reserve_bytes: 0,
            pace: Duration::from_millis(20),
        };
        let (spool, report) = DiskSpool::open(Arc::new(disk.clone()), options).unwrap();
        let found: BTreeSet<_> =
            spool.list(None, 10_000).unwrap().into_iter().map(|waiting| waiting.id).collect();
        // What was settled may come back, for that is flushed lazily; what was not must be there.
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "generation {generation}: {missing:?} are gone; {report:?}");
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
        disk = disk.crash(generation);
        drop(kept);
    }
}
