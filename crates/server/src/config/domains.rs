//! The domains that mail is taken for: mailboxes, aliases and who stands behind them.
//!
//! Aliases are followed to their mailboxes here, once, so that the server only looks names up. Local
//! parts are compared in lower case (RFC 5321 §2.4 leaves that to the domain's own server).

use super::files::Files;
use super::keys::DomainKeys;
use super::problem::{Origin, Problem};
use super::raw::{Item, Node, Table, bare_or_quoted, shown};
use super::section::{Reader, Scope, nearest};
use super::types::LocalDomain;
use postroad_delivery::directory::{domain_key, fold, local_key};
use postroad_proto::addr::{Domain, Mailbox};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Mailboxes that one alias may stand for, and names that are followed to find them.
const MAX_EXPANSION: usize = 1000;
/// Beyond so many names a misspelt one is not compared with all of them.
const MAX_NAMES_FOR_HINT: usize = 1000;

/// A name that stands for others, as it was written.
struct Alias {
    at: Origin,
    targets: Vec<String>,
}

/// A domain as it was written.
struct Written {
    name: Domain,
    keys: DomainKeys,
    at: Origin,
    title: String,
    mailboxes: BTreeSet<String>,
    aliases: BTreeMap<String, Alias>,
    quota: BTreeMap<String, u64>,
}

type AllWritten = BTreeMap<String, Written>;

/// Reads all domains. With `accept_any` a domain needs no postmaster.
pub(super) fn read(
    reader: &mut Reader,
    tables: &Table,
    files: &dyn Files,
    accept_any: bool,
) -> BTreeMap<String, LocalDomain> {
    let mut all = AllWritten::new();
    for (text, node) in tables {
        if let Some((key, written)) = read_one(reader, text, node, files) {
            // tables come in the order of their names, so the later one in the file may come first
            let kept = match all.remove(&key) {
                None => written,
                Some(other) => {
                    let (earlier, later) =
                        if line(&written.at) < line(&other.at) { (written, other) } else { (other, written) };
                    reader.wrong(later.at, format!("{} is there already as {}", later.title, earlier.title));
                    earlier
                }
            };
            all.insert(key, kept);
        }
    }
    all.iter().map(|(key, written)| (key.clone(), check(reader, &all, key, written, accept_any))).collect()
}

fn line(at: &Origin) -> usize {
    match at {
        Origin::File { line, .. } => *line,
        Origin::Default | Origin::Local | Origin::Option(_) => 0,
    }
}

fn read_one(reader: &mut Reader, text: &str, node: &Node, files: &dyn Files) -> Option<(String, Written)> {
    let title = format!("[domain.{}]", bare_or_quoted(text));
    let Item::Table(table) = &node.item else {
        reader.wrong(node.at.clone(), format!("{title} is {}; it must be a section", node.named()));
        return None;
    };
    let scope =
        Scope { path: format!("domain.{}", bare_or_quoted(text)), at: node.at.clone(), table, outer: None };
    // TOML takes the dots of an unquoted name for steps into tables
    let known = |name: &str| DomainKeys::SECTION.keys.iter().any(|key| key.name == name);
    if let Some((rest, inner)) =
        table.iter().find(|(name, node)| !known(name) && matches!(node.item, Item::Table(_)))
    {
        let right = "put the domain in quotes, such as [domain.\"example.org\"]";
        reader.wrong(inner.at.clone(), format!("{title} has a section {}; {right}", bare_or_quoted(rest)));
        return None;
    }
    let name = match Domain::parse(text) {
        Ok(name) => Some(name),
        Err(fault) => {
            reader.wrong(node.at.clone(), format!("{title}: {fault}"));
            None
        }
    };
    reader.refuse_others(&scope, &[&DomainKeys::SECTION], &[]);
    let keys = DomainKeys::read(reader, &scope);
    let (name, keys) = (name?, keys?);
    let mut written = Written {
        name,
        at: scope.at.clone(),
        title,
        mailboxes: BTreeSet::new(),
        aliases: BTreeMap::new(),
        quota: BTreeMap::new(),
        keys,
    };
    for (at, mailbox) in written.keys.mailboxes.iter().enumerate() {
        let origin = element(table, "mailboxes", |item| match item {
            Item::List(items) => items.get(at),
            Item::Text(_) | Item::Integer(_) | Item::Flag(_) | Item::Table(_) | Item::Other(_) => None,
        })
        .unwrap_or_else(|| reader.settings.origin(&scope.key("mailboxes")));
        if let Some(local) = local_part(reader, &origin, mailbox, &written) {
            written.mailboxes.insert(local);
        }
    }
    let listed = read_lines(reader, files, &written.keys.mailboxes_file, &scope.key("mailboxes_file"));
    for (at, line) in listed {
        if let Some(local) = local_part(reader, &at, &line, &written) {
            written.mailboxes.insert(local);
        }
    }
    let mut aliases: Vec<(Origin, String, Vec<String>)> = Vec::new();
    for (alias, targets) in &written.keys.aliases {
        let at = element(table, "aliases", |item| match item {
            Item::Table(fields) => fields.get(alias),
            Item::Text(_) | Item::Integer(_) | Item::Flag(_) | Item::List(_) | Item::Other(_) => None,
        })
        .unwrap_or_else(|| reader.settings.origin(&scope.key("aliases")));
        aliases.push((at, alias.clone(), targets.clone()));
    }
    for (at, line) in read_lines(reader, files, &written.keys.aliases_file, &scope.key("aliases_file")) {
        match line.split_once(':') {
            Some((alias, targets)) => {
                let targets = targets.split(',').map(str::trim).filter(|target| !target.is_empty());
                aliases.push((at, alias.trim().to_owned(), targets.map(str::to_owned).collect()));
            }
            None => reader.wrong(at, format!("{} is not \"name: target, target\"", shown(&line))),
        }
    }
    for (at, alias, targets) in aliases {
        let Some(local) = local_part(reader, &at, &alias, &written) else { continue };
        if written.mailboxes.contains(&local) {
            reader
                .wrong(at, format!("{} is both a mailbox and an alias of {}", shown(&alias), written.title));
        } else if let Some(other) = written.aliases.get(&local) {
            let text = format!("alias {} of {} is already at {}", shown(&alias), written.title, other.at);
            reader.wrong(at, text);
        } else {
            written.aliases.insert(local, Alias { at, targets });
        }
    }
    for (mailbox, size) in &written.keys.quota {
        let origin = reader.settings.origin(&scope.key("quota"));
        let Some(local) = local_part(reader, &origin, mailbox, &written) else { continue };
        if written.mailboxes.contains(&local) {
            written.quota.insert(local, *size);
        } else {
            let hint = hint(&local, &written);
            reader.wrong(
                origin,
                format!("quota for {}, which is no mailbox of {}{hint}", shown(mailbox), written.title),
            );
        }
    }
    Some((domain_key(&written.name), written))
}

/// Where an element of a list or table was written, if it was written in the tree.
fn element<'a>(
    table: &'a Table,
    key: &str,
    pick: impl FnOnce(&'a Item) -> Option<&'a Node>,
) -> Option<Origin> {
    table.get(key).and_then(|node| pick(&node.item)).map(|node| node.at.clone())
}

/// Lines of a flat file that say something, without their comments.
fn read_lines(reader: &mut Reader, files: &dyn Files, file: &Path, key: &str) -> Vec<(Origin, String)> {
    if file.as_os_str().is_empty() {
        return Vec::new();
    }
    match files.read(file) {
        Ok(text) => {
            let file: Arc<Path> = file.into();
            let lines = text.lines().enumerate().map(|(at, line)| {
                let said = line.split_once('#').map_or(line, |(said, _)| said).trim();
                (Origin::File { file: Arc::clone(&file), line: at + 1 }, said.to_owned())
            });
            lines.filter(|(_, said)| !said.is_empty()).collect()
        }
        Err(error) => {
            let at = reader.settings.origin(key);
            reader.wrong(at, format!("{key}: cannot read {}: {error}", file.display()));
            Vec::new()
        }
    }
}

/// A local part in the form it is looked up with; a whole address is taken if its domain is this one.
fn local_part(reader: &mut Reader, at: &Origin, text: &str, written: &Written) -> Option<String> {
    let whole = if text.contains('@') { text.to_owned() } else { format!("{text}@{}", written.name) };
    match Mailbox::parse(&whole) {
        Ok(mailbox) if domain_key(mailbox.domain()) == domain_key(&written.name) => {
            Some(local_key(mailbox.local()))
        }
        Ok(_) => {
            reader.wrong(at.clone(), format!("{} is not in {}", shown(text), written.title));
            None
        }
        Err(fault) => {
            reader.wrong(at.clone(), format!("{} in {}: {fault}", shown(text), written.title));
            None
        }
    }
}

/// Where a target leads: its domain's key and its local part.
type Place = (String, String);

fn check(
    reader: &mut Reader,
    all: &AllWritten,
    key: &str,
    written: &Written,
    accept_any: bool,
) -> LocalDomain {
    let mut aliases = BTreeMap::new();
    for (local, alias) in &written.aliases {
        let what = format!("alias {} of {}", shown(local), written.title);
        if alias.targets.is_empty() {
            reader.wrong(alias.at.clone(), format!("{what} goes to nobody; name a mailbox"));
            continue;
        }
        let mut sound = true;
        for target in &alias.targets {
            sound &= leads_somewhere(reader, all, key, &alias.at, &what, target);
        }
        if sound {
            let start = alias.targets.iter().filter_map(|target| place(key, target).ok()).collect();
            let mailboxes = expand(reader, all, start, &alias.at, &what);
            if !mailboxes.is_empty() {
                aliases.insert(local.clone(), mailboxes);
            }
        }
    }
    let mut catch_all = None;
    let target = &written.keys.catch_all;
    if !target.is_empty() {
        let at = reader
            .settings
            .origin(&format!("domain.{}.catch_all", bare_or_quoted(&written.name.to_string())));
        let what = format!("catch_all of {}", written.title);
        if leads_somewhere(reader, all, key, &at, &what, target) {
            let start = place(key, target).ok().into_iter().collect();
            catch_all =
                Some(expand(reader, all, start, &at, &what)).filter(|mailboxes| !mailboxes.is_empty());
        }
    }
    let own = || Mailbox::new("postmaster", written.name.clone()).into_iter().collect::<Vec<_>>();
    let postmaster = if written.mailboxes.contains("postmaster") {
        own()
    } else if let Some(mailboxes) = aliases.get("postmaster").or(catch_all.as_ref()) {
        mailboxes.clone()
    } else {
        // an alias or catch_all that is there and wrong has been reported already
        let meant = written.aliases.contains_key("postmaster") || !target.is_empty();
        if !accept_any && !meant {
            let someone = written.mailboxes.first().map_or("alice", String::as_str);
            reader.wrong(
                written.at.clone(),
                format!(
                    "{} has no postmaster, which RFC 5321 §4.5.1 requires; add aliases = {{ postmaster = [\"{}\"] }}",
                    written.title,
                    someone.escape_default()
                ),
            );
        }
        own()
    };
    LocalDomain {
        name: written.name.clone(),
        mailboxes: written.mailboxes.clone(),
        aliases,
        catch_all,
        plus: written.keys.plus,
        quota: written.quota.clone(),
        postmaster,
    }
}

fn place(domain: &str, target: &str) -> Result<Place, postroad_proto::addr::AddrError> {
    let whole = if target.contains('@') { target.to_owned() } else { format!("{target}@{domain}") };
    let mailbox = Mailbox::parse(&whole)?;
    let (local, domain) = fold(&mailbox);
    Ok((domain, local))
}

/// Whether a target is a mailbox or an alias of ours; reports it if not.
fn leads_somewhere(
    reader: &mut Reader,
    all: &AllWritten,
    domain: &str,
    at: &Origin,
    what: &str,
    target: &str,
) -> bool {
    let fault = match place(domain, target) {
        Err(fault) => format!(": {fault}"),
        Ok((domain, local)) => match all.get(&domain) {
            None => ", which is in no domain of ours".to_owned(),
            Some(home) if home.mailboxes.contains(&local) || home.aliases.contains_key(&local) => {
                return true;
            }
            Some(home) => {
                format!(", which is neither a mailbox nor an alias of {}{}", home.title, hint(&local, home))
            }
        },
    };
    reader.problems.push(Problem::new(at.clone(), format!("{what} goes to {}{fault}", shown(target))));
    false
}

fn hint(local: &str, home: &Written) -> String {
    if home.mailboxes.len() + home.aliases.len() > MAX_NAMES_FOR_HINT {
        return String::new();
    }
    let names = home.mailboxes.iter().chain(home.aliases.keys()).map(String::as_str);
    nearest(local, names).map_or_else(String::new, |right| format!("; did you mean {}?", shown(right)))
}

/// Follows aliases to their mailboxes, each once, in the order they were written.
fn expand(reader: &mut Reader, all: &AllWritten, start: Vec<Place>, at: &Origin, what: &str) -> Vec<Mailbox> {
    let mut open = start;
    open.reverse();
    let mut seen: BTreeSet<Place> = BTreeSet::new();
    let mut mailboxes = Vec::new();
    while let Some(next) = open.pop() {
        if seen.contains(&next) {
            continue;
        }
        if seen.len() == MAX_EXPANSION {
            reader.wrong(at.clone(), format!("{what} stands for more than {MAX_EXPANSION} names"));
            return Vec::new();
        }
        if let Some(home) = all.get(&next.0) {
            if home.mailboxes.contains(&next.1) {
                mailboxes.extend(Mailbox::new(&next.1, home.name.clone()));
            } else if let Some(alias) = home.aliases.get(&next.1) {
                open.extend(alias.targets.iter().rev().filter_map(|target| place(&next.0, target).ok()));
            }
        }
        seen.insert(next);
    }
    if mailboxes.is_empty() {
        reader.wrong(
            at.clone(),
            format!("{what} never reaches a mailbox: its targets are aliases of one another"),
        );
    }
    mailboxes
}
