//! Makes files and directories durable, many at once.
//!
//! On Linux `syncfs` makes a whole batch durable with one flush of the device. It is used only where
//! it is known to keep its promise: a kernel from 5.8 on (earlier ones do not report write errors) and
//! one of a few file systems. Elsewhere each file and directory is flushed by itself, by a few
//! threads, so that the device's flushes are shared. docs/delivery.md has the figures.
//!
//! An error means that nothing of the batch may be called delivered.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// How delivered files are made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "by batch or by file")]
pub enum FlushBy {
    /// A whole batch at once where the system can do it reliably, else by file.
    #[default]
    Batch,
    /// Each file by itself; for a file system on which others write a lot, because flushing a batch
    /// waits for their data as well.
    File,
}

/// How many threads flush files side by side.
const THREADS: usize = 8;

/// A flush to come, of what is written on one file system after this was made.
pub(super) struct Flusher {
    /// Opened before anything is written: `syncfs` reports the write errors since the file was opened,
    /// to each open file once.
    whole: Option<File>,
}

impl Flusher {
    /// Prepares to flush what will be written on the file system that holds `directory`.
    pub(super) fn prepare(by: FlushBy, directory: &Path) -> io::Result<Self> {
        let whole = match by {
            FlushBy::Batch => Some(File::open(directory)?).filter(system::can_flush_whole),
            FlushBy::File => None,
        };
        Ok(Self { whole })
    }

    /// Makes the content of these files durable.
    pub(super) fn flush_files(&self, paths: &[&Path]) -> io::Result<()> {
        self.flush(paths, |path| File::open(path)?.sync_data())
    }

    /// Makes the entries of these directories durable.
    pub(super) fn flush_directories(&self, paths: &[&Path]) -> io::Result<()> {
        self.flush(paths, |path| File::open(path)?.sync_all())
    }

    fn flush(&self, paths: &[&Path], one: fn(&Path) -> io::Result<()>) -> io::Result<()> {
        match (&self.whole, paths) {
            (_, []) => Ok(()),
            (Some(file), _) => system::flush_whole(file),
            (None, [path]) => one(path),
            (None, _) => std::thread::scope(|scope| {
                let share = paths.len().div_ceil(THREADS);
                let threads: Vec<_> = paths
                    .chunks(share)
                    .map(|part| scope.spawn(move || part.iter().try_for_each(|path| one(path))))
                    .collect();
                threads.into_iter().try_for_each(|thread| {
                    thread.join().unwrap_or_else(|_panic| Err(io::Error::other("a flush panicked")))
                })
            }),
        }
    }
}

/// Makes one directory's entries durable now.
pub(super) fn flush_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directories from `leaf` up to `base`, both included.
pub(super) fn chain(base: &Path, leaf: &Path) -> Vec<PathBuf> {
    leaf.ancestors().take_while(|path| path.starts_with(base)).map(Path::to_path_buf).collect()
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io;

    /// File systems (by the magic number of statfs(2)) whose `syncfs` waits for data and metadata and
    /// flushes the device: ext4, XFS, btrfs; tmpfs has nothing to flush.
    const RELIABLE: [u32; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994];

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number has 32 bits; its type differs between machines"
    )]
    pub(super) fn can_flush_whole(file: &File) -> bool {
        let known = rustix::fs::fstatfs(file).is_ok_and(|fs| RELIABLE.contains(&(fs.f_type as u32)));
        known && reports_errors(rustix::system::uname().release().to_str().unwrap_or_default())
    }

    /// Whether a kernel of this release reports write errors from `syncfs` (5.8 and later).
    pub(super) fn reports_errors(release: &str) -> bool {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
        let mut number = || numbers.next().flatten();
        matches!((number(), number()), (Some(major), Some(minor)) if (major, minor) >= (5, 8))
    }

    pub(super) fn flush_whole(file: &File) -> io::Result<()> {
        Ok(rustix::fs::syncfs(file)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io;

    pub(super) fn can_flush_whole(_file: &File) -> bool {
        false
    }

    pub(super) fn flush_whole(file: &File) -> io::Result<()> {
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_kernels_that_report_write_errors_flush_by_batch() {
        for (release, fit) in [
            ("5.8.0-rc1", true),
            ("5.10.0-30-amd64", true),
            ("6.1", true),
            ("5.7.19", false),
            ("4.19.0", false),
            ("x", false),
        ] {
            assert_eq!(system::reports_errors(release), fit, "{release}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_flushed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let flusher = Flusher::prepare(FlushBy::File, dir.path()).unwrap();
        let missing = dir.path().join("missing");
        flusher.flush_files(&[&file, &file]).unwrap();
        assert_eq!(flusher.flush_files(&[&file, &missing]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_chain_goes_up_to_its_base() {
        let all = chain(Path::new("/var/mail"), Path::new("/var/mail/a/b"));
        assert_eq!(all, ["/var/mail/a/b", "/var/mail/a", "/var/mail"].map(PathBuf::from));
    }
}
