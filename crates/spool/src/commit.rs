//! The committer: one write and one flush for all that waits.
//!
//! Only this thread writes to the active segment, front to back. While it flushes, what arrives
//! gathers in the queue and is the next batch. A batch whose write or flush fails is made void
//! before anyone is answered, and the rest of its segment is not used (docs/spool.md §4).

use crate::draft::{BigFile, ChunkSlot};
use crate::index::{Entry, Place, SegmentInfo};
use crate::record::{ALIGN, BLOCK, CHUNK_REF, ChunkRef, HEADER, Header, Kind, len, short};
use crate::segment::{Segment, make_growing};
use crate::shared::Shared;
use crate::{SpoolError, SpoolId, ids, state};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Octets of one batch, so that a flood of large messages cannot hold up a flush for long.
const MAX_BATCH: u64 = 8 << 20;
/// Octets of chunks that may wait for the committer before drafts have to.
const MAX_WAITING: usize = 8 << 20;

/// Something to be written to the log.
pub(crate) enum Item {
    Chunk { slot: Arc<ChunkSlot>, header: Header, bufs: Vec<Vec<u8>> },
    Commit(Box<Work>),
}

/// A message to be made durable. Dropping it unanswered answers with an error.
pub(crate) struct Work {
    /// All but epoch, batch and what hangs on the chunks' places.
    pub(crate) header: Header,
    pub(crate) envelope: Vec<u8>,
    pub(crate) bufs: Vec<Vec<u8>>,
    pub(crate) slots: Vec<Arc<ChunkSlot>>,
    pub(crate) reply: Reply,
    pub(crate) file: Option<BigFile>,
}

/// Where a commit's result goes.
pub(crate) struct Reply(Option<Arc<Ticket>>);

impl Reply {
    pub(crate) fn new() -> (Self, CommitFuture) {
        let ticket = Arc::new(Ticket { state: Mutex::new(TicketState { result: None, waker: None }) });
        (Self(Some(Arc::clone(&ticket))), CommitFuture(ticket))
    }

    pub(crate) fn resolve(mut self, result: Result<SpoolId, SpoolError>) {
        if let Some(ticket) = self.0.take() {
            ticket.resolve(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.resolve(Err(closed()));
        }
    }
}

/// What a commit gets from a store that is closed.
pub(crate) fn closed() -> SpoolError {
    SpoolError::Io(io::Error::new(io::ErrorKind::BrokenPipe, "the spool is closed or gave the message up"))
}

struct Ticket {
    state: Mutex<TicketState>,
}

struct TicketState {
    result: Option<Result<SpoolId, SpoolError>>,
    waker: Option<Waker>,
}

impl Ticket {
    fn resolve(&self, result: Result<SpoolId, SpoolError>) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.result = Some(result);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Resolves when the message is durable, or is not going to be.
pub(crate) struct CommitFuture(Arc<Ticket>);

impl Future for CommitFuture {
    type Output = Result<SpoolId, SpoolError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// What waits for a thread. Bounded by the drafts there are, each of which waits for its commit.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Waiting>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    chunk_octets: usize,
    closing: bool,
    closed: bool,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Waiting> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item; what comes after the close is dropped, and so answered.
    pub(crate) fn push(&self, item: Item) {
        let mut inner = self.inner();
        if inner.closed {
            return;
        }
        if let Item::Chunk { header, .. } = &item {
            inner.chunk_octets += len(u64::from(header.inline_len));
        }
        inner.items.push_back(item);
        if inner.items.len() == 1 {
            self.filled.notify_one();
        }
    }

    /// Waits until the chunks that wait are few.
    pub(crate) fn wait_for_room(&self) {
        let full = |inner: &mut Waiting| inner.chunk_octets > MAX_WAITING && !inner.closed;
        drop(self.drained.wait_while(self.inner(), full));
    }

    /// Takes all that waits; `None` when the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<VecDeque<Item>> {
        let empty = |inner: &mut Waiting| inner.items.is_empty() && !inner.closing;
        let mut inner = self.filled.wait_while(self.inner(), empty).unwrap_or_else(PoisonError::into_inner);
        if inner.items.is_empty() {
            inner.closed = true;
            self.drained.notify_all();
            return None;
        }
        inner.chunk_octets = 0;
        self.drained.notify_all();
        Some(std::mem::take(&mut inner.items))
    }

    /// Answers all that waits and all that comes: nobody works here any more.
    fn shut(&self) {
        let items = {
            let mut inner = self.inner();
            inner.closed = true;
            std::mem::take(&mut inner.items)
        };
        drop(items);
        self.drained.notify_all();
    }

    /// Lets the thread end once it has done what waits.
    pub(crate) fn close(&self) {
        self.inner().closing = true;
        self.filled.notify_all();
    }
}

/// Shuts a queue when its thread ends, in whatever way: nobody may wait for ever.
struct ShutAtEnd<'a>(&'a Queue);

impl Drop for ShutAtEnd<'_> {
    fn drop(&mut self) {
        self.0.shut();
    }
}

/// The thread that flushes files of large messages, and then hands the commits on.
pub(crate) fn run_files(shared: &Shared) {
    let _end = ShutAtEnd(&shared.files);
    while let Some(items) = shared.files.take() {
        let mut flushed = Vec::with_capacity(items.len());
        for item in items {
            let Item::Commit(work) = item else { continue };
            let result = work.file.as_ref().map_or(Ok(()), |file| shared.count_flush(|| file.flush()));
            match result {
                Ok(()) => flushed.push(work),
                Err(error) => fail(shared, work, error),
            }
        }
        match shared.disk.sync_dir("big") {
            Ok(()) => flushed.into_iter().for_each(|work| shared.queue.push(Item::Commit(work))),
            Err(error) => flushed.into_iter().for_each(|work| fail(shared, work, copy(&error))),
        }
    }
}

fn fail(shared: &Shared, work: Box<Work>, error: io::Error) {
    shared.failing.store(true, Ordering::Relaxed);
    let Work { reply, file, .. } = *work;
    // The file goes first, so that nothing is left when the answer is given.
    drop(file);
    reply.resolve(Err(error.into()));
}

/// The same error once more, for the next who waits.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The state of the committer thread.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    active: Option<Active>,
}

struct Active {
    segment: Arc<Segment>,
    used: u64,
    batch: u32,
    /// The header has not been written yet.
    fresh: bool,
    /// Chunks that were written since the last flush.
    unflushed: Vec<Arc<ChunkSlot>>,
}

/// An item with its place in the batch.
struct Placed {
    offset: u64,
    /// Header and chunk references.
    head: Vec<u8>,
    pad: usize,
    item: Item,
}

/// What stands between records and after a batch.
static ZEROS: [u8; 4096] = [0; 4096];

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, active: None }
    }

    /// Works until the queue is closed.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _end = ShutAtEnd(&shared.queue);
        while let Some(mut items) = self.shared.queue.take() {
            while let Some(item) = items.front() {
                match self.make_room(item.span()) {
                    Ok(active) => {
                        let batch = active.place(&mut items);
                        self.write(batch);
                    }
                    Err(error) => items.pop_front().into_iter().for_each(|item| match item {
                        Item::Chunk { slot, .. } => slot.fail(&self.shared),
                        Item::Commit(work) => fail(&self.shared, work, copy(&error)),
                    }),
                }
            }
        }
        self.seal();
    }

    /// The active segment, with room for `span` octets.
    fn make_room(&mut self, span: u64) -> io::Result<&mut Active> {
        let fits = |active: &Active| active.used + span <= active.segment.capacity;
        if !self.active.as_ref().is_some_and(fits) {
            self.seal();
            let segment = Arc::new(self.next_segment(span + BLOCK)?);
            let info = SegmentInfo::new(Arc::clone(&segment), Place::Active);
            self.shared.index().segments.insert(segment.epoch, info);
            self.active = Some(Active { segment, used: BLOCK, batch: 0, fresh: true, unflushed: Vec::new() });
        }
        self.active.as_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }

    fn next_segment(&self, least: u64) -> io::Result<Segment> {
        let nonce = ids::random();
        let number = {
            let mut pool = self.shared.pool();
            if let Some(at) = pool.free.iter().rposition(|free| free.capacity >= least) {
                let epoch = pool.epoch();
                let segment = pool.free.swap_remove(at).take(epoch, nonce);
                drop(pool);
                self.shared.call_keeper();
                return Ok(segment);
            }
            // Inflow is faster than the keeper prepared for.
            pool.starved = pool.starved.saturating_add(1);
            pool.target = (pool.target * 2).min(self.shared.most_ready());
            pool.number()
        };
        self.shared.call_keeper();
        let capacity = self.shared.options.segment_bytes.max(least.next_multiple_of(BLOCK));
        let free = make_growing(self.shared.disk.as_ref(), number, capacity)?;
        let epoch = self.shared.pool().epoch();
        Ok(free.take(epoch, nonce))
    }

    /// Ends the active segment; chunks in it that no commit flushed yet are flushed now.
    fn seal(&mut self) {
        let Some(active) = self.active.take() else { return };
        if !active.unflushed.is_empty() && active.segment.file.flush().is_err() {
            self.shared.failing.store(true, Ordering::Relaxed);
            active.unflushed.iter().for_each(|slot| slot.fail(&self.shared));
        }
        if let Some(info) = self.shared.index().segments.get_mut(&active.segment.epoch) {
            info.place = Place::Ring;
        }
        self.shared.call_keeper();
    }

    fn write(&mut self, batch: Vec<Placed>) {
        let Some(active) = &mut self.active else { return };
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        let start = first.offset;
        let end = (last.offset + last.span()).next_multiple_of(BLOCK);
        let tail = end - (last.offset + last.span());
        let header = if active.fresh { active.segment.header().encode() } else { Vec::new() };
        let mut bufs = Vec::with_capacity(batch.len() * 4 + 2);
        bufs.push(IoSlice::new(&header));
        for placed in &batch {
            placed.push_to(&mut bufs);
        }
        bufs.push(IoSlice::new(ZEROS.get(..len(tail)).unwrap_or_default()));
        let file = &active.segment.file;
        let written = file.write_at(&mut bufs, start - header.len() as u64);
        drop(bufs);
        let commits = batch.iter().filter(|placed| matches!(placed.item, Item::Commit(_))).count() as u64;
        let result = written.and_then(|()| {
            active.fresh = false;
            active.used = end;
            if commits == 0 { Ok(()) } else { self.shared.count_flush(|| file.flush()) }
        });
        match result {
            Ok(()) => {
                if commits > 0 {
                    active.batch += 1;
                    active.unflushed.clear();
                }
                publish(&self.shared, active, batch, commits);
            }
            Err(error) => self.undo(batch, &error),
        }
    }

    /// Makes what a failed write or flush left behind void, then answers.
    fn undo(&mut self, batch: Vec<Placed>, error: &io::Error) {
        let shared = Arc::clone(&self.shared);
        shared.failing.store(true, Ordering::Relaxed);
        let Some(active) = self.active.take() else { return };
        active.unflushed.iter().for_each(|slot| slot.fail(&shared));
        let offsets: Vec<u32> = batch.iter().filter_map(Placed::commit_offset).collect();
        if !offsets.is_empty() {
            make_void(&shared, &active.segment, &offsets);
        }
        if let Some(info) = shared.index().segments.get_mut(&active.segment.epoch) {
            info.place = Place::Ring;
        }
        for placed in batch {
            match placed.item {
                Item::Chunk { slot, .. } => slot.fail(&shared),
                Item::Commit(work) => fail(&shared, work, copy(error)),
            }
        }
        shared.call_keeper();
    }
}

/// Makes sure that no start takes the records at `offsets` for messages.
pub(crate) fn make_void(shared: &Shared, segment: &Segment, offsets: &[u32]) {
    let disk = shared.disk.as_ref();
    let append = |&offset: &u32| segment.state.append(disk, &state::Entry { offset, say: state::Say::Void });
    let all = offsets.iter().map(append).collect::<io::Result<Vec<u32>>>();
    // The second flush writes everything again, see there.
    if all.is_ok() && (0..2).any(|_| segment.state.flush(disk).is_ok()) {
        return;
    }
    let zeros = [0; HEADER];
    for &offset in offsets {
        drop(segment.file.write_at(&mut [IoSlice::new(&zeros)], u64::from(offset)));
    }
    drop(segment.file.flush());
}

/// Enters what is durable into the index, then answers.
fn publish(shared: &Shared, active: &mut Active, batch: Vec<Placed>, commits: u64) {
    let epoch = active.segment.epoch;
    let mut replies = Vec::with_capacity(batch.len());
    let mut octets = 0;
    // A slot whose draft is gone takes the index's lock when it is dropped.
    let mut slots_after = Vec::new();
    {
        let mut index = shared.index();
        for placed in batch {
            let (span, offset) = (placed.span(), short(len(placed.offset)));
            match placed.item {
                Item::Chunk { slot, .. } => {
                    slot.pin(&mut index);
                    if commits == 0 {
                        active.unflushed.push(Arc::clone(&slot));
                    }
                    slots_after.push(slot);
                }
                Item::Commit(work) => {
                    let Work { header, slots, reply, mut file, .. } = *work;
                    let mut entry =
                        Entry::new(epoch, offset, short(len(span)), header.size, header.accepted.0);
                    if let Some(file) = &mut file {
                        file.keep();
                        entry.file = true;
                    }
                    let chunks = slots.iter().filter_map(|slot| slot.keep(&mut index)).collect();
                    index.insert(header.id, entry, chunks);
                    if let Some(records) =
                        index.segments.get_mut(&epoch).and_then(|info| info.records.as_mut())
                    {
                        records.push((header.id, offset));
                    }
                    octets += header.size;
                    replies.push((reply, header.id));
                }
            }
        }
    }
    drop(slots_after);
    if commits == 0 {
        return;
    }
    shared.failing.store(false, Ordering::Relaxed);
    shared.commits.fetch_add(commits, Ordering::Relaxed);
    shared.free.fetch_sub(i64::try_from(octets).unwrap_or(i64::MAX), Ordering::Relaxed);
    for (reply, id) in replies {
        reply.resolve(Ok(id));
    }
    shared.wake();
}

impl Item {
    fn span(&self) -> u64 {
        let (header, chunks) = match self {
            Self::Chunk { header, .. } => (header, 0),
            Self::Commit(work) => (&work.header, work.slots.len()),
        };
        header.span() + (chunks * CHUNK_REF).next_multiple_of(len(ALIGN)) as u64
    }

    /// Whether a chunk of the message could not be written, so that it must not be committed.
    fn is_hopeless(&self) -> bool {
        match self {
            Self::Chunk { .. } => false,
            Self::Commit(work) => work.slots.iter().any(|slot| slot.has_failed()),
        }
    }
}

impl Active {
    /// Takes from the front what fits, and gives each its place and the head of its record.
    fn place(&mut self, items: &mut VecDeque<Item>) -> Vec<Placed> {
        let mut at = self.used;
        let mut batch = Vec::new();
        while let Some(item) = items.pop_front() {
            if item.is_hopeless() {
                // Dropping it answers it.
                continue;
            }
            let next = at + item.span();
            if next > self.segment.capacity || (next - self.used > MAX_BATCH && at > self.used) {
                items.push_front(item);
                break;
            }
            let placed = self.place_one(at, item);
            at += placed.span();
            batch.push(placed);
        }
        batch
    }

    fn place_one(&self, offset: u64, mut item: Item) -> Placed {
        let mut refs = Vec::new();
        let header = match &mut item {
            Item::Chunk { header, slot, .. } => {
                let chunk = ChunkRef {
                    epoch: self.segment.epoch,
                    offset: short(len(offset)),
                    len: header.inline_len,
                };
                slot.set_place(chunk);
                header
            }
            Item::Commit(work) => {
                if !work.slots.is_empty() {
                    // Chunks come before their commit, so each has its place by now.
                    work.slots
                        .iter()
                        .filter_map(|slot| slot.place())
                        .for_each(|place| place.encode(&mut refs));
                    work.header.chunks = short(work.slots.len());
                    work.header.meta_len = short(refs.len() + work.envelope.len());
                    let mut crc = crc32fast::Hasher::new();
                    crc.update(&refs);
                    crc.update(&work.envelope);
                    work.header.meta_crc = crc.finalize();
                }
                &mut work.header
            }
        };
        header.epoch = self.segment.epoch;
        header.batch = self.batch;
        let mut head = Vec::with_capacity(HEADER + refs.len());
        head.extend_from_slice(&header.encode(self.segment.nonce));
        head.extend_from_slice(&refs);
        let octets = HEADER as u64 + u64::from(header.meta_len) + u64::from(header.inline_len);
        Placed { offset, head, pad: len(header.span() - octets), item }
    }
}

impl Placed {
    fn span(&self) -> u64 {
        match &self.item {
            Item::Chunk { header, .. } => header.span(),
            Item::Commit(work) => work.header.span(),
        }
    }

    fn commit_offset(&self) -> Option<u32> {
        match &self.item {
            Item::Chunk { .. } => None,
            Item::Commit(_) => Some(short(len(self.offset))),
        }
    }

    fn push_to<'a>(&'a self, bufs: &mut Vec<IoSlice<'a>>) {
        bufs.push(IoSlice::new(&self.head));
        let content = match &self.item {
            Item::Chunk { bufs, .. } => bufs,
            Item::Commit(work) => {
                bufs.push(IoSlice::new(&work.envelope));
                &work.bufs
            }
        };
        bufs.extend(content.iter().filter(|buf| !buf.is_empty()).map(|buf| IoSlice::new(buf)));
        if self.pad > 0 {
            bufs.push(IoSlice::new(ZEROS.get(..self.pad).unwrap_or_default()));
        }
    }
}

/// The header of a chunk of a draft.
pub(crate) fn chunk_header(id: SpoolId, octets: usize, crc: u32) -> Header {
    Header {
        kind: Kind::Chunk,
        epoch: 0,
        id,
        batch: 0,
        meta_len: 0,
        inline_len: short(octets),
        head_len: 0,
        file_len: 0,
        size: octets as u64,
        accepted: id.time(),
        content_crc: crc,
        meta_crc: 0,
        inline_crc: crc,
        recipients: 0,
        chunks: 0,
    }
}
