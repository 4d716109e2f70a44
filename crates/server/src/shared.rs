//! What all sessions of a server share.

use crate::clock::Clock;
use crate::config::{Config, ListenAddress, Listener, ListenerKind, ListenerTls};
use crate::connections::Connections;
use crate::metrics::Metrics;
use crate::record::Records;
use crate::tls::Tls;
use postroad_delivery::agent::maildir::Promise;
use postroad_delivery::directory::Directory;
use postroad_proto::addr::Mailbox;
use postroad_proto::envelope::Envelope;
use postroad_proto::reply::Refusal;
use postroad_proto::server::{BareNewline, ContentRules, Limits, Offer, Protocol, Rule, TlsOffer};
use postroad_spool::{Spool, SpoolId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Whether mailboxes have room for a message.
pub(crate) trait Room: Send + Sync {
    /// The refusal to give at RCPT, if there is none for the declared size.
    fn refusal(&self, mailbox: &Mailbox, size: Option<u64>) -> Option<Refusal>;
    /// What is known of a mailbox's quota, for the record: names and numbers.
    fn told(&self, mailbox: &Mailbox) -> Vec<(&'static str, u64)>;
    /// Whether there is anything to ask for.
    fn is_limited(&self) -> bool;
    /// Promises room to a message whose size is known now, and tells who has none. May block.
    fn promise(&self, id: SpoolId, envelope: &Envelope, size: u64) -> (Promise, Vec<(Mailbox, Refusal)>);
}

/// The server, as its sessions see it.
pub(crate) struct Shared<S> {
    pub(crate) clock: Clock,
    pub(crate) spool: Arc<S>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Arc<Connections>,
    /// The ledger, unless it is switched off.
    pub(crate) records: Option<Arc<Records>>,
    /// Octets of content that sessions and drafts hold in memory.
    pub(crate) in_flight: AtomicUsize,
    active: RwLock<Arc<Active>>,
}

/// The configuration in force and what was made from it. A session keeps the one it began with.
pub(crate) struct Active {
    pub(crate) config: Config,
    pub(crate) directory: Directory,
    pub(crate) room: Arc<dyn Room>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) listeners: BTreeMap<ListenAddress, Arc<ListenerSettings>>,
}

/// One listener with the offers its sessions get.
pub(crate) struct ListenerSettings {
    pub(crate) listener: Listener,
    /// Its address, as records name it.
    pub(crate) name: Arc<str>,
    /// Before TLS.
    pub(crate) plain: Arc<Offer>,
    /// Inside TLS.
    pub(crate) secured: Arc<Offer>,
}

impl<S: Spool> Shared<S> {
    pub(crate) fn new(
        clock: Clock,
        spool: Arc<S>,
        metrics: Arc<Metrics>,
        records: Option<Arc<Records>>,
        active: Active,
    ) -> Self {
        Self {
            clock,
            spool,
            metrics,
            connections: Arc::default(),
            records,
            in_flight: AtomicUsize::new(0),
            active: RwLock::new(Arc::new(active)),
        }
    }

    /// The configuration in force.
    pub(crate) fn active(&self) -> Arc<Active> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another configuration in force, for sessions that begin from now on.
    pub(crate) fn activate(&self, active: Active) {
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(active);
    }

    /// Counts memory for content: from what a session held before to what it holds now.
    pub(crate) fn recount(&self, before: usize, now: usize) {
        if now >= before {
            self.in_flight.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.in_flight.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

impl ListenerSettings {
    /// What is spoken here, for records.
    pub(crate) fn protocol(&self) -> &'static str {
        if self.plain.protocol == Protocol::Lmtp { "lmtp" } else { "smtp" }
    }

    pub(crate) fn new(config: &Config, listener: &Listener) -> Self {
        let limits = &listener.limits;
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let rule = |judgement| match judgement {
            crate::config::Judgement::Accept => Rule::Accept,
            crate::config::Judgement::Note => Rule::Note,
            crate::config::Judgement::Refuse => Rule::Refuse,
        };
        let mut offer = Offer::new(config.hostname.to_string());
        offer.record = config.ledger.enabled;
        offer.protocol = match listener.kind {
            ListenerKind::Mx => Protocol::Smtp,
            ListenerKind::Lmtp => Protocol::Lmtp,
        };
        offer.limits = Limits {
            message_size: limits.message_size,
            recipients: number(limits.recipients),
            command_line: limits.command_line,
            errors: number(limits.errors_per_session),
            chunks: number(limits.chunks_per_message),
            command_timeout: limits.command_timeout,
            content_timeout: limits.content_timeout,
            session_timeout: limits.session_timeout,
            min_rate: u32::try_from(limits.min_rate).unwrap_or(u32::MAX),
            received: number(limits.received_headers),
            header_size: limits.header_size,
            line_length: limits.line_length as u64,
        };
        offer.content = ContentRules {
            bare_newline: match listener.bare_newline {
                crate::config::BareNewline::Normalize => BareNewline::Normalize,
                crate::config::BareNewline::Reject => BareNewline::Reject,
            },
            missing_from: rule(config.content.missing_from),
            repeated_from: rule(config.content.repeated_from),
            missing_date: rule(config.content.missing_date),
            long_line: rule(config.content.long_line),
            large_header: rule(config.content.large_header),
        };
        let mut secured = offer.clone();
        secured.tls = TlsOffer::Active;
        offer.tls = match listener.tls {
            ListenerTls::Starttls => TlsOffer::Offered,
            ListenerTls::Off | ListenerTls::Implicit => TlsOffer::Absent,
        };
        Self {
            listener: listener.clone(),
            name: listener.address.to_string().into(),
            plain: Arc::new(offer),
            secured: Arc::new(secured),
        }
    }
}
