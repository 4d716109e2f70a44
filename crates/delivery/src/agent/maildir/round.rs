//! One round: a few messages, written together, flushed together, published together.

use super::content::{self, Content, HELD, LineEnds};
use super::flush::{Flusher, chain};
use super::layout;
use super::quota::{Account, Over, Usage};
use super::{MaildirAgent, reply_to};
use crate::agent::{Contents, Report};
use crate::route::Destination;
use postroad_proto::envelope::{Body, Recipient};
use postroad_proto::reply::ReplyId;
use postroad_proto::time::UnixTime;
use postroad_spool::{Lease, SpoolError, SpoolId};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The reports for these leases.
pub(super) fn deliver(
    agent: &MaildirAgent,
    now: UnixTime,
    leases: &[Lease],
    contents: &dyn Contents,
) -> Vec<Vec<Report>> {
    let mut round = Round { agent, now, places: Vec::new(), flushers: BTreeMap::new() };
    let mut jobs = round.plan(leases);
    for of_one in jobs.chunk_by_mut(|one, next| one.lease == next.lease) {
        let lease = of_one.first().and_then(|job| leases.get(job.lease));
        if let Some(lease) = lease {
            round.write(lease, of_one, contents);
        }
    }
    round.flush_files(&mut jobs);
    round.publish(&mut jobs);
    round.flush_directories(&mut jobs);
    round.settle(&jobs);
    let mut reports: Vec<Vec<Report>> = leases.iter().map(|_| Vec::new()).collect();
    for job in jobs {
        let report = match job.state {
            State::Visible { .. } => Report::delivered(),
            State::Refused(report) => report,
            State::Planned | State::Written { .. } => {
                Report::deferred(ReplyId::LocalTrouble, "the round ended before this file was published")
            }
        };
        if let Some(of_lease) = reports.get_mut(job.lease) {
            of_lease.push(report);
        }
    }
    reports
}

struct Round<'a> {
    agent: &'a MaildirAgent,
    now: UnixTime,
    places: Vec<Place>,
    /// By device.
    flushers: BTreeMap<u64, Flusher>,
}

/// A Maildir of this round.
struct Place {
    destination: Destination,
    account: Option<Arc<Account>>,
    reserved: Usage,
    /// Whether this process has not yet made sure that the directories are durable.
    fresh: bool,
    /// The device it lies on, or why it cannot be used.
    device: Result<u64, Report>,
}

/// One file to deliver.
struct Job<'a> {
    lease: usize,
    recipient: &'a Recipient,
    place: usize,
    unique: String,
    tmp: PathBuf,
    id: SpoolId,
    /// Octets that are set aside for it.
    reserved: u64,
    state: State,
}

enum State {
    Planned,
    /// In `tmp`, of this size.
    Written {
        size: u64,
    },
    /// In `new` or `cur`. The size is that of a file of this round; none if it was there before.
    Visible {
        part: &'static str,
        size: Option<u64>,
    },
    Refused(Report),
}

impl Round<'_> {
    /// One job for each open recipient, in order, and the Maildirs they need.
    fn plan<'l>(&mut self, leases: &'l [Lease]) -> Vec<Job<'l>> {
        let mut by_path: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut jobs = Vec::new();
        for (lease_at, lease) in leases.iter().enumerate() {
            for &index in &lease.open_recipients {
                let recipient =
                    usize::try_from(index).ok().and_then(|at| lease.envelope.recipients().get(at));
                // the spool takes indices from this very envelope
                let Some(recipient) = recipient else { continue };
                let destination = self.agent.settings.route.destination(&recipient.mailbox);
                let unique = layout::unique_name(lease.id, index, &self.agent.settings.host);
                let tmp = destination.maildir.join("tmp").join(&unique);
                let place = *by_path.entry(destination.maildir.clone()).or_insert_with(|| {
                    let place = self.prepare(destination);
                    self.places.push(place);
                    self.places.len() - 1
                });
                jobs.push(Job {
                    lease: lease_at,
                    recipient,
                    place,
                    unique,
                    tmp,
                    id: lease.id,
                    reserved: 0,
                    state: State::Planned,
                });
            }
        }
        jobs
    }

    /// Sees to it that the Maildir is there, and that its device can be flushed.
    fn prepare(&mut self, destination: Destination) -> Place {
        let maildir = &destination.maildir;
        let there = std::fs::metadata(maildir).ok().filter(|_| self.agent.is_known(maildir, self.now));
        let fresh = there.is_none();
        let made = match there {
            Some(metadata) => Ok(metadata),
            None => layout::make(&destination.base, maildir).and_then(|()| std::fs::metadata(maildir)),
        };
        if fresh && made.is_ok() {
            layout::sweep(maildir, self.now);
        }
        let device = made.and_then(|metadata| {
            let device = metadata.dev();
            if let std::collections::btree_map::Entry::Vacant(slot) = self.flushers.entry(device) {
                slot.insert(Flusher::prepare(self.agent.settings.flush_by, maildir)?);
            }
            Ok(device)
        });
        let device = device.map_err(|error| fault("prepare", maildir, &error));
        let account = self.agent.account(&destination);
        Place { destination, account, reserved: Usage::default(), fresh, device }
    }

    /// Writes one message into the `tmp` of each of its Maildirs.
    fn write(&mut self, lease: &Lease, jobs: &mut [Job<'_>], contents: &dyn Contents) {
        let ends = match lease.envelope.body() {
            Body::BinaryMime => LineEnds::Crlf,
            Body::SevenBit | Body::EightBitMime => self.agent.settings.line_ends,
        };
        let mut held = None;
        for job in jobs {
            let trace = content::trace(lease.envelope.sender(), job.recipient, ends);
            if let Err(report) = self.admit(lease, job) {
                job.state = State::Refused(report);
                continue;
            }
            if !matches!(job.state, State::Planned) {
                continue;
            }
            let content = match held.get_or_insert_with(|| hold(lease, ends, contents)) {
                Ok(content) => content,
                Err(report) => {
                    job.state = State::Refused(report.clone());
                    continue;
                }
            };
            if let Err(over) = self.reserve(job, trace.len() as u64 + content.size(lease)) {
                job.state = State::Refused(over);
                continue;
            }
            job.state = match write_file(&job.tmp, &trace, content, lease, ends, contents) {
                Ok(size) => State::Written { size },
                Err(report) => {
                    remove(&job.tmp);
                    self.forget(job);
                    State::Refused(report)
                }
            };
        }
    }

    /// Whether the Maildir can be used, and whether the message is already there.
    fn admit(&self, lease: &Lease, job: &mut Job<'_>) -> Result<(), Report> {
        let Some(place) = self.places.get(job.place) else { return Ok(()) };
        place.device.clone()?;
        // After a crash a reader may have moved the file on; after an attempt that was deferred
        // because the last flush failed it may as well.
        if lease.uncertain || lease.attempts > 0 {
            let maildir = &place.destination.maildir;
            let earlier = layout::find_earlier(maildir, &job.unique)
                .map_err(|error| fault("look through", maildir, &error))?;
            if let Some(part) = earlier {
                job.state = State::Visible { part, size: None };
            }
        }
        Ok(())
    }

    fn reserve(&mut self, job: &mut Job<'_>, size: u64) -> Result<(), Report> {
        let Some(place) = self.places.get_mut(job.place) else { return Ok(()) };
        let Some(account) = &place.account else { return Ok(()) };
        let maildir = &place.destination.maildir;
        let over = match account.reserve(job.id, size, self.now) {
            Ok(Ok(())) => {
                job.reserved = size;
                place.reserved = place.reserved.plus(Usage::one(size));
                return Ok(());
            }
            Ok(Err(over)) => over,
            Err(error) => return Err(fault("count", maildir, &error)),
        };
        let cause = format!("{} has no room for {size} octets", maildir.display());
        Err(match over {
            Over::Full => Report::deferred(reply_to(over), cause),
            Over::FullForLong | Over::NeverFits => Report::failed(reply_to(over), cause),
        })
    }

    fn flush_files(&self, jobs: &mut [Job<'_>]) {
        for (device, flusher) in &self.flushers {
            let written = |job: &&Job<'_>| matches!(job.state, State::Written { .. });
            let paths: Vec<&Path> = jobs
                .iter()
                .filter(|job| self.is_on(job, *device))
                .filter(written)
                .map(|job| job.tmp.as_path())
                .collect();
            let Err(error) = flusher.flush_files(&paths) else { continue };
            for job in jobs.iter_mut().filter(|job| self.is_on(job, *device)) {
                if matches!(job.state, State::Written { .. }) {
                    remove(&job.tmp);
                    job.state = State::Refused(fault("flush", &job.tmp, &error));
                }
            }
        }
    }

    fn publish(&self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            let State::Written { size } = job.state else { continue };
            let Some(place) = self.places.get(job.place) else { continue };
            let new = layout::visible(&place.destination.maildir, &job.unique, size);
            job.state = match layout::publish(&job.tmp, &new) {
                Ok(()) => State::Visible { part: "new", size: Some(size) },
                Err(error) => {
                    remove(&job.tmp);
                    if error.kind() == io::ErrorKind::AlreadyExists {
                        // the name is made of message and recipient: an earlier attempt got this far
                        State::Visible { part: "new", size: None }
                    } else {
                        self.forget(job);
                        State::Refused(fault("publish", &new, &error))
                    }
                }
            };
        }
    }

    /// Makes durable what became visible, and the directories that are new; remembers these.
    fn flush_directories(&self, jobs: &mut [Job<'_>]) {
        for (device, flusher) in &self.flushers {
            let mut directories = Vec::new();
            for job in jobs.iter().filter(|job| self.is_on(job, *device)) {
                let (State::Visible { part, .. }, Some(place)) = (&job.state, self.places.get(job.place))
                else {
                    continue;
                };
                let Destination { maildir, base, .. } = &place.destination;
                directories.push(maildir.join(part));
                if place.fresh {
                    directories.extend(chain(base, maildir));
                }
            }
            directories.sort_unstable();
            directories.dedup();
            let paths: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
            let result = flusher.flush_directories(&paths);
            for job in jobs.iter_mut().filter(|job| self.is_on(job, *device)) {
                let (State::Visible { .. }, Some(place)) = (&job.state, self.places.get(job.place)) else {
                    continue;
                };
                let maildir = &place.destination.maildir;
                match &result {
                    Ok(()) if place.fresh => self.agent.remember(maildir, self.now),
                    Ok(()) => {}
                    Err(error) => job.state = State::Refused(fault("flush", maildir, error)),
                }
            }
        }
    }

    /// Writes the quotas down.
    fn settle(&self, jobs: &[Job<'_>]) {
        for (at, place) in self.places.iter().enumerate() {
            let Some(account) = &place.account else { continue };
            let delivered = jobs.iter().filter(|job| job.place == at).filter_map(|job| match job.state {
                State::Visible { size, .. } => size,
                State::Planned | State::Written { .. } | State::Refused(_) => None,
            });
            let delivered = delivered.fold(Usage::default(), |sum, size| sum.plus(Usage::one(size)));
            account.settle(place.reserved, delivered);
            for job in jobs.iter().filter(|job| job.place == at) {
                match job.state {
                    // found there, from an earlier attempt
                    State::Visible { size: None, .. } => account.release(job.id),
                    State::Refused(_) if job.reserved > 0 => account.keep(job.id, job.reserved, self.now),
                    State::Visible { .. } | State::Planned | State::Written { .. } | State::Refused(_) => {}
                }
            }
        }
    }

    fn is_on(&self, job: &Job<'_>, device: u64) -> bool {
        self.places.get(job.place).is_some_and(|place| place.device.as_ref().ok() == Some(&device))
    }

    /// After a fault the directories are looked at anew.
    fn forget(&self, job: &Job<'_>) {
        if let Some(place) = self.places.get(job.place) {
            self.agent.forget(&place.destination.maildir);
        }
    }
}

impl Content {
    /// How much this adds to a file, at most.
    fn size(&self, lease: &Lease) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::Streamed => lease.size,
        }
    }
}

fn hold(lease: &Lease, ends: LineEnds, contents: &dyn Contents) -> Result<Content, Report> {
    if lease.size > HELD {
        return Ok(Content::Streamed);
    }
    let mut reader = contents.open(lease.id).map_err(|error| unreadable(lease, &error))?;
    let bytes =
        content::hold(&mut *reader, lease.size, ends).map_err(|error| unreadable(lease, &error.into()))?;
    Ok(Content::Held(bytes))
}

/// Writes one file; returns its size.
fn write_file(
    path: &Path,
    trace: &str,
    content: &Content,
    lease: &Lease,
    ends: LineEnds,
    contents: &dyn Contents,
) -> Result<u64, Report> {
    let wrong = |error: io::Error| fault("write", path, &error);
    let mut file = create(path).map_err(wrong)?;
    match content {
        Content::Held(bytes) => {
            let mut whole = Vec::with_capacity(trace.len() + bytes.len());
            whole.extend_from_slice(trace.as_bytes());
            whole.extend_from_slice(bytes);
            file.write_all(&whole).map_err(wrong)?;
            Ok(whole.len() as u64)
        }
        Content::Streamed => {
            let mut reader = contents.open(lease.id).map_err(|error| unreadable(lease, &error))?;
            file.write_all(trace.as_bytes()).map_err(wrong)?;
            let written = content::stream(&mut *reader, lease.size, ends, &mut file).map_err(wrong)?;
            Ok(written.saturating_add(trace.len() as u64))
        }
    }
}

/// A new file in `tmp`. One of that name is what an attempt that was cut off left, because nobody else
/// has the lease.
fn create(path: &Path) -> io::Result<File> {
    let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            make()
        }
        done => done,
    }
}

/// Removes a file that is of no use; if that fails too, the sweep finds it.
fn remove(path: &Path) {
    drop(std::fs::remove_file(path));
}

/// A fault of the disk or of somebody's permissions.
fn fault(doing: &str, path: &Path, error: &io::Error) -> Report {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let id = if full { ReplyId::StorageFull } else { ReplyId::LocalTrouble };
    Report::deferred(id, format!("cannot {doing} {}: {error}", path.display()))
}

fn unreadable(lease: &Lease, error: &SpoolError) -> Report {
    Report::deferred(ReplyId::LocalTrouble, format!("cannot read message {}: {error}", lease.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_spool::Outcome;

    #[test]
    fn faults_defer_and_keep_paths_to_themselves() {
        for (kind, expected) in [
            (io::ErrorKind::StorageFull, "452 4.3.1"),
            (io::ErrorKind::QuotaExceeded, "452 4.3.1"),
            (io::ErrorKind::PermissionDenied, "451 4.3.0"),
            (io::ErrorKind::ReadOnlyFilesystem, "451 4.3.0"),
            (io::ErrorKind::Other, "451 4.3.0"),
        ] {
            let report = fault("write", Path::new("/var/mail/bob"), &kind.into());
            let Outcome::Deferred(refusal) = report.outcome else { panic!("{kind} does not defer") };
            let said = refusal.reply().to_string();
            assert!(said.starts_with(expected) && !said.contains("/var"), "{kind}: {said}");
            assert!(report.cause.unwrap().starts_with("cannot write /var/mail/bob: "));
        }
    }
}
