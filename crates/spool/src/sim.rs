//! A disk for tests: it forgets what was not flushed, and fails when told to.
//!
//! Every change is a *call* and is counted; a [`Fault`] happens at one of them. [`SimDisk::crash`]
//! gives the disk as it may be after a loss of power: of each unflushed write any 512-byte sectors
//! may be there, of each unsynced change of a name it or nothing. A failed flush leaves its writes
//! readable but never durable by a later flush, as Linux does. Directories themselves are durable at once.

use crate::fs::{Disk, DiskFile};
use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests choose among all of them")]
pub enum Fault {
    /// From this call on nothing works any more; then take [`SimDisk::crash`].
    PowerLoss,
    /// This call fails with EIO (a write may have been done in part).
    Io,
    /// This call fails with ENOSPC if it needs space, else with EIO.
    NoSpace,
}

const SECTOR: usize = 512;
const PAGE: usize = 4096;

#[derive(Default)]
struct Node {
    /// What reads see.
    cache: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    /// Writes whose flush failed.
    lost: Vec<(usize, Vec<u8>)>,
    /// Where reads fail.
    unreadable: std::ops::Range<usize>,
}

#[derive(Clone)]
enum Change {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

#[derive(Default)]
struct World {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<(String, Change)>,
    calls: u64,
    faults: Vec<(u64, Fault)>,
    dead: bool,
    locked: bool,
    free: u64,
}

/// A disk in memory; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        let world = World { free: 1 << 40, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)) }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `fault` happen at the `call`th call from now on (1 is the next), beside those already told.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        let mut world = self.world();
        let at = world.calls.saturating_add(call);
        world.faults.push((at, fault));
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// Whether power was lost.
    pub fn is_dead(&self) -> bool {
        self.world().dead
    }

    /// What [`Disk::free_bytes`] says from now on.
    pub fn set_free(&self, bytes: u64) {
        self.world().free = bytes;
    }

    /// The disk after a loss of power, one of the many that may be; the same seed gives the same.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let old = self.world();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Some runs lose all, some nothing, most a part.
        let keep = match random.below(4) {
            0 => 0,
            1 => 256,
            _ => 16 + random.below(224),
        };
        let mut names = old.durable_names.clone();
        for (_, change) in &old.changes {
            if random.below(256) < keep {
                apply(&mut names, change.clone());
            }
        }
        let mut world = World { free: old.free, ..World::default() };
        for node in &old.nodes {
            let mut content = node.durable.clone();
            for (at, bytes) in node.lost.iter().chain(&node.pending) {
                for (number, sector) in sectors(*at, bytes) {
                    if random.below(256) < keep {
                        put(&mut content, number, sector);
                    }
                }
            }
            world.nodes.push(Node { cache: content.clone(), durable: content, ..Node::default() });
        }
        world.durable_names.clone_from(&names);
        world.names = names;
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// The whole content of a file as reads see it.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let world = self.world();
        let node = world.names.get(path)?;
        world.nodes.get(*node).map(|node| node.cache.clone())
    }

    /// Replaces the content of a file durably: damage, or a file from elsewhere.
    pub fn replace(&self, path: &str, content: Vec<u8>) {
        let mut world = self.world();
        let at = world.nodes.len();
        world.nodes.push(Node { cache: content.clone(), durable: content, ..Node::default() });
        world.names.insert(path.to_owned(), at);
        world.durable_names.insert(path.to_owned(), at);
    }

    /// Lets every read fail that touches `range` of a file.
    pub fn make_unreadable(&self, path: &str, range: std::ops::Range<usize>) {
        let mut world = self.world();
        let node = world.names.get(path).copied();
        if let Some(node) = node.and_then(|node| world.nodes.get_mut(node)) {
            node.unreadable = range;
        }
    }

    /// All paths, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.world().names.keys().cloned().collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write cut at the sectors' borders.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - at % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let tail = rest.chunks(SECTOR).enumerate().map(move |(n, sector)| (at + first + n * SECTOR, sector));
    std::iter::once((at, head)).chain(tail)
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: Change) {
    match change {
        Change::Link(path, node) => {
            names.insert(path, node);
        }
        Change::Unlink(path) => {
            names.remove(&path);
        }
        Change::Rename(from, to, node) => {
            names.remove(&from);
            names.insert(to, node);
        }
    }
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or(String::new(), |(dir, _)| dir.to_owned())
}

fn power_lost() -> io::Error {
    io::Error::other("power was lost")
}

impl World {
    /// Counts a call; its fault, if it is to have one.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(power_lost());
        }
        self.calls += 1;
        if self.faults.iter().any(|&(at, fault)| fault == Fault::PowerLoss && self.calls >= at) {
            self.dead = true;
            return Err(power_lost());
        }
        Ok(self.faults.iter().find(|&&(at, _)| at == self.calls).map(|&(_, fault)| fault))
    }

    fn change(&mut self, dir: String, change: Change) {
        apply(&mut self.names, change.clone());
        self.changes.push((dir, change));
    }
}

fn fail(fault: Fault) -> io::Error {
    match fault {
        Fault::NoSpace => io::ErrorKind::StorageFull.into(),
        Fault::Io | Fault::PowerLoss => io::Error::other("injected"),
    }
}

impl Disk for SimDisk {
    fn make_dir(&self, _path: &str) -> io::Result<()> {
        if self.is_dead() { Err(power_lost()) } else { Ok(()) }
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        if let Some(fault) = world.call()? {
            return Err(fail(fault));
        }
        let node = world.nodes.len();
        world.nodes.push(Node::default());
        world.change(parent(path), Change::Link(path.to_owned(), node));
        Ok(Arc::new(SimFile { disk: self.clone(), node }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world();
        if world.dead {
            return Err(power_lost());
        }
        let node = world.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), node }))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        if world.call()?.is_some() {
            return Err(fail(Fault::Io));
        }
        let changes = std::mem::take(&mut world.changes);
        for (dir, change) in changes {
            if dir == path {
                apply(&mut world.durable_names, change);
            } else {
                world.changes.push((dir, change));
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        if world.call()?.is_some() {
            return Err(fail(Fault::Io));
        }
        let node = world.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        world.change(parent(to), Change::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        if world.call()?.is_some() {
            return Err(fail(Fault::Io));
        }
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change(parent(path), Change::Unlink(path.to_owned()));
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let world = self.world();
        if world.dead {
            return Err(power_lost());
        }
        let here = world.names.keys().filter(|name| parent(name) == path);
        Ok(here.filter_map(|name| name.rsplit('/').next()).map(str::to_owned).collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.world().free)
    }

    fn lock(&self, _path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut world = self.world();
        if world.dead {
            return Err(power_lost());
        }
        if world.locked {
            return Ok(None);
        }
        world.locked = true;
        Ok(Some(Box::new(Unlock(self.clone()))))
    }
}

struct Unlock(SimDisk);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.world().locked = false;
    }
}

struct SimFile {
    disk: SimDisk,
    node: usize,
}

fn offset(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_large| io::ErrorKind::InvalidInput.into())
}

impl DiskFile for SimFile {
    fn write_at(&self, bufs: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let at = offset(at)?;
        let mut bytes = bufs.iter().fold(Vec::new(), |mut all, buf| {
            all.extend_from_slice(buf);
            all
        });
        let mut world = self.disk.world();
        let fault = world.call()?;
        if fault.is_some() {
            bytes.truncate(bytes.len() / 2);
        }
        if let Some(node) = world.nodes.get_mut(self.node) {
            put(&mut node.cache, at, &bytes);
            node.pending.push((at, bytes));
        }
        fault.map_or(Ok(()), |fault| Err(fail(fault)))
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let at = offset(at)?;
        let world = self.disk.world();
        if world.dead {
            return Err(power_lost());
        }
        let node = world.nodes.get(self.node);
        if node.is_some_and(|node| at < node.unreadable.end && at + buf.len() > node.unreadable.start) {
            return Err(fail(Fault::Io));
        }
        let content = node.and_then(|node| node.cache.get(at..)).unwrap_or_default();
        let len = buf.len().min(content.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), content.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn flush(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        let fault = world.call()?;
        let Some(node) = world.nodes.get_mut(self.node) else { return Ok(()) };
        let pending = std::mem::take(&mut node.pending);
        if let Some(fault) = fault {
            for (at, bytes) in &pending {
                node.lost.extend(sectors(*at, bytes).map(|(at, sector)| (at, sector.to_vec())));
            }
            return Err(fail(fault));
        }
        for (at, bytes) in pending {
            // Whole pages are written, so what a failed flush left in doubt within them is settled too.
            let from = at - at % PAGE;
            let end = (at + bytes.len()).next_multiple_of(PAGE).min(node.cache.len());
            node.lost.retain(|(lost, _)| *lost < from || *lost >= end);
            if let Some(pages) = node.cache.get(from..end) {
                put(&mut node.durable, from, pages);
            }
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let world = self.disk.world();
        Ok(world.nodes.get(self.node).map_or(0, |node| node.cache.len() as u64))
    }
}

/// A small generator with a seed, so that a failing run can be repeated (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_flushed_and_named_is_sure_to_stay() {
        let disk = SimDisk::new();
        let file = disk.create("log/a").unwrap();
        file.write_at(&mut [IoSlice::new(&[1; 2000])], 0).unwrap();
        file.flush().unwrap();
        disk.sync_dir("log").unwrap();
        file.write_at(&mut [IoSlice::new(&[2; 2000])], 0).unwrap();
        disk.create("log/b").unwrap();
        let (mut torn, mut named) = (0, 0);
        for seed in 0..64 {
            let after = disk.crash(seed);
            let content = after.content("log/a").unwrap();
            assert_eq!(content.len(), 2000);
            torn += usize::from(content.contains(&1) && content.contains(&2));
            named += usize::from(after.content("log/b").is_some());
        }
        assert!(torn > 0 && named > 0 && named < 64);
    }
}
