//! `postroad reference`: writes the whole reference as a static web site.

use crate::exit::Exit;
use anstream::{eprintln, println};
use indicatif::{ProgressBar, ProgressStyle};
use postroad_explain::site;
use std::fs;
use std::path::{Path, PathBuf};

/// Write the whole reference as a static web site
///
/// A page for each code and each pair of codes, in every language, with a search that needs no server.
/// Pages load nothing from elsewhere, so that the folder can be published, or opened, as it is. Files of
/// an earlier run are written over; what else is in the folder stays. A folder with another site's
/// index.html is left alone.
/// Exits with 73 if the folder cannot be written or is another's.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The folder to write to; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    site: PathBuf,
}

/// Writes it.
pub(crate) fn run(args: &Args) -> Exit {
    let first = args.site.join("index.html");
    let ours = format!("content=\"{}\"", site::GENERATOR);
    if fs::read_to_string(&first).is_ok_and(|page| !page.contains(&ours)) {
        eprintln!("postroad: {} was not written by this command; choose another folder", first.display());
        return Exit::CannotCreate;
    }
    let bar = ProgressBar::new(u64::try_from(site::count()).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} pages, {eta} left") {
        bar.set_style(style);
    }
    let (mut files, mut octets) = (0_u64, 0_u64);
    for file in site::files() {
        let path = args.site.join(&file.path);
        if let Err(error) = write(&path, &file.content) {
            bar.finish_and_clear();
            eprintln!("postroad: {}: {error}", path.display());
            return Exit::CannotCreate;
        }
        (files, octets) = (files + 1, octets + file.content.len() as u64);
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "{files} files, {} MiB, in {}; begin with {}",
        octets >> 20,
        args.site.display(),
        args.site.join("index.html").display()
    );
    Exit::Done
}

fn write(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content)
}
