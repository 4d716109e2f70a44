//! A spool in memory: the behaviour of the real one without a disk, for tests.
//!
//! Nothing survives the process, so this is never to be used for mail that anybody wants.

use crate::ids::IdSource;
use crate::progress::Progress;
use crate::{Commit, Draft, Lease, Outcome, Spool, SpoolError, SpoolId, Status, Waiting};
use postroad_proto::envelope::Envelope;
use postroad_proto::time::UnixTime;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Wake = Arc<dyn Fn() + Send + Sync>;

/// A spool that forgets everything when it is dropped.
#[derive(Default)]
pub struct MemorySpool {
    shared: Arc<Shared>,
    ids: IdSource,
}

#[derive(Default)]
struct Shared {
    store: Mutex<Store>,
    wake: Mutex<Option<Wake>>,
}

#[derive(Default)]
struct Store {
    messages: BTreeMap<SpoolId, Message>,
    commits: u64,
}

struct Message {
    envelope: Envelope,
    content: Arc<[u8]>,
    progress: Progress,
    leased: bool,
    uncertain: bool,
}

impl MemorySpool {
    /// An empty spool.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wake) = wake {
            wake();
        }
    }
}

impl Message {
    fn show(&self, id: SpoolId) -> Waiting {
        Waiting {
            id,
            envelope: self.envelope.clone(),
            size: self.content.len() as u64,
            accepted: id.time(),
            due: self.progress.due.filter(|_| !self.leased),
            attempts: self.progress.attempts,
            recipients: self.progress.recipients.clone(),
        }
    }
}

impl Spool for MemorySpool {
    type Draft = MemoryDraft;

    fn begin(&self, now: UnixTime) -> Result<MemoryDraft, SpoolError> {
        Ok(MemoryDraft { id: self.ids.next(now), content: Vec::new() })
    }

    fn room_for(&self, _bytes: u64) -> Result<(), SpoolError> {
        Ok(())
    }

    fn commit(&self, draft: MemoryDraft, envelope: Envelope) -> Commit {
        let progress = Progress::new(envelope.recipients().len(), draft.id.time());
        let content = draft.content.into();
        {
            let mut store = self.shared.store();
            store.commits += 1;
            let message = Message { envelope, content, progress, leased: false, uncertain: false };
            store.messages.insert(draft.id, message);
        }
        self.shared.wake();
        Box::pin(std::future::ready(Ok(draft.id)))
    }

    fn lease(&self, now: UnixTime, limit: usize) -> Result<Vec<Lease>, SpoolError> {
        let mut store = self.shared.store();
        let mut due: Vec<(UnixTime, SpoolId)> = store
            .messages
            .iter()
            .filter(|(_, message)| !message.leased)
            .filter_map(|(&id, message)| message.progress.due.filter(|&due| due <= now).map(|due| (due, id)))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let mut leases = Vec::with_capacity(due.len());
        for (_, id) in due {
            let Some(message) = store.messages.get_mut(&id) else { continue };
            message.leased = true;
            let shared = Arc::clone(&self.shared);
            let give_back = move || {
                if let Some(message) = shared.store().messages.get_mut(&id) {
                    message.leased = false;
                    message.uncertain = true;
                }
                shared.wake();
            };
            leases.push(Lease {
                id,
                envelope: message.envelope.clone(),
                open_recipients: message.progress.open(),
                size: message.content.len() as u64,
                accepted: id.time(),
                attempts: message.progress.attempts,
                uncertain: message.uncertain,
                guard: Some(Box::new(give_back)),
            });
        }
        Ok(leases)
    }

    fn open(&self, id: SpoolId) -> Result<Box<dyn io::Read + Send>, SpoolError> {
        let content = self.shared.store().messages.get(&id).map(|message| Arc::clone(&message.content));
        let content = content.ok_or(SpoolError::Gone(id))?;
        Ok(Box::new(io::Cursor::new(content)))
    }

    fn settle(
        &self,
        mut lease: Lease,
        _now: UnixTime,
        outcomes: &[Outcome],
        next: UnixTime,
    ) -> Result<(), SpoolError> {
        lease.guard = None;
        {
            let mut store = self.shared.store();
            let message = store.messages.get_mut(&lease.id).ok_or(SpoolError::Gone(lease.id))?;
            message.leased = false;
            message.uncertain = false;
            message.progress.settle(&lease.open_recipients, outcomes, next);
            if message.progress.is_done() {
                store.messages.remove(&lease.id);
                return Ok(());
            }
        }
        self.shared.wake();
        Ok(())
    }

    fn discard(&self, id: SpoolId) -> Result<(), SpoolError> {
        self.shared.store().messages.remove(&id).map(|_| ()).ok_or(SpoolError::Gone(id))
    }

    fn next_due(&self) -> Option<UnixTime> {
        let store = self.shared.store();
        store.messages.values().filter(|message| !message.leased).filter_map(|m| m.progress.due).min()
    }

    fn on_due(&self, wake: Wake) {
        *self.shared.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }

    fn list(&self, after: Option<SpoolId>, limit: usize) -> Result<Vec<Waiting>, SpoolError> {
        let store = self.shared.store();
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = store.messages.range((from, std::ops::Bound::Unbounded));
        Ok(range.take(limit).map(|(&id, message)| message.show(id)).collect())
    }

    fn show(&self, id: SpoolId) -> Result<Option<Waiting>, SpoolError> {
        Ok(self.shared.store().messages.get(&id).map(|message| message.show(id)))
    }

    fn free_over_reserve(&self) -> i64 {
        i64::MAX
    }

    fn status(&self) -> Status {
        let store = self.shared.store();
        Status {
            messages: store.messages.len() as u64,
            bytes: store.messages.values().map(|message| message.content.len() as u64).sum(),
            commits: store.commits,
            flushes: store.commits,
            free_over_reserve: i64::MAX,
            ..Status::default()
        }
    }
}

/// A message being received into a [`MemorySpool`].
pub struct MemoryDraft {
    id: SpoolId,
    content: Vec<u8>,
}

impl Draft for MemoryDraft {
    fn id(&self) -> SpoolId {
        self.id
    }

    fn append(&mut self, chunk: Vec<u8>) -> Result<(), SpoolError> {
        if self.content.is_empty() {
            self.content = chunk;
        } else {
            self.content.extend_from_slice(&chunk);
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn size(&self) -> u64 {
        self.content.len() as u64
    }

    fn in_memory(&self) -> usize {
        self.content.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecipientState;
    use crate::testing::{envelope, ready};
    use postroad_proto::reply::Refusal;
    use std::io::Read;

    #[test]
    fn a_message_is_leased_deferred_and_delivered() {
        let spool = MemorySpool::new();
        let now = UnixTime(1_000);
        let mut draft = spool.begin(now).unwrap();
        draft.append(b"Subject: x\r\n".to_vec()).unwrap();
        draft.append(b"\r\nhello\r\n".to_vec()).unwrap();
        let id = ready(spool.commit(draft, envelope(2))).unwrap();
        assert_eq!(spool.next_due(), Some(now));
        let lease = spool.lease(now, 10).unwrap().pop().unwrap();
        assert_eq!((lease.id, lease.open_recipients.as_slice()), (id, [0, 1].as_slice()));
        assert!(spool.lease(now, 10).unwrap().is_empty(), "handed to nobody else");
        drop(lease);
        let lease = spool.lease(now, 10).unwrap().pop().unwrap();
        assert!(lease.uncertain, "the first lease was given back without an outcome");
        let later = UnixTime(5_000);
        spool
            .settle(lease, now, &[Outcome::Delivered, Outcome::Deferred(Refusal::trouble())], later)
            .unwrap();
        assert!(spool.lease(now, 10).unwrap().is_empty());
        let shown = spool.show(id).unwrap().unwrap();
        assert_eq!((shown.due, shown.attempts), (Some(later), 1));
        assert!(matches!(
            shown.recipients.as_slice(),
            [RecipientState::Delivered, RecipientState::Deferred(_)]
        ));
        let mut content = String::new();
        spool.open(id).unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "Subject: x\r\n\r\nhello\r\n");
        let lease = spool.lease(later, 10).unwrap().pop().unwrap();
        assert_eq!(lease.open_recipients, [1]);
        spool.settle(lease, later, &[Outcome::Delivered], later).unwrap();
        assert_eq!(spool.status().messages, 0);
        assert!(matches!(spool.open(id), Err(SpoolError::Gone(_))));
    }

    #[test]
    fn what_failed_for_good_waits_until_it_is_discarded() {
        let spool = MemorySpool::new();
        let id = ready(spool.commit(spool.begin(UnixTime(1)).unwrap(), envelope(1))).unwrap();
        let lease = spool.lease(UnixTime(1), 1).unwrap().pop().unwrap();
        spool.settle(lease, UnixTime(1), &[Outcome::Failed(Refusal::trouble())], UnixTime(2)).unwrap();
        assert_eq!(spool.next_due(), None);
        assert_eq!(spool.list(None, 10).unwrap().len(), 1);
        spool.discard(id).unwrap();
        assert!(spool.show(id).unwrap().is_none());
    }
}
