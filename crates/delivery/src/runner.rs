//! Takes messages that are due, hands them to the agent, settles what came of it.
//!
//! RFC 5321 §4.5.4.1 (retries), §6.1 (what was accepted is delivered or reported). A few threads do
//! rounds: lease a batch, deliver, settle each. What waits while a round runs is the next batch, so
//! batches grow with the load and a lone message goes at once. An agent that panics defers its
//! messages; nothing that goes wrong here ends a thread or loses a message.
//! Left out: bounces for what failed (it stays in the spool for them), and any choice of an agent.

use crate::agent::{Contents, DeliveryAgent, Report};
use crate::observer::{Event, Observer};
use crate::schedule::Schedule;
use postroad_proto::reply::{Refusal, Reply, ReplyId};
use postroad_proto::time::UnixTime;
use postroad_spool::{Lease, Outcome, Spool, SpoolError, SpoolId};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn unix(&self) -> UnixTime;
}

/// How long a thread sleeps at most, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
/// How long it sleeps at least, where a message is due that it did not get.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);
/// The pause after the spool had trouble.
const PAUSE: Duration = Duration::from_secs(1);
/// How many messages are remembered whose outcome could not be written down.
const MAX_UNSETTLED: usize = 10_000;

/// How a [`Runner`] works.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain data, written out by the configuration")]
pub struct RunnerSettings {
    /// Threads; at least one is used. Two keep a disk busy: one writes while the other's flush runs.
    pub workers: usize,
    /// Messages in one round, at most.
    pub batch: usize,
    /// When to try again.
    pub schedule: Schedule,
    /// Begin with a pause: no round is done until [`Runner::resume`].
    pub paused: bool,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        Self { workers: 2, batch: 256, schedule: Schedule::default(), paused: false }
    }
}

/// What it takes to do a round: a spool, an agent, a schedule.
pub struct Deliveries<S> {
    spool: Arc<S>,
    agent: Arc<dyn DeliveryAgent>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    settings: RunnerSettings,
    /// Delivered, but the spool could not write it down: the agent has to look before it delivers again.
    unsettled: Mutex<BTreeSet<SpoolId>>,
}

/// The spool as the agent reads it; remembers what the spool could not read and set aside.
struct Watched<'a, S> {
    spool: &'a S,
    set_aside: &'a Mutex<BTreeSet<SpoolId>>,
}

impl<S: Spool> Contents for Watched<'_, S> {
    fn open(&self, id: SpoolId) -> Result<Box<dyn Read + Send>, SpoolError> {
        self.spool.open(id).inspect_err(|error| {
            if let SpoolError::Corrupt(id) = error {
                lock(self.set_aside).insert(*id);
            }
        })
    }
}

/// The outcome as the queue keeps it. What waits is looked at by the operator alone, who needs the cause;
/// what failed is told to the sender, who must not see it.
fn for_the_queue(report: Report) -> Outcome {
    match (report.outcome, report.cause) {
        (Outcome::Deferred(refusal), Some(cause)) => {
            let reply = refusal.reply();
            let text = format!("{} ({cause})", reply.text());
            Outcome::Deferred(Refusal::try_from(Reply::saying(reply.id(), text)).unwrap_or(refusal))
        }
        (outcome, _) => outcome,
    }
}

impl<S: Spool> Deliveries<S> {
    /// Deliveries from `spool` by `agent`.
    pub fn new(
        spool: Arc<S>,
        agent: Arc<dyn DeliveryAgent>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
        settings: RunnerSettings,
    ) -> Self {
        Self { spool, agent, clock, observer, settings, unsettled: Mutex::default() }
    }

    /// One round on the caller's thread: attempts what is due now, at most a batch, and says how many
    /// messages that were.
    pub fn round(&self) -> Result<usize, SpoolError> {
        let mut leases =
            self.spool.lease(self.clock.unix(), self.settings.batch.max(1)).inspect_err(|error| {
                let cause = format!("what is due could not be leased: {error}");
                self.observer.observe(&Event::SpoolTrouble { cause: &cause });
            })?;
        let count = leases.len();
        if count == 0 {
            return Ok(0);
        }
        for lease in &mut leases {
            lease.uncertain |= lock(&self.unsettled).contains(&lease.id);
        }
        let set_aside = Mutex::default();
        let contents = Watched { spool: &*self.spool, set_aside: &set_aside };
        let reports = self.attempt(&mut leases, &contents);
        let mut trouble = None;
        for (lease, reports) in leases.into_iter().zip(reports) {
            if lock(&set_aside).contains(&lease.id) {
                self.tell_set_aside(&lease, &reports);
                continue;
            }
            if let Err(error) = self.settle(lease, reports) {
                trouble = Some(error);
            }
        }
        trouble.map_or(Ok(count), Err)
    }

    /// The agent's reports, one for each open recipient, whatever the agent does.
    fn attempt(&self, leases: &mut [Lease], contents: &dyn Contents) -> Vec<Vec<Report>> {
        let cause = match self.call_agent(leases, contents) {
            Ok(reports) => return reports,
            Err(cause) => cause,
        };
        self.report_break(leases, &cause);
        if let [alone] = leases {
            return vec![broken(alone, &cause)];
        }
        // One message must not hold up the others: each is tried alone. Some may have been delivered.
        let mut reports = Vec::with_capacity(leases.len());
        for lease in leases.iter_mut() {
            lease.uncertain = true;
            let single = std::slice::from_mut(lease);
            match self.call_agent(single, contents) {
                Ok(own) => reports.extend(own),
                Err(cause) => {
                    self.report_break(single, &cause);
                    reports.push(broken(lease, &cause));
                }
            }
        }
        reports
    }

    /// Calls the agent; an error says how it broke its contract.
    fn call_agent(&self, leases: &[Lease], contents: &dyn Contents) -> Result<Vec<Vec<Report>>, String> {
        let now = self.clock.unix();
        let call = AssertUnwindSafe(|| self.agent.deliver(now, leases, contents));
        let reports = catch_unwind(call).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            format!("panicked: {}", text.unwrap_or("without a text"))
        })?;
        let fit = reports.len() == leases.len()
            && reports
                .iter()
                .zip(leases)
                .all(|(reports, lease)| reports.len() == lease.open_recipients.len());
        if fit { Ok(reports) } else { Err("gave the wrong number of reports".into()) }
    }

    fn report_break(&self, leases: &[Lease], cause: &str) {
        let ids: Vec<SpoolId> = leases.iter().map(|lease| lease.id).collect();
        self.observer.observe(&Event::AgentBroke { ids: &ids, agent: self.agent.name(), cause });
    }

    fn settle(&self, lease: Lease, mut reports: Vec<Report>) -> Result<(), SpoolError> {
        let now = self.clock.unix();
        let next = self.settings.schedule.next(lease.accepted, lease.attempts, now);
        if next.is_none() {
            for report in &mut reports {
                self.give_up(report);
            }
        }
        let next = next.unwrap_or(now);
        self.tell(&lease, &reports, now, next);
        let id = lease.id;
        let outcomes: Vec<Outcome> = reports.into_iter().map(for_the_queue).collect();
        let settled = self.spool.settle(lease, now, &outcomes, next);
        let mut unsettled = lock(&self.unsettled);
        match &settled {
            // by an operator's hand, while the attempt ran
            Ok(()) | Err(SpoolError::Gone(_)) => {
                unsettled.remove(&id);
                return Ok(());
            }
            Err(error) => {
                if unsettled.len() < MAX_UNSETTLED {
                    unsettled.insert(id);
                }
                let cause = format!("the outcome of {id} could not be written down: {error}");
                self.observer.observe(&Event::SpoolTrouble { cause: &cause });
            }
        }
        settled
    }

    /// A message that was deferred for as long as the schedule allows has failed.
    fn give_up(&self, report: &mut Report) {
        if let Outcome::Deferred(refusal) = &report.outcome {
            let kept = in_words(self.settings.schedule.give_up_after());
            let last = refusal.reply();
            let text = format!("Given up after {kept}; the last reason was: {}", last.text());
            let refusal =
                Refusal::try_from(Reply::saying(last.id(), text)).unwrap_or_else(|_| refusal.clone());
            report.outcome = Outcome::Failed(refusal);
        }
    }

    /// The message is out of the queue: nothing is settled, and nothing comes next for who does not have
    /// it.
    fn tell_set_aside(&self, lease: &Lease, reports: &[Report]) {
        let now = self.clock.unix();
        let (id, agent) = (lease.id, self.agent.name());
        let mut without = Vec::new();
        for (&index, report) in lease.open_recipients.iter().zip(reports) {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            let Some(recipient) = lease.envelope.recipients().get(at) else { continue };
            if report.outcome == Outcome::Delivered {
                let waited = now.since(lease.accepted);
                self.observer.observe(&Event::Delivered {
                    id,
                    sender: lease.envelope.sender(),
                    recipient,
                    agent,
                    waited,
                });
            } else {
                without.push(recipient);
            }
        }
        let (sender, accepted) = (lease.envelope.sender(), lease.accepted);
        self.observer.observe(&Event::SetAside { id, sender, recipients: &without, accepted });
    }

    fn tell(&self, lease: &Lease, reports: &[Report], now: UnixTime, next: UnixTime) {
        let agent = self.agent.name();
        let (id, sender) = (lease.id, lease.envelope.sender());
        for (&index, report) in lease.open_recipients.iter().zip(reports) {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            let Some(recipient) = lease.envelope.recipients().get(at) else { continue };
            let cause = report.cause.as_deref();
            self.observer.observe(&match &report.outcome {
                Outcome::Delivered => {
                    Event::Delivered { id, sender, recipient, agent, waited: now.since(lease.accepted) }
                }
                Outcome::Deferred(refusal) => {
                    Event::Deferred { id, sender, recipient, agent, refusal, cause, next }
                }
                Outcome::Failed(refusal) => Event::Failed { id, sender, recipient, agent, refusal, cause },
            });
        }
    }
}

/// Every recipient waits, because the agent is broken.
fn broken(lease: &Lease, cause: &str) -> Vec<Report> {
    let report = Report::deferred(ReplyId::LocalTrouble, cause);
    vec![report; lease.open_recipients.len()]
}

/// Threads that do rounds until they are stopped.
pub struct Runner {
    control: Arc<Control>,
}

/// Whether all threads ended in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "they did or they did not")]
pub enum Stopped {
    /// Every attempt was settled.
    Clean,
    /// Attempts were still under way; their messages are looked for before they are delivered again.
    Late,
}

#[derive(Default)]
struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Goes up whenever there may be something to do.
    signals: u64,
    paused: bool,
    stopping: bool,
    running: usize,
}

impl Runner {
    /// Starts the threads.
    pub fn start<S: Spool>(deliveries: Deliveries<S>) -> io::Result<Self> {
        let deliveries = Arc::new(deliveries);
        let control = Arc::new(Control::default());
        lock(&control.state).paused = deliveries.settings.paused;
        let runner = Self { control: Arc::clone(&control) };
        let waker = Arc::clone(&control);
        deliveries.spool.on_due(Arc::new(move || waker.wake_one()));
        for number in 0..deliveries.settings.workers.max(1) {
            let (deliveries, control) = (Arc::clone(&deliveries), Arc::clone(&control));
            lock(&control.state).running += 1;
            let name = format!("delivery-{number}");
            let started = thread::Builder::new().name(name).spawn({
                let control = Arc::clone(&control);
                move || {
                    let _ended = Ended(&control);
                    work(&deliveries, &control);
                }
            });
            if let Err(error) = started {
                lock(&control.state).running -= 1;
                return Err(error); // dropping the runner stops those that started
            }
        }
        Ok(runner)
    }

    /// Begins no further rounds until [`Runner::resume`].
    pub fn pause(&self) {
        self.control.change(|state| state.paused = true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.control.change(|state| state.paused = false);
    }

    /// Looks anew at what is due; for a clock that was set.
    pub fn wake(&self) {
        self.control.change(|_| {});
    }

    /// Begins no further rounds and waits, at most `within`, for those under way.
    pub fn stop(self, within: Duration) -> Stopped {
        self.control.change(|state| state.stopping = true);
        let state = lock(&self.control.state);
        let waited = self.control.changed.wait_timeout_while(state, within, |state| state.running > 0);
        let (state, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.running == 0 { Stopped::Clean } else { Stopped::Late }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.control.change(|state| state.stopping = true);
    }
}

impl Control {
    fn change(&self, with: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        with(&mut state);
        state.signals = state.signals.wrapping_add(1);
        drop(state);
        self.changed.notify_all();
    }

    fn wake_one(&self) {
        let mut state = lock(&self.state);
        state.signals = state.signals.wrapping_add(1);
        drop(state);
        self.changed.notify_one();
    }

    /// Sleeps until there is a signal that is not `seen`, or for `at_most`.
    fn sleep(&self, seen: u64, at_most: Duration) {
        let idle = |state: &mut State| state.signals == seen && !state.stopping;
        drop(self.changed.wait_timeout_while(lock(&self.state), at_most, idle));
    }
}

/// Says that a thread has ended, however it ended.
struct Ended<'a>(&'a Control);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.running = state.running.saturating_sub(1));
    }
}

fn work<S: Spool>(deliveries: &Deliveries<S>, control: &Control) {
    loop {
        let (seen, paused) = {
            let state = lock(&control.state);
            if state.stopping {
                return;
            }
            (state.signals, state.paused)
        };
        if paused {
            control.sleep(seen, LONGEST_SLEEP);
            continue;
        }
        // the agent's panics are caught inside; this is for an observer's or a spool's
        match catch_unwind(AssertUnwindSafe(|| deliveries.round())) {
            Ok(Ok(0)) => {
                let now = deliveries.clock.unix();
                let due = deliveries.spool.next_due().map_or(LONGEST_SLEEP, |due| due.since(now));
                control.sleep(seen, due.clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => control.rest(PAUSE),
        }
    }
}

impl Control {
    /// Sleeps for `span` whatever is signalled, but not past a stop.
    fn rest(&self, span: Duration) {
        drop(self.changed.wait_timeout_while(lock(&self.state), span, |state| !state.stopping));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
/// A time in its largest whole unit up to hours: `120 hours`, `45 minutes`, `1 second`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        3600.. => (seconds / 3600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        for (seconds, words) in [
            (432_000, "120 hours"),
            (3600, "1 hour"),
            (3599, "59 minutes"),
            (60, "1 minute"),
            (1, "1 second"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
