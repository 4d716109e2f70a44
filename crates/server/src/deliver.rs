//! Makes directory, agent and runner from the configuration, and tells the log what they do.

use crate::clock::Clock;
use crate::config::{Config, LineEnds};
use crate::metrics::Metrics;
use crate::record::{Came, Records, sender_text};
use crate::shared::Room;
use crate::shown::Addresses;
use postroad_delivery::agent::maildir::{
    FlushBy, LineEnds as AgentLineEnds, MaildirAgent, MaildirSettings, Promise,
};
use postroad_delivery::directory::{
    Alias, Directory, DirectorySettings, DomainSettings, Unlisted, domain_key,
};
use postroad_delivery::observer::{Event, Observer};
use postroad_delivery::route::{Override, Quota, Route};
use postroad_delivery::runner::{Clock as DeliveryClock, RunnerSettings};
use postroad_delivery::schedule::Schedule;
use postroad_proto::addr::{Mailbox, ReversePath};
use postroad_proto::envelope::Envelope;
use postroad_proto::reply::Refusal;
use postroad_proto::time::UnixTime;
use postroad_spool::{SpoolId, quarantined};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::{error, info, warn};

impl DeliveryClock for Clock {
    fn unix(&self) -> UnixTime {
        Self::unix(self)
    }
}

/// Who is who.
pub(crate) fn directory(config: &Config) -> Result<Directory, String> {
    let domains = config.domains.values().map(|domain| {
        let mut aliases: Vec<Alias> = domain
            .aliases
            .iter()
            .map(|(name, targets)| Alias { name: name.clone(), targets: targets.clone() })
            .collect();
        let postmaster_is_known =
            domain.mailboxes.contains("postmaster") || domain.aliases.contains_key("postmaster");
        if !postmaster_is_known && !domain.postmaster.is_empty() {
            aliases.push(Alias { name: "postmaster".to_owned(), targets: domain.postmaster.clone() });
        }
        DomainSettings {
            name: domain.name.clone(),
            mailboxes: domain.mailboxes.iter().cloned().collect(),
            aliases,
            catch_all: domain.catch_all.clone().unwrap_or_default(),
            separator: domain.plus,
        }
    });
    let unlisted = if config.accept_any { Unlisted::Take } else { Unlisted::Refuse };
    // The domain of `postmaster` comes first: it is where <Postmaster> without a domain goes.
    let mut domains: Vec<DomainSettings> = domains.collect();
    let home = domain_key(config.postmaster.domain());
    domains.sort_by_key(|domain| domain_key(&domain.name) != home);
    Directory::build(&DirectorySettings { domains, unlisted }).map_err(|errors| all(&errors))
}

/// The agent that delivers into Maildirs, and knows their quotas.
pub(crate) fn agent(config: &Config, directory: &Directory) -> Result<MaildirAgent, String> {
    let delivery = &config.delivery;
    let template = delivery.maildir.within(&config.data);
    let place = template.to_string();
    let limit = |value: u64| (value > 0).then_some(value);
    let quota = Quota { bytes: limit(delivery.quota_bytes), messages: limit(delivery.quota_messages) };
    let overrides = config.domains.values().flat_map(|domain| {
        domain.quota.iter().filter_map(|(local, bytes)| {
            let mailbox = Mailbox::new(local, domain.name.clone()).ok()?;
            Some(Override { mailbox, maildir: None, quota: Some(Quota { bytes: limit(*bytes), ..quota }) })
        })
    });
    let route = Route::new(template, quota, overrides.collect(), directory)
        .map_err(|error| format!("delivery.maildir: {error}"))?;
    let settings = MaildirSettings {
        route,
        host: config.hostname.to_string(),
        line_ends: match delivery.line_ends {
            LineEnds::Crlf => AgentLineEnds::Crlf,
            LineEnds::Lf => AgentLineEnds::Lf,
        },
        flush_by: FlushBy::default(),
        full_is_permanent_after: delivery.quota_permanent_after,
    };
    MaildirAgent::open(settings)
        .map_err(|error| format!("delivery.maildir: the directory of {place} cannot be made: {error}"))
}

/// How the runner works.
pub(crate) fn runner_settings(config: &Config) -> RunnerSettings {
    let schedule = Schedule::new(config.delivery.retry.clone(), config.delivery.expire).unwrap_or_default();
    let (workers, paused) = (config.delivery.workers, config.delivery.paused);
    RunnerSettings { workers, schedule, paused, ..RunnerSettings::default() }
}

/// Quotas at RCPT and at the end of the content.
pub(crate) struct QuotaRoom {
    pub(crate) agent: Arc<MaildirAgent>,
    pub(crate) clock: Clock,
}

impl Room for QuotaRoom {
    fn refusal(&self, mailbox: &Mailbox, size: Option<u64>) -> Option<Refusal> {
        self.agent.quota_verdict(mailbox, size.unwrap_or(0), self.clock.unix())
    }

    fn told(&self, mailbox: &Mailbox) -> Vec<(&'static str, u64)> {
        let Some((used, quota)) = self.agent.quota_known(mailbox) else { return Vec::new() };
        let limits = [("limit", quota.bytes), ("messages-limit", quota.messages)];
        let limits = limits.into_iter().filter_map(|(name, limit)| limit.map(|limit| (name, limit)));
        [("used", used.bytes), ("messages", used.messages)]
            .into_iter()
            .filter_map(|(name, used)| used.map(|used| (name, used)))
            .chain(limits)
            .collect()
    }

    fn is_limited(&self) -> bool {
        self.agent.has_quotas()
    }

    fn promise(&self, id: SpoolId, envelope: &Envelope, size: u64) -> (Promise, Vec<(Mailbox, Refusal)>) {
        self.agent.promise(id, envelope, size, self.clock.unix())
    }
}

/// Writes what came of attempts into log and metrics.
pub(crate) struct Narrator {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) records: Option<Arc<Records>>,
    pub(crate) addresses: Addresses,
    /// The spool's directory.
    pub(crate) spool: PathBuf,
}

impl Narrator {
    fn record(&self, id: SpoolId, from: &ReversePath, to: &Mailbox, agent: &str, came: &Came<'_>) {
        if let Some(records) = &self.records {
            let from = sender_text(from);
            records.attempt(&id.to_string(), (&from, &to.to_string()), agent, came);
        }
    }
}

impl Observer for Narrator {
    fn observe(&self, event: &Event<'_>) {
        let shown = self.addresses;
        match event {
            Event::Delivered { id, sender, recipient, agent, waited } => {
                self.metrics.delivered.inc();
                let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                info!(%id, recipient = %shown.mailbox(&recipient.mailbox), agent, waited_ms, "delivered");
                self.record(*id, sender, &recipient.mailbox, agent, &Came::Delivered(*waited));
            }
            Event::Deferred { id, sender, recipient, agent, refusal, cause, next } => {
                self.metrics.deferred.inc();
                warn!(
                    %id, recipient = %shown.mailbox(&recipient.mailbox), agent, reply = %shown.reply(refusal.reply()), cause = cause.map(|cause| shown.cause(cause)).as_deref(), next = %next.rfc3339(),
                    "deferred"
                );
                self.record(*id, sender, &recipient.mailbox, agent, &Came::Deferred(refusal.reply(), *next));
            }
            Event::Failed { id, sender, recipient, agent, refusal, cause } => {
                self.metrics.failed.inc();
                error!(%id, recipient = %shown.mailbox(&recipient.mailbox), agent, reply = %shown.reply(refusal.reply()), cause = cause.map(|cause| shown.cause(cause)).as_deref(), "failed");
                self.record(*id, sender, &recipient.mailbox, agent, &Came::Failed(refusal.reply()));
            }
            Event::SetAside { id, sender, recipients, accepted } => {
                let lies = quarantined(&self.spool).unwrap_or_default();
                let record = lies.into_iter().find(|found| found.id == Some(*id)).map(|found| found.file);
                let record = record.unwrap_or_else(|| self.spool.join("quarantine"));
                let from = match sender {
                    ReversePath::Mailbox(mailbox) => shown.mailbox(mailbox).to_string(),
                    ReversePath::Null => "<>".to_owned(),
                };
                let to: Vec<String> =
                    recipients.iter().map(|one| shown.mailbox(&one.mailbox).to_string()).collect();
                error!(
                    %id, from, to = to.join(", "), accepted = %accepted.rfc3339(), record = %record.display(),
                    "a message that was accepted cannot be read back; it was set aside and is not tried again: keep the record, look at the disk, and ask the sender to send it again"
                );
            }
            Event::AgentBroke { ids, agent, cause } => {
                self.metrics.panics.inc();
                error!(?ids, agent, cause = %shown.cause(cause), "a fault of this program; please report it");
            }
            Event::SpoolTrouble { cause } => error!(cause = %shown.cause(cause), "the spool had trouble"),
            unknown => warn!(?unknown, "an event this server does not know"),
        }
    }
}

fn all<E: Display>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
