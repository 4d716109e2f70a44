//! Delivers into Maildirs, a batch at a time.
//!
//! RFC 5321 §4.4 (final delivery). A round: make what is missing of the Maildirs; write all files into
//! `tmp`; flush them together; move each into `new`, never over another; flush the directories; only
//! then is anything called delivered. A reader never sees a file that is not whole and durable.
//!
//! Faults defer: a full disk 452 4.3.1, a full mailbox 452 4.2.2, all else 451 4.3.0 with paths and
//! the system's errors in the private cause only. 5yz is left for a mailbox that has been full for
//! long (552 5.2.2) and a message larger than the mailbox (552 5.2.3).
//! Left out: folders, sieve, and other users' file permissions.

mod content;
mod flush;
mod layout;
mod quota;
mod round;

pub use content::LineEnds;
pub use flush::FlushBy;

use super::{Contents, DeliveryAgent, Report};
use crate::route::Quota;
use crate::route::{Destination, Route};
use postroad_proto::addr::Mailbox;
use postroad_proto::envelope::Envelope;
use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_proto::time::UnixTime;
use postroad_spool::{Lease, SpoolId};
use quota::{Account, Over};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many files are written before they are flushed together.
const MAX_FILES: usize = 1024;
/// How many Maildirs are remembered; beyond it the memory starts anew, which costs time only.
const MAX_REMEMBERED: usize = 100_000;
/// How often the `tmp` of a Maildir is looked through.
const SWEEP_EVERY: Duration = Duration::from_hours(36);

/// What a [`MaildirAgent`] needs to know.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain data, written out by the configuration")]
pub struct MaildirSettings {
    /// Where the mailboxes lie.
    pub route: Route,
    /// This host's name, for the names of files.
    pub host: String,
    /// How lines end in the files.
    pub line_ends: LineEnds,
    /// How files are made durable.
    pub flush_by: FlushBy,
    /// A mailbox that has been over its quota for longer fails messages instead of deferring them.
    pub full_is_permanent_after: Duration,
}

/// Delivers into Maildirs.
#[derive(Debug)]
pub struct MaildirAgent {
    settings: MaildirSettings,
    /// Maildirs that are durably there, and when their `tmp` was swept.
    known: Mutex<HashMap<PathBuf, UnixTime>>,
    accounts: Mutex<HashMap<PathBuf, Arc<Account>>>,
}

impl MaildirAgent {
    /// An agent with these settings. Makes the directory in front of the template's first placeholder;
    /// later nothing above a Maildir's own place is made, so that mail does not land beside a file
    /// system that is not mounted.
    pub fn open(mut settings: MaildirSettings) -> io::Result<Self> {
        let base = settings.route.base();
        let missing: Vec<&Path> = base.ancestors().take_while(|path| !path.exists()).collect();
        std::fs::create_dir_all(base)?;
        for made in missing {
            flush::flush_directory(made)?;
            made.parent().map_or(Ok(()), flush::flush_directory)?;
        }
        settings.host = layout::host_in_names(&settings.host);
        Ok(Self { settings, known: Mutex::default(), accounts: Mutex::default() })
    }

    /// Whether a message of `size` octets for this mailbox would be turned away for its quota, for
    /// RCPT (452 4.2.2, 552 5.2.2, 552 5.2.3). `size` is what the peer declared, 0 if nothing; the least
    /// that a trace header takes is added. Reads at most one small file, and that not more than every two
    /// seconds for a mailbox.
    pub fn quota_verdict(&self, mailbox: &Mailbox, size: u64, now: UnixTime) -> Option<Refusal> {
        let destination = self.settings.route.destination(mailbox);
        let over = self.account(&destination)?.verdict(size, now)?;
        Refusal::try_from(Reply::of(reply_to(over))).ok()
    }

    /// What of a mailbox's quota is in use, promises included, as far as it is known without counting; and the quota
    /// itself. Nothing where the mailbox has none.
    pub fn quota_known(&self, mailbox: &Mailbox) -> Option<(Quota, Quota)> {
        let account = self.account(&self.settings.route.destination(mailbox))?;
        Some(account.known())
    }

    /// Whether any mailbox has a quota.
    pub fn has_quotas(&self) -> bool {
        self.settings.route.has_quotas()
    }

    /// Promises room to a message of `size` octets that is about to be accepted, and tells for which
    /// mailboxes there is none. The promise ends with the delivery, or with [`Promise::withdraw`]. Where
    /// the room cannot be told now there is no refusal: the delivery will find out. May count files.
    pub fn promise(
        &self,
        id: SpoolId,
        envelope: &Envelope,
        size: u64,
        now: UnixTime,
    ) -> (Promise, Vec<(Mailbox, Refusal)>) {
        let mut promise = Promise { id, accounts: Vec::new() };
        let mut refused = Vec::new();
        for recipient in envelope.recipients() {
            let destination = self.settings.route.destination(&recipient.mailbox);
            let Some(account) = self.account(&destination) else { continue };
            let trace = content::trace(envelope.sender(), recipient, self.settings.line_ends);
            match account.promise(id, size.saturating_add(trace.len() as u64), now) {
                Ok(Ok(())) => promise.accounts.push(account),
                Ok(Err(over)) => refused.extend(
                    Refusal::try_from(Reply::of(reply_to(over)))
                        .ok()
                        .map(|refusal| (recipient.mailbox.clone(), refusal)),
                ),
                Err(_unreadable) => {}
            }
        }
        (promise, refused)
    }

    /// The account of a mailbox, if it has a quota.
    fn account(&self, destination: &Destination) -> Option<Arc<Account>> {
        if !destination.quota.is_limited() {
            return None;
        }
        let mut accounts = lock(&self.accounts);
        if let Some(account) = accounts.get(&destination.maildir).filter(|a| a.quota() == destination.quota) {
            return Some(Arc::clone(account));
        }
        if accounts.len() >= MAX_REMEMBERED {
            accounts.clear();
        }
        let account =
            Account::new(&destination.maildir, destination.quota, self.settings.full_is_permanent_after);
        let account = Arc::new(account);
        accounts.insert(destination.maildir.clone(), Arc::clone(&account));
        Some(account)
    }

    fn is_known(&self, maildir: &Path, now: UnixTime) -> bool {
        lock(&self.known).get(maildir).is_some_and(|swept| now.since(*swept) < SWEEP_EVERY)
    }

    fn remember(&self, maildir: &Path, now: UnixTime) {
        let mut known = lock(&self.known);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(maildir.into(), now);
    }

    fn forget(&self, maildir: &Path) {
        lock(&self.known).remove(maildir);
    }
}

/// Room that is kept for a message about to be accepted.
#[derive(Debug)]
#[must_use = "a message that is not accepted after all has to give its room back"]
pub struct Promise {
    id: SpoolId,
    accounts: Vec<Arc<Account>>,
}

impl Promise {
    /// Gives the room back: the message was not accepted.
    pub fn withdraw(self) {
        for account in &self.accounts {
            account.release(self.id);
        }
    }
}

impl DeliveryAgent for MaildirAgent {
    fn name(&self) -> &'static str {
        "maildir"
    }

    fn deliver(&self, now: UnixTime, batch: &[Lease], contents: &dyn Contents) -> Vec<Vec<Report>> {
        let mut reports = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while !rest.is_empty() {
            let mut files = 0;
            let fit = rest.iter().take_while(|lease| {
                files += lease.open_recipients.len();
                files <= MAX_FILES
            });
            let (part, later) = rest.split_at(fit.count().clamp(1, rest.len()));
            reports.extend(round::deliver(self, now, part, contents));
            rest = later;
        }
        reports
    }
}

fn reply_to(over: Over) -> ReplyId {
    match over {
        Over::NeverFits => ReplyId::TooBigForMailbox,
        Over::Full => ReplyId::MailboxFull,
        Over::FullForLong => ReplyId::MailboxFullForLong,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
