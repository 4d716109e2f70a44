//! What is written for people: the settings in force, one setting explained, a new file, the manual.
//! All of it comes from the table of keys.

use super::Loaded;
use super::keys::SECTIONS;
use super::raw::{bare_or_quoted, parse_key, shown};
use super::section::{Key, Section, Setting, Settings, join_doc, nearest};
use super::value::quoted;
use postroad_proto::addr::Domain;
use std::fmt::Write;

impl Loaded {
    /// Every setting in force as a configuration file, each with the place where it was set. Loaded
    /// again it gives the same [`super::Config`].
    pub fn effective(&self) -> String {
        let mut out = String::from("# Every setting in force, and where it was set.\n");
        let mut section = "";
        for setting in self.settings.iter() {
            if setting.section != section {
                section = &setting.section;
                line(&mut out, format_args!("\n{}", header(section)));
            }
            // a line break in an option must not end the comment
            let origin = setting.origin.to_string().replace(char::is_control, " ");
            line(&mut out, format_args!("{} = {}  # {origin}", setting.name, setting.value));
        }
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // writing to a String cannot fail
    let written = writeln!(out, "{text}");
    debug_assert!(written.is_ok());
}

/// A section's header in a file; listeners lose their number.
fn header(section: &str) -> String {
    match section.strip_prefix("listener.") {
        Some(rest) if rest.ends_with(".limits") => "[listener.limits]".to_owned(),
        Some(_) => "[[listener]]".to_owned(),
        None => format!("[{section}]"),
    }
}

/// What a key means and what it is set to.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Its section.
    pub section: &'static Section,
    /// The key.
    pub key: &'static Key,
    /// The settings of this name that are in force: more than one for a key of a section that stands
    /// more than once, none if no such section is there.
    pub settings: Vec<Setting>,
}

/// Explains a key: `limits.recipients`, `listener.0.address`, `domain.mailboxes`. The error says what
/// would have been right.
pub fn explain(name: &str, settings: &Settings) -> Result<Explained, String> {
    let parts = parse_key(name)?;
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    if let Some(instead) = not_a_key(&words) {
        return Err(instead);
    }
    let (wanted, last) = match words.as_slice() {
        [last] => ("", *last),
        ["listener", _, "limits", last] => ("limits", *last),
        ["listener", _, last] => ("listener", *last),
        ["domain", _, last] => ("domain", *last),
        [section, last] => (*section, *last),
        _ => return Err(unknown(name)),
    };
    let found = SECTIONS
        .iter()
        .filter(|section| section.name == wanted)
        .find_map(|section| section.keys.iter().find(|key| key.name == last).map(|key| (*section, key)));
    let (section, key) = found.ok_or_else(|| unknown(name))?;
    let full = words.iter().map(|word| bare_or_quoted(word)).collect::<Vec<_>>().join(".");
    let settings = match settings.get(&full) {
        Some(one) if wanted != "limits" || words.len() > 2 => vec![one.clone()],
        _ => settings
            .iter()
            .filter(|one| one.name == key.name && is_of(one, section, &words))
            .cloned()
            .collect(),
    };
    Ok(Explained { section, key, settings })
}

/// Whether a setting belongs to what was asked for: any section of the kind, unless one was named.
fn is_of(setting: &Setting, section: &Section, asked: &[&str]) -> bool {
    match (section.name, asked.len()) {
        ("limits", 2) => setting.section == "limits" || setting.section.ends_with(".limits"),
        ("limits", _) => setting.section == "limits",
        ("listener", 2) => setting.section.starts_with("listener.") && !setting.section.ends_with(".limits"),
        ("domain", 2) => setting.section.starts_with("domain."),
        (name, _) => setting.section == name,
    }
}

/// What to say where the words name a section, or a domain whose dots are not in quotes.
fn not_a_key(words: &[&str]) -> Option<String> {
    let is_key = |section: &str, last: &str| {
        SECTIONS.iter().any(|one| one.name == section && one.keys.iter().any(|key| key.name == last))
    };
    let is_near = |section: &str, last: &str| {
        let keys = SECTIONS.iter().filter(|one| one.name == section).flat_map(|one| one.keys);
        nearest(last, keys.map(|key| key.name)).is_some()
    };
    match words {
        [only] if !is_key("", only) => keys_of(only),
        ["listener", number] if number.parse::<usize>().is_ok() => keys_of("listener"),
        ["listener", number, "limits"] if number.parse::<usize>().is_ok() => keys_of("limits"),
        ["domain", name] if name.contains('.') => keys_of("domain"),
        ["domain", name @ .., last] if name.len() > 1 && is_key("domain", last) => {
            Some(unquoted(&name.join("."), last))
        }
        ["domain", name @ ..] if name.len() > 2 || is_domain(name, |last| is_near("domain", last)) => {
            Some(unquoted(&name.join("."), "KEY"))
        }
        _ => None,
    }
}

/// Whether these words are the labels of a domain's name rather than a name and a misspelt key.
fn is_domain(words: &[&str], is_key: impl Fn(&str) -> bool) -> bool {
    matches!(words, [first, last] if !first.contains('.') && !is_key(last))
}

/// How to name a key of this domain in a shell.
fn unquoted(domain: &str, key: &str) -> String {
    format!("put the name of the domain in quotes: 'domain.\"{domain}\".{key}'")
}

/// The keys of a section, for somebody who asked for the section; `None` if there is none of this name.
fn keys_of(name: &str) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for section in SECTIONS.iter().filter(|section| section.name == name && !name.is_empty()) {
        names.extend(section.keys.iter().map(|key| full_name(section, key)));
    }
    (!names.is_empty()).then(|| format!("{} is a section; its keys are {}", shown(name), names.join(", ")))
}

fn unknown(name: &str) -> String {
    let names: Vec<String> =
        SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| full_name(section, key))).collect();
    let last_of = |full: &str| full.rsplit('.').next().unwrap_or_default().to_owned();
    let lasts: Vec<String> = names.iter().map(|known| last_of(known)).collect();
    let right = nearest(name, names.iter().map(String::as_str)).or_else(|| {
        let last = last_of(name);
        let alike = nearest(&last, lasts.iter().map(String::as_str))?;
        names.iter().map(String::as_str).find(|known| last_of(known) == alike)
    });
    let hint = right.map_or_else(String::new, |right| format!("; did you mean {right}?"));
    format!("there is no key {}{hint}", shown(name))
}

fn full_name(section: &Section, key: &Key) -> String {
    if section.name.is_empty() { key.name.to_owned() } else { format!("{}.{}", section.name, key.name) }
}

/// A working configuration in as few lines as there can be.
pub fn minimal_file(domain: &Domain, hostname: &Domain) -> String {
    format!(
        "# Postroad takes mail for {domain}. Every other key has a default: docs/configuration.md,\n\
         # `postroad config init` without --minimal, or `postroad config why KEY`.\n\
         hostname = {host}\n\
         data = \"/var/lib/postroad\"\n\
         \n\
         [[listener]]\n\
         address = \"0.0.0.0:25\"\n\
         \n\
         [[listener]]\n\
         address = \"[::]:25\"\n\
         \n\
         # With these two lines peers can use STARTTLS.\n\
         # [tls]\n\
         # certificate = \"/etc/postroad/fullchain.pem\"\n\
         # key = \"/etc/postroad/privkey.pem\"\n\
         \n\
         [domain.{name}]\n\
         mailboxes = [\"postmaster\"]\n\
         aliases = {{ abuse = [\"postmaster\"] }}\n",
        host = quoted(&hostname.to_string()),
        name = bare_or_quoted(&domain.to_string()),
    )
}

/// A working configuration that documents every key; what is left at its default is commented out.
pub fn full_file(domain: &Domain, hostname: &Domain) -> String {
    let mut out =
        format!("# Postroad takes mail for {domain}. A key that is commented out shows its default.\n");
    let mut before = None;
    for section in SECTIONS {
        let set = |pairs: &[(&str, String)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let (header, values) = match section.name {
            "" => (String::new(), set(&[("hostname", quoted(&hostname.to_string()))])),
            "listener" => ("[[listener]]".to_owned(), set(&[("address", "\"0.0.0.0:25\"".to_owned())])),
            "domain" => (
                format!("[domain.{}]", bare_or_quoted(&domain.to_string())),
                set(&[
                    ("mailboxes", "[\"postmaster\"]".to_owned()),
                    ("aliases", "{ abuse = [\"postmaster\"] }".to_owned()),
                ]),
            ),
            name => (format!("[{name}]"), Vec::new()),
        };
        out.push('\n');
        comment(&mut out, &join_doc(section.doc));
        if !header.is_empty() && before != Some(section.name) {
            line(&mut out, format_args!("{header}"));
        }
        before = Some(section.name);
        for key in section.keys {
            out.push('\n');
            comment(&mut out, &key.sentence());
            match values.iter().find(|(name, _)| name == key.name) {
                Some((_, value)) => line(&mut out, format_args!("{} = {value}", key.name)),
                None => line(&mut out, format_args!("# {} = {}", key.name, key.default)),
            }
        }
        if section.name == "listener" {
            out.push_str("\n[[listener]]\naddress = \"[::]:25\"\n");
        }
    }
    out
}

/// A comment, broken into lines of at most 96 characters.
fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count() + 1;
        if width == 0 || width + length > 96 {
            out.push_str(if width == 0 { "#" } else { "\n#" });
            width = 1;
        }
        out.push(' ');
        out.push_str(word);
        width += length;
    }
    out.push('\n');
}

/// The manual, docs/configuration.md.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Made from the table of keys in crates/server/src/config/keys.rs; a test compares the two. -->\n\n\
         One file, `postroad.toml` (TOML). Every key but a listener's address has a default, an unknown key\n\
         is an error, and all problems are reported at once, each with its line and what would be right.\n\n\
         - `postroad serve --config FILE` runs with it. Without `--config` no file is looked for and a safe\n\
         \x20 local instance starts: 127.0.0.1:2525, any recipient, one Maildir in `./postroad-data`, no TLS\n\
         \x20 (`--set tls.self_signed=true` switches it on).\n\
         - `postroad config check` says what is wrong, `effective` what is in force and where it was set,\n\
         \x20 `why KEY` what one key means and where its value comes from, `init` writes a new file.\n\
         - `--set KEY=VALUE` sets any key from the command line, with the same checks:\n\
         \x20 `--set limits.recipients=200`, `--set listener.0.address=127.0.0.1:2525`.\n\
         - Sizes are octets or have a unit (`\"50MiB\"`; B, KiB, MiB, GiB, TiB), times are seconds or have a\n\
         \x20 unit (`\"5m\"`; s, m, h, d). Relative paths in the file are relative to its directory.\n\
         - Exit codes: 78 for a wrong configuration, 66 for a file that cannot be read.\n",
    );
    let mut before = None;
    for section in SECTIONS {
        if before != Some(section.name) {
            let title = match section.name {
                "" => "Top of the file".to_owned(),
                "listener" => "`[[listener]]`".to_owned(),
                "domain" => "`[domain.\"NAME\"]`".to_owned(),
                name => format!("`[{name}]`"),
            };
            line(&mut out, format_args!("\n## {title}"));
        }
        before = Some(section.name);
        line(&mut out, format_args!("\n{}", join_doc(section.doc)));
        for key in section.keys {
            line(
                &mut out,
                format_args!(
                    "\n- **`{} = {}`**: {} Takes {}.",
                    key.name,
                    key.default,
                    key.sentence(),
                    key.takes()
                ),
            );
        }
    }
    out
}
