//! The duties of every agent. A new agent implements [`Bench`] and calls [`all`].

use super::{START, binary, envelope, store};
use postroad_delivery::agent::{DeliveryAgent, Report};
use postroad_proto::envelope::Envelope;
use postroad_proto::time::UnixTime;
use postroad_spool::memory::MemorySpool;
use postroad_spool::{Lease, Outcome, Spool, SpoolError};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An agent with a destination whose insides the duties may look at and break.
pub(crate) trait Bench {
    /// The agent.
    fn agent(&self) -> Arc<dyn DeliveryAgent>;

    /// Whole messages that `address` has now, each with its trace lines.
    fn arrived(&self, address: &str) -> Vec<Vec<u8>>;

    /// Breaks the way to `address` in a manner that an operator can mend.
    fn obstruct(&self, address: &str);

    /// Mends what [`Bench::obstruct`] broke.
    fn mend(&self, address: &str);

    /// The addresses at which something can be seen, for messages cut off in the middle.
    fn looks_empty(&self, address: &str) -> bool {
        self.arrived(address).is_empty()
    }
}

const CONTENT: &[u8] = b"Subject: duties\r\n\r\nFrom here\r\n.\r\n\xe9\r\n";

/// Runs an agent through all duties; `make` gives a new bench for each.
pub(crate) fn all<B: Bench>(make: impl Fn() -> B) {
    one_report_for_each_open_recipient(&make());
    a_fault_defers_and_only_there(&make());
    content_arrives_as_it_was(&make());
    unreadable_content_defers_and_shows_nothing(&make());
    an_uncertain_lease_is_not_delivered_twice(&make());
    an_empty_batch_is_fine(&make());
}

fn lease_all(spool: &MemorySpool) -> Vec<Lease> {
    spool.lease(UnixTime(u64::MAX), 1000).unwrap()
}

fn deliver<B: Bench>(bench: &B, spool: &MemorySpool, leases: &[Lease]) -> Vec<Vec<Report>> {
    bench.agent().deliver(START, leases, spool)
}

fn ends_with_content(message: &[u8]) -> bool {
    message.ends_with(CONTENT)
}

fn one_report_for_each_open_recipient<B: Bench>(bench: &B) {
    let spool = MemorySpool::new();
    let three = ["a@one.example", "b@one.example", "a@two.example"];
    store(&spool, START, envelope(&three), CONTENT);
    store(&spool, START, envelope(&["c@one.example"]), CONTENT);
    let mut leases = lease_all(&spool);
    for lease in &mut leases {
        // as after an attempt in which the second recipient was served
        lease.open_recipients.retain(|&index| index != 1);
    }
    let reports = deliver(bench, &spool, &leases);
    assert_eq!(reports.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    for report in reports.iter().flatten() {
        assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    }
    let counts = ["a@one.example", "b@one.example", "a@two.example", "c@one.example"]
        .map(|address| (address, bench.arrived(address).len()));
    assert_eq!(BTreeMap::from(counts).into_values().sum::<usize>(), 3);
    assert_eq!(bench.arrived("b@one.example").len(), 0, "a recipient that was not open got the message");
}

fn a_fault_defers_and_only_there<B: Bench>(bench: &B) {
    let spool = MemorySpool::new();
    store(&spool, START, envelope(&["a@one.example", "b@one.example", "c@one.example"]), CONTENT);
    bench.obstruct("b@one.example");
    let mut leases = lease_all(&spool);
    let reports = deliver(bench, &spool, &leases);
    let [first, second, third] = &reports[0][..] else { panic!("{reports:?}") };
    assert_eq!((&first.outcome, &third.outcome), (&Outcome::Delivered, &Outcome::Delivered));
    let Outcome::Deferred(refusal) = &second.outcome else { panic!("{second:?}") };
    assert!(refusal.is_transient());
    assert!(second.cause.is_some(), "the log must be able to say why");
    assert!(!refusal.reply().text().contains('/'), "{refusal:?} tells the public a path");
    bench.mend("b@one.example");
    leases[0].open_recipients = vec![1];
    leases[0].attempts = 1;
    assert_eq!(deliver(bench, &spool, &leases), [[Report::delivered()]]);
    for address in ["a@one.example", "b@one.example", "c@one.example"] {
        assert_eq!(bench.arrived(address).len(), 1, "{address}");
    }
}

fn content_arrives_as_it_was<B: Bench>(bench: &B) {
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| b"0123456789abcdef\r\n"[n as usize % 18]).collect();
    let odd = b"\0\r\n\n\r.\r\n..\r\n\xff".to_vec();
    let cases: [(&str, Envelope, Vec<u8>); 4] = [
        ("small@one.example", envelope(&["small@one.example"]), CONTENT.to_vec()),
        ("none@one.example", envelope(&["none@one.example"]), Vec::new()),
        ("odd@one.example", binary(envelope(&["odd@one.example"])), odd),
        ("large@one.example", envelope(&["large@one.example"]), large),
    ];
    let spool = MemorySpool::new();
    for (_, envelope, content) in &cases {
        store(&spool, START, envelope.clone(), content);
    }
    let leases = lease_all(&spool);
    for report in deliver(bench, &spool, &leases).iter().flatten() {
        assert_eq!(report, &Report::delivered());
    }
    for (address, _, content) in &cases {
        let arrived = bench.arrived(address);
        assert_eq!(arrived.len(), 1, "{address}");
        assert!(arrived[0].ends_with(content), "{address}: the content is not as it was");
    }
}

/// Contents that break off in the middle.
struct Torn {
    inner: MemorySpool,
    torn: AtomicBool,
}

impl postroad_delivery::agent::Contents for Torn {
    fn open(&self, id: postroad_spool::SpoolId) -> Result<Box<dyn Read + Send>, SpoolError> {
        let whole = Spool::open(&self.inner, id)?;
        if self.torn.load(Ordering::SeqCst) {
            return Ok(Box::new(whole.take(10).chain(Breaks)));
        }
        Ok(whole)
    }
}

struct Breaks;

impl Read for Breaks {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk broke"))
    }
}

fn unreadable_content_defers_and_shows_nothing<B: Bench>(bench: &B) {
    let torn = Torn { inner: MemorySpool::new(), torn: AtomicBool::new(true) };
    let large = [CONTENT, &vec![b'x'; 2_000_000]].concat();
    store(&torn.inner, START, envelope(&["a@one.example"]), CONTENT);
    store(&torn.inner, START, envelope(&["b@one.example"]), &large);
    let leases = lease_all(&torn.inner);
    for report in bench.agent().deliver(START, &leases, &torn).iter().flatten() {
        assert!(matches!(report.outcome, Outcome::Deferred(_)), "{report:?}");
    }
    assert!(
        bench.looks_empty("a@one.example") && bench.looks_empty("b@one.example"),
        "half a message is visible"
    );
    torn.torn.store(false, Ordering::SeqCst);
    for report in bench.agent().deliver(START, &leases, &torn).iter().flatten() {
        assert_eq!(report, &Report::delivered());
    }
    assert_eq!(bench.arrived("b@one.example").len(), 1);
}

fn an_uncertain_lease_is_not_delivered_twice<B: Bench>(bench: &B) {
    let spool = MemorySpool::new();
    store(&spool, START, envelope(&["a@one.example", "b@one.example"]), CONTENT);
    let first = lease_all(&spool);
    deliver(bench, &spool, &first);
    // the process dies here, before it settles
    drop(first);
    let again = lease_all(&spool);
    assert!(again[0].uncertain);
    assert_eq!(deliver(bench, &spool, &again), [[Report::delivered(), Report::delivered()]]);
    for address in ["a@one.example", "b@one.example"] {
        let arrived = bench.arrived(address);
        assert_eq!(arrived.len(), 1, "{address}");
        assert!(ends_with_content(&arrived[0]));
    }
}

fn an_empty_batch_is_fine<B: Bench>(bench: &B) {
    assert_eq!(deliver(bench, &MemorySpool::new(), &[]), Vec::<Vec<Report>>::new());
}
