//! Lists the data, so that adding a language or an example is adding files, and no code.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=data");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?).join("data");
    let mut out = String::from("/// Each language: its tag, and the texts of its files.\n");
    out.push_str("pub(crate) const LANGUAGES: &[(&str, &[(&str, &str)])] = &[\n");
    for folder in sorted(&root)? {
        if folder.join("language.toml").is_file() {
            writeln!(out, "    ({:?}, &[", name(&folder)).map_err(io::Error::other)?;
            list(&mut out, &folder, "toml")?;
            out.push_str("    ]),\n");
        }
    }
    out.push_str("];\n/// Each example: the code it shows, and its dialogue.\n");
    out.push_str("pub(crate) const EXAMPLES: &[(&str, &str)] = &[\n");
    list(&mut out, &root.join("examples"), "smtp")?;
    out.push_str("];\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?).join("data.rs");
    fs::write(target, out)
}

fn list(out: &mut String, folder: &Path, extension: &str) -> io::Result<()> {
    for file in sorted(folder)? {
        if file.extension().is_some_and(|have| have == extension) {
            let path = file.to_string_lossy();
            writeln!(out, "        ({:?}, include_str!({path:?})),", name(&file))
                .map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
