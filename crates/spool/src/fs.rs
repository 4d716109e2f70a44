//! What the spool needs of a disk, and the real one.
//!
//! Paths are relative to the spool's directory, with `/` between parts. Everything fails with the
//! operating system's error. [`crate::sim`] has a disk that forgets and fails, for tests.

use std::any::Any;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A directory tree on some disk.
pub trait Disk: Send + Sync + 'static {
    /// Makes a directory, durably; it may exist.
    fn make_dir(&self, path: &str) -> io::Result<()>;
    /// Makes an empty file for reading and writing; an existing one is emptied. Its name is durable
    /// after [`Disk::sync_dir`].
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes names in a directory durable (`""` is the spool's directory itself).
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Renames a file, replacing `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Octets free for this process.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Takes an advisory lock on a file (made if need be); `None` if another process has it. Dropping
    /// the guard gives it back.
    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all buffers one after the other from `at` on.
    fn write_at(&self, bufs: &mut [IoSlice<'_>], at: u64) -> io::Result<()>;
    /// Reads into `buf` from `at` on; fewer octets only at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Makes the content durable, and the length where it changed (`fdatasync`).
    fn flush(&self) -> io::Result<()>;
    /// Octets in the file.
    fn size(&self) -> io::Result<u64>;
}

/// Reads exactly `len` octets at `at`, at most `most`; what is longer or missing is `InvalidData`.
pub(crate) fn read_exact(file: &dyn DiskFile, at: u64, len: u64, most: u64) -> io::Result<Vec<u8>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the file ends before the record does");
    if len > most {
        return Err(short());
    }
    let mut buf = vec![0; usize::try_from(len).map_err(|_large| short())?];
    if file.read_at(&mut buf, at)? < buf.len() {
        return Err(short());
    }
    Ok(buf)
}

/// Reads like [`DiskFile::read_at`], but where the disk refuses a block, zeros stand for it: the rest can
/// still be saved, and a checksum tells.
pub(crate) fn read_around(file: &dyn DiskFile, buf: &mut [u8], at: u64) -> io::Result<usize> {
    if let Ok(count) = file.read_at(buf, at) {
        return Ok(count);
    }
    let size = file.size()?;
    let mut from = at;
    for block in buf.chunks_mut(BAD_BLOCK) {
        if file.read_at(block, from).is_err() {
            block.fill(0);
        }
        from += block.len() as u64;
    }
    Ok(usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX).min(buf.len()))
}

/// Octets given up where one of them cannot be read.
const BAD_BLOCK: usize = 4096;

/// A directory of the operating system's file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    flush_delay: Duration,
}

impl RealDisk {
    /// The directory `root`, which is made if need be.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), flush_delay: Duration::ZERO }
    }

    /// The same with every flush taking this much longer: how the store does on slower disks.
    #[must_use]
    pub fn with_flush_delay(mut self, delay: Duration) -> Self {
        self.flush_delay = delay;
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn wrap(&self, file: File) -> Arc<dyn DiskFile> {
        Arc::new(RealFile { file, flush_delay: self.flush_delay })
    }
}

impl Disk for RealDisk {
    fn make_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        if path.is_dir() {
            return Ok(());
        }
        let mut builder = std::fs::DirBuilder::new();
        // Mail is nobody else's business.
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        options.open(self.path(path)).map(|file| self.wrap(file))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        OpenOptions::new().read(true).write(true).open(self.path(path)).map(|file| self.wrap(file))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        std::thread::sleep(self.flush_delay);
        File::open(self.path(path))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(path))? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(self.path(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

struct RealFile {
    file: File,
    flush_delay: Duration,
}

/// Buffers of one system call; Linux takes 1,024.
const MAX_BUFFERS: usize = 1024;

impl DiskFile for RealFile {
    fn write_at(&self, mut bufs: &mut [IoSlice<'_>], mut at: u64) -> io::Result<()> {
        // Each turn writes at least one octet or ends, so the loop is bounded by the octets given.
        loop {
            IoSlice::advance_slices(&mut bufs, 0);
            if bufs.is_empty() {
                return Ok(());
            }
            let some = bufs.get(..MAX_BUFFERS).unwrap_or(bufs);
            match rustix::io::pwritev(&self.file, some, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut bufs, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn flush(&self) -> io::Result<()> {
        std::thread::sleep(self.flush_delay);
        self.file.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_buffers_are_written_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path());
        let file = disk.create("x").unwrap();
        let parts: Vec<Vec<u8>> = (0..3000u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let mut bufs: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_at(&mut bufs, 7).unwrap();
        let read = read_exact(file.as_ref(), 7, 12_000, 12_000).unwrap();
        assert_eq!(read, parts.concat());
        assert_eq!(file.size().unwrap(), 12_007);
        assert!(read_exact(file.as_ref(), 8, 12_000, 12_000).is_err());
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path());
        let first = disk.lock("lock").unwrap();
        assert!(first.is_some());
        assert!(disk.lock("lock").unwrap().is_none());
        drop(first);
        assert!(disk.lock("lock").unwrap().is_some());
    }
}
