//! The Maildir on disk: its directories, the names of its files, what may be left over.
//!
//! A file's name is made of the message's id and the recipient's place in the envelope, so the same
//! delivery always has the same name: a second attempt after a crash finds the first one's file.

use postroad_proto::time::UnixTime;
use postroad_spool::SpoolId;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The three directories of a Maildir.
pub(super) const PARTS: [&str; 3] = ["tmp", "new", "cur"];

/// How old a file in `tmp` is when nobody can still be writing it (the Maildir convention).
const STALE: Duration = Duration::from_hours(36);

/// The host name as it may stand in a file name: no slash, colon or comma (readers give these a
/// meaning), nothing outside of ASCII.
pub(super) fn host_in_names(host: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = host.chars().take(100).map(safe).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

/// The name of a delivery, without its size and flags: time, microseconds, message and recipient, host.
pub(super) fn unique_name(id: SpoolId, recipient: u32, host: &str) -> String {
    let time = id.time();
    format!("{}.M{}_{id}-{recipient}.{host}", time.secs(), (time.0 % 1000) * 1000)
}

/// Makes the Maildir and what is missing between it and `base`, which must be there.
pub(super) fn make(base: &Path, maildir: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = maildir.ancestors().take_while(|path| *path != base).collect();
    missing.reverse();
    for path in missing {
        make_one(path)?;
    }
    PARTS.iter().try_for_each(|part| make_one(&maildir.join(part)))
}

fn make_one(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // whether it is a directory shows when it is used
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Looks for a delivery of that name that is already there, also when a reader moved it to `cur` and
/// gave it flags. A delivery that a reader moved to another folder or deleted is not found.
pub(super) fn find_earlier(maildir: &Path, unique: &str) -> io::Result<Option<&'static str>> {
    for part in ["new", "cur"] {
        for entry in fs::read_dir(maildir.join(part))? {
            if unique_part(&entry?.file_name()) == Some(unique) {
                return Ok(Some(part));
            }
        }
    }
    Ok(None)
}

fn unique_part(name: &OsStr) -> Option<&str> {
    name.to_str()?.split([',', ':']).next()
}

/// Removes what writers that died left in `tmp` more than 36 hours ago. It only saves space, so what
/// cannot be removed stays.
pub(super) fn sweep(maildir: &Path, now: UnixTime) {
    let Some(before) =
        UNIX_EPOCH.checked_add(Duration::from_millis(now.0)).and_then(|now| now.checked_sub(STALE))
    else {
        return;
    };
    let Ok(entries) = fs::read_dir(maildir.join("tmp")) else { return };
    for entry in entries.flatten() {
        let stale =
            entry.metadata().is_ok_and(|file| file.is_file() && file.modified().is_ok_and(|at| at < before));
        if stale {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Moves a finished file to where readers see it, never over another: `AlreadyExists` if one is there.
pub(super) fn publish(tmp: &Path, new: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, tmp, CWD, new, RenameFlags::NOREPLACE) {
            // not every file system has it
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    fs::hard_link(tmp, new)?;
    fs::remove_file(tmp)
}

/// Where a delivery of that name and size becomes visible.
pub(super) fn visible(maildir: &Path, unique: &str, size: u64) -> PathBuf {
    maildir.join("new").join(format!("{unique},S={size}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_deliveries_apart_and_are_always_the_same() {
        let id = SpoolId::new(UnixTime(1_795_327_384_123), 7);
        let name = unique_name(id, 0, &host_in_names("mx.example.org"));
        assert_eq!(name, format!("1795327384.M123000_{id}-0.mx.example.org"));
        let others = [unique_name(id, 1, "mx"), unique_name(SpoolId::new(id.time(), 8), 0, "mx")];
        assert!(!others.contains(&unique_name(id, 0, "mx")) && others[0] != others[1]);
        assert_eq!(host_in_names("a/b:c,d\u{e9}\n"), "a_b_c_d__");
        assert_eq!(host_in_names(""), "localhost");
    }

    #[test]
    fn a_file_is_published_once_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &dir.path().join("d/box")).unwrap();
        let (tmp, new) = (dir.path().join("d/box/tmp/a"), dir.path().join("d/box/new/a"));
        fs::write(&tmp, "one").unwrap();
        publish(&tmp, &new).unwrap();
        fs::write(&tmp, "two").unwrap();
        assert_eq!(publish(&tmp, &new).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&new).unwrap(), "one");
    }

    #[test]
    fn only_old_leftovers_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &dir.path().join("box")).unwrap();
        let now = UnixTime(1_795_327_384_000);
        let leave = |name: &str, hours: u64| {
            let file = fs::File::create(dir.path().join("box/tmp").join(name)).unwrap();
            let at = UNIX_EPOCH + Duration::from_millis(now.0) - Duration::from_hours(hours);
            file.set_modified(at).unwrap();
        };
        leave("old", 37);
        leave("young", 35);
        sweep(&dir.path().join("box"), now);
        let left: Vec<_> =
            fs::read_dir(dir.path().join("box/tmp")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["young"]);
    }
}
