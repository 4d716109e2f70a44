//! Reading files, bounded. Behind a trait, so that any bytes can be checked without touching a disk.

use super::raw::MAX_FILE;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Something that files can be read from.
pub(super) trait Files {
    /// The text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The file system.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut octets = Vec::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > MAX_FILE {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {MAX_FILE} octets"),
            ));
        }
        String::from_utf8(octets).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes().iter().take(valid).filter(|b| **b == b'\n').count();
            io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
        })
    }
}

/// No file at all.
pub(super) struct Nowhere;

impl Files for Nowhere {
    fn read(&self, _path: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}
