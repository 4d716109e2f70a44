//! Counters and gauges, in Prometheus' text format.

use postroad_ledger::{Health, State};
use postroad_proto::reply::Reply;
use postroad_spool::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};

/// The label of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplyLabel {
    /// The name in the catalogue.
    reply: &'static str,
    /// The basic code.
    code: u16,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) sessions: Gauge,
    replies: Family<ReplyLabel, Counter>,
    pub(crate) messages_accepted: Counter,
    pub(crate) octets_accepted: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) tls_handshakes: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) panics: Counter,
    pub(crate) delivered: Counter,
    pub(crate) deferred: Counter,
    pub(crate) failed: Counter,
    content_in_memory: Gauge,
    ledger_dropped: Counter<u64, AtomicU64>,
    ledger_failing: Gauge,
    spool: SpoolGauges,
}

#[derive(Default)]
struct SpoolGauges {
    messages: Gauge,
    octets: Gauge,
    commits: Counter<u64, AtomicU64>,
    flushes: Counter<u64, AtomicU64>,
    flush_seconds: Gauge<f64, AtomicU64>,
    free: Gauge,
    quarantined: Gauge,
    failing: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("postroad");
        macro_rules! register {
            ($($metric:expr, $name:literal, $help:literal;)+) => { $(registry.register($name, $help, $metric.clone());)+ };
        }
        let spool = SpoolGauges::default();
        let metrics = Self {
            connections: Counter::default(),
            connections_refused: Counter::default(),
            sessions: Gauge::default(),
            replies: Family::default(),
            messages_accepted: Counter::default(),
            octets_accepted: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            tls_handshakes: Counter::default(),
            tls_failures: Counter::default(),
            panics: Counter::default(),
            delivered: Counter::default(),
            deferred: Counter::default(),
            failed: Counter::default(),
            content_in_memory: Gauge::default(),
            ledger_dropped: Counter::default(),
            ledger_failing: Gauge::default(),
            spool,
            registry: Registry::default(),
        };
        register! {
            metrics.connections, "connections", "Connections taken";
            metrics.connections_refused, "connections_refused", "Connections that got 421 for a limit, or 554 for speaking first, instead of a session";
            metrics.sessions, "sessions", "Sessions open now";
            metrics.replies, "replies", "Replies given, by their name and code";
            metrics.messages_accepted, "messages_accepted", "Messages answered 250 after their content";
            metrics.octets_accepted, "octets_accepted", "Octets of these messages";
            metrics.tls_handshakes, "tls_handshakes", "TLS handshakes that succeeded";
            metrics.tls_failures, "tls_failures", "TLS handshakes that failed";
            metrics.panics, "panics", "Faults of this program that were caught; please report";
            metrics.delivered, "delivered", "Recipients that got their message";
            metrics.deferred, "deferred", "Attempts that are to be made again";
            metrics.failed, "failed", "Recipients given up";
            metrics.content_in_memory, "content_in_memory_octets", "Content being received that is held in memory";
            metrics.ledger_dropped, "ledger_dropped", "Records that the ledger had no room for";
            metrics.ledger_failing, "ledger_failing", "1 while the ledger cannot be written";
            metrics.spool.messages, "spool_messages", "Messages waiting";
            metrics.spool.octets, "spool_octets", "Octets of their content";
            metrics.spool.commits, "spool_commits", "Messages made durable since the start";
            metrics.spool.flushes, "spool_flushes", "Flushes made for them";
            metrics.spool.flush_seconds, "spool_flush_seconds", "Time spent in these flushes";
            metrics.spool.free, "spool_free_over_reserve_octets", "Free disk space beyond the reserve";
            metrics.spool.quarantined, "spool_quarantined", "Records that could not be read and were set aside";
            metrics.spool.failing, "spool_failing", "1 while the last write or flush failed";
        }
        registry.register_with_unit(
            "commit",
            "From the end of content to durable",
            Unit::Seconds,
            metrics.commit_seconds.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Everything as text, with the store and the ledger as they are now and the octets of content held in memory.
    /// Counts a reply that is given.
    pub(crate) fn count(&self, reply: &Reply) {
        self.replies.get_or_create(&ReplyLabel { reply: reply.id().name(), code: reply.code() }).inc();
    }

    pub(crate) fn render(&self, status: &Status, ledger: &Health, in_memory: usize) -> String {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.content_in_memory.set(i64::try_from(in_memory).unwrap_or(i64::MAX));
        self.ledger_dropped.inner().store(ledger.dropped, Ordering::Relaxed);
        self.ledger_failing.set(i64::from(ledger.state == State::Broken));
        self.spool.messages.set(gauge(status.messages));
        self.spool.octets.set(gauge(status.bytes));
        self.spool.commits.inner().store(status.commits, Ordering::Relaxed);
        self.spool.flushes.inner().store(status.flushes, Ordering::Relaxed);
        self.spool.flush_seconds.set(std::time::Duration::from_nanos(status.flush_nanos).as_secs_f64());
        self.spool.free.set(status.free_over_reserve);
        self.spool.quarantined.set(gauge(status.quarantined));
        self.spool.failing.set(i64::from(status.failing));
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(std::fmt::Error) => String::new(),
        }
    }
}
