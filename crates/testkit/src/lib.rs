//! Dialogues: the protocol's tests as plain text, their parser and their runners.
//!
//! [`dialogue`] is the format (`dialogues/**/*.smtp`), [`host`] the world around a session that is
//! being tested: it answers the session's questions by script and keeps what is stored. [`play`]
//! plays a dialogue against a session in memory, at any cut of the input (RFC 2920 §3.2); [`tcp`]
//! plays it against a server behind a socket. All errors name the file and the line. [`name_server`]
//! answers from a zone in memory.

pub mod dialogue;
pub mod escape;
pub mod host;
pub mod name_server;
pub mod options;
pub mod play;
pub mod tcp;

use dialogue::{Dialogue, Fault};
use std::path::{Path, PathBuf};

/// Every dialogue of the repository, in the order of the file names, and after them the examples of the
/// reference that this server gives: what a reader is shown is played like any other dialogue.
pub fn corpus() -> Result<Vec<Dialogue>, Fault> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dialogues");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let broken = |error: std::io::Error| unreadable(&folder, &error);
        for entry in std::fs::read_dir(&folder).map_err(broken)? {
            let path = entry.map_err(broken)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "smtp") {
                files.push(path);
            }
        }
    }
    files.sort();
    let ours = postroad_reference::examples().iter().filter(|(_, text)| !text.starts_with("# not ours"));
    let examples =
        ours.map(|(code, text)| Dialogue::parse(&format!("reference/data/examples/{code}.smtp"), text));
    files.iter().map(|file| read(&root, file)).chain(examples).collect()
}

fn read(root: &Path, file: &PathBuf) -> Result<Dialogue, Fault> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let name = file.strip_prefix(root).unwrap_or(file);
    Dialogue::parse(&format!("dialogues/{}", name.display()), &text)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault { file: path.display().to_string(), line: 0, what: error.to_string() }
}
