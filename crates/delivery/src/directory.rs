//! Which mailboxes an address means: domains, mailboxes, aliases, catch-all, plus addressing.
//!
//! RFC 5321 §2.3.11 (local parts are ours to interpret), §2.4 (domains have no case; here local parts
//! have none either), §4.5.1 (postmaster always works); RFC 5890 §2.3.2.1 (a domain's A-label and
//! U-label are one domain). Aliases are expanded when the directory is
//! built, so [`Directory::resolve`] is a look-up that cannot fail or loop. What is wrong with the
//! settings is the operator's fault and comes as [`DirectoryError`], all problems at once.
//! Left out: targets outside of our domains (that would be relaying), and DNS.

use icu_normalizer::ComposingNormalizerBorrowed;
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use postroad_proto::addr::{Domain, ForwardPath, Mailbox};
use postroad_proto::envelope::Recipient;
use postroad_proto::reply::{Refusal, Reply, ReplyId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// How many aliases may stand behind one another.
const MAX_DEPTH: usize = 16;
/// How many mailboxes one alias may mean in the end.
const MAX_TARGETS: usize = 1000;

/// What a [`Directory`] is built from.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "plain data, written out by the configuration")]
pub struct DirectorySettings {
    /// Our domains. The first is the default domain, to which `<Postmaster>` without a domain goes.
    pub domains: Vec<DomainSettings>,
    /// What becomes of an address that is listed nowhere.
    pub unlisted: Unlisted,
}

/// What becomes of an address that is listed nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "taken or not")]
pub enum Unlisted {
    /// Refused: no such mailbox in our domains, and other domains are not ours.
    #[default]
    Refuse,
    /// Taken: every address of every domain is a mailbox of its own. For local development only.
    Take,
}

/// One domain of ours.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain data, written out by the configuration")]
pub struct DomainSettings {
    /// Its name, or an address literal.
    pub name: Domain,
    /// The local parts of its mailboxes, without quotes. The first is postmaster when nothing else is.
    pub mailboxes: Vec<String>,
    /// Its aliases. An alias goes before a mailbox of the same name.
    pub aliases: Vec<Alias>,
    /// Who gets what nobody else does; empty: nobody.
    pub catch_all: Vec<Mailbox>,
    /// What separates a detail from the local part: with `+`, `bob+lists` is `bob`, unless
    /// `bob+lists` is itself a mailbox or an alias.
    pub separator: Option<char>,
}

/// One name that means other addresses.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain data, written out by the configuration")]
pub struct Alias {
    /// The local part, without quotes.
    pub name: String,
    /// Mailboxes or aliases in our domains. The alias's own address means the mailbox of that name.
    pub targets: Vec<Mailbox>,
}

/// Something wrong with [`DirectorySettings`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryError {
    /// There is no domain, so `<Postmaster>` would have nowhere to go.
    NoDomain,
    /// A domain is there twice.
    DuplicateDomain(Domain),
    /// A mailbox or an alias is there twice.
    DuplicateName(Mailbox),
    /// A local part that cannot be one.
    BadName(String, Domain),
    /// An alias without a target.
    NoTarget(Mailbox),
    /// A target that is in no domain of ours.
    RemoteTarget {
        /// The alias, or the domain whose catch-all it is.
        of: String,
        /// The target.
        target: Mailbox,
    },
    /// A target that nobody has.
    NoSuchTarget {
        /// The alias, or the domain whose catch-all it is.
        of: String,
        /// The target.
        target: Mailbox,
    },
    /// Aliases that lead back to themselves: the way, first and last the same.
    Loop(Vec<Mailbox>),
    /// More than 16 aliases behind one another.
    TooDeep(String),
    /// An alias that means more than 1,000 mailboxes.
    TooManyTargets(String),
    /// The default domain has nobody who could be postmaster.
    NoPostmaster(Domain),
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDomain => f.write_str("there is no domain: name at least one, for its postmaster"),
            Self::DuplicateDomain(domain) => write!(f, "the domain {domain} is there twice"),
            Self::DuplicateName(mailbox) => write!(f, "{mailbox} is there twice"),
            Self::BadName(name, domain) => {
                write!(f, "{name:?} cannot be a name in {domain}: 1 to 64 octets, no control characters")
            }
            Self::NoTarget(alias) => write!(f, "the alias {alias} has no target"),
            Self::RemoteTarget { of, target } => {
                write!(
                    f,
                    "{of}: {target} is not in a domain served here, and mail is not passed on elsewhere"
                )
            }
            Self::NoSuchTarget { of, target } => {
                write!(f, "{of}: there is no mailbox or alias {target}")
            }
            Self::Loop(way) => {
                f.write_str("aliases go round in a circle: ")?;
                for (place, alias) in way.iter().enumerate() {
                    write!(f, "{}{alias}", if place == 0 { "" } else { " -> " })?;
                }
                Ok(())
            }
            Self::TooDeep(of) => write!(f, "{of}: more than {MAX_DEPTH} aliases behind one another"),
            Self::TooManyTargets(of) => write!(f, "{of}: means more than {MAX_TARGETS} mailboxes"),
            Self::NoPostmaster(domain) => {
                write!(
                    f,
                    "{domain} is the default domain and needs a mailbox, a postmaster alias or a catch-all"
                )
            }
        }
    }
}

impl std::error::Error for DirectoryError {}

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "ours and known, ours and unknown, not ours")]
pub enum Resolution {
    /// These mailboxes get the message; never empty, each once.
    Deliver(Vec<Mailbox>),
    /// The domain is ours and has no such mailbox.
    NoSuchMailbox,
    /// The domain is not ours.
    NotOurs,
}

impl Resolution {
    /// The mailboxes, or what to say at RCPT.
    pub fn mailboxes(self) -> Result<Vec<Mailbox>, Refusal> {
        let id = match self {
            Self::Deliver(mailboxes) => return Ok(mailboxes),
            Self::NoSuchMailbox => ReplyId::NoSuchMailbox,
            Self::NotOurs => ReplyId::RelayDenied,
        };
        Err(Refusal::try_from(Reply::of(id)).unwrap_or_else(|_not_a_refusal| Refusal::trouble()))
    }
}

/// Who is who. Built once, then only read.
#[derive(Debug)]
pub struct Directory {
    domains: HashMap<String, Table>,
    listed: Vec<Mailbox>,
    postmaster: Vec<Mailbox>,
    unlisted: Unlisted,
}

/// One domain, with every name already expanded to mailboxes.
#[derive(Debug)]
struct Table {
    names: HashMap<String, Vec<Mailbox>>,
    postmaster: Vec<Mailbox>,
    catch_all: Vec<Mailbox>,
    separator: Option<char>,
}

impl Directory {
    /// Checks the settings and expands all aliases.
    pub fn build(settings: &DirectorySettings) -> Result<Self, Vec<DirectoryError>> {
        let mut errors = Vec::new();
        let names = Names::collect(settings, &mut errors);
        let default = settings.domains.first();
        if default.is_none() && settings.unlisted == Unlisted::Refuse {
            errors.push(DirectoryError::NoDomain);
        }
        let mut domains = HashMap::new();
        let mut postmaster = Vec::new();
        for (place, domain) in settings.domains.iter().enumerate() {
            let table = names.table(domain, settings.unlisted, &postmaster, &mut errors);
            if place == 0 {
                if table.postmaster.is_empty() && errors.is_empty() {
                    errors.push(DirectoryError::NoPostmaster(domain.name.clone()));
                }
                postmaster.clone_from(&table.postmaster);
            }
            domains.insert(domain_key(&domain.name), table);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if default.is_none() {
            postmaster.extend(Mailbox::parse("postmaster@localhost"));
        }
        Ok(Self { domains, listed: names.listed, postmaster, unlisted: settings.unlisted })
    }

    /// What the address means. Neither case of letters nor a detail behind the separator matters.
    pub fn resolve(&self, path: &ForwardPath) -> Resolution {
        let mailbox = match path {
            ForwardPath::Postmaster => return Resolution::Deliver(self.postmaster.clone()),
            ForwardPath::Mailbox(mailbox) => mailbox,
        };
        let (local, domain) = fold(mailbox);
        if let Some(table) = self.domains.get(&domain) {
            if let Some(found) = table.find(&local) {
                return Resolution::Deliver(found.to_vec());
            }
        } else if self.unlisted == Unlisted::Refuse {
            return Resolution::NotOurs;
        }
        match self.unlisted {
            Unlisted::Refuse => Resolution::NoSuchMailbox,
            Unlisted::Take => Resolution::Deliver(vec![folded(mailbox)]),
        }
    }

    /// The mailboxes that were listed, in the order of the settings; for checks and for an operator.
    pub fn listed(&self) -> &[Mailbox] {
        &self.listed
    }

    /// Whether addresses that are listed nowhere are taken.
    pub fn unlisted(&self) -> Unlisted {
        self.unlisted
    }
}

impl Table {
    fn find(&self, local: &str) -> Option<&[Mailbox]> {
        let known = |name: &str| match self.names.get(name) {
            Some(found) => Some(found.as_slice()),
            None if name == "postmaster" => Some(self.postmaster.as_slice()),
            None => None,
        };
        let base = || {
            let (base, _detail) = local.split_once(self.separator?)?;
            known(base)
        };
        known(local).or_else(base).or(Some(&self.catch_all)).filter(|found| !found.is_empty())
    }
}

/// The recipients of an envelope, from what was accepted at RCPT and what [`Directory::resolve`] made
/// of it: each mailbox once, and the address the peer wrote where it was another.
pub fn final_recipients(accepted: impl IntoIterator<Item = (ForwardPath, Vec<Mailbox>)>) -> Vec<Recipient> {
    let mut seen = BTreeSet::new();
    let mut recipients = Vec::new();
    for (path, mailboxes) in accepted {
        let written = match path {
            ForwardPath::Mailbox(mailbox) => Some(mailbox),
            // without a domain it meant the default one, that of the first who gets it
            ForwardPath::Postmaster => {
                mailboxes.first().and_then(|first| Mailbox::new("postmaster", first.domain().clone()).ok())
            }
        };
        for mailbox in mailboxes {
            let key = fold(&mailbox);
            if seen.contains(&key) {
                continue;
            }
            let original = written.clone().filter(|written| fold(written) != key);
            seen.insert(key);
            recipients.push(Recipient { mailbox, original });
        }
    }
    recipients
}

/// Which of the addresses that were accepted at RCPT get nothing, by their place, if these mailboxes are
/// refused: those with no other mailbox behind them. A refusal for now comes before one for ever.
pub fn refused_entirely(
    accepted: &[(ForwardPath, Vec<Mailbox>)],
    refused: &[(Mailbox, Refusal)],
) -> Vec<(usize, Refusal)> {
    let refused: BTreeMap<_, _> = refused.iter().map(|(mailbox, refusal)| (fold(mailbox), refusal)).collect();
    let of_all = |mailboxes: &[Mailbox]| {
        let found: Option<Vec<&Refusal>> =
            mailboxes.iter().map(|mailbox| refused.get(&fold(mailbox)).copied()).collect();
        let found = found?;
        found
            .iter()
            .find(|refusal| refusal.is_transient())
            .or(found.first())
            .map(|refusal| (*refusal).clone())
    };
    let each = accepted.iter().enumerate();
    each.filter_map(|(at, (_, mailboxes))| Some((at, of_all(mailboxes)?))).collect()
}

/// A mailbox as it is compared and looked up: local part as [`local_key`], domain as [`domain_key`].
pub fn fold(mailbox: &Mailbox) -> (String, String) {
    (local_key(mailbox.local()), domain_key(mailbox.domain()))
}

/// A local part as it is compared: lower case, and an accented letter in one form (NFC) however the
/// sender's keyboard made it (RFC 6532 §3.1).
pub fn local_key(local: &str) -> String {
    if local.is_ascii() {
        return local.to_ascii_lowercase();
    }
    ComposingNormalizerBorrowed::new_nfc().normalize(&local.to_lowercase()).into_owned()
}

/// A domain as it is compared: lower case (RFC 5321 §2.4) and, if it is an international one, its
/// A-labels (RFC 5890 §2.3.2.1). What is no valid international name is compared as it is written.
pub fn domain_key(domain: &Domain) -> String {
    /// What may not come out of a U-label: all but letters, digits, `-`, `.` and `_`.
    const NOT_IN_NAMES: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");
    let Domain::Name(name) = domain else { return domain.to_string() };
    if !is_international(name) {
        return name.to_ascii_lowercase();
    }
    match Uts46::new().to_ascii(name.as_bytes(), NOT_IN_NAMES, Hyphens::Allow, DnsLength::Ignore) {
        Ok(ascii) => Cow::into_owned(ascii),
        Err(_invalid) => name.to_lowercase(),
    }
}

/// Whether the name can be written in two ways: it has other letters than US-ASCII's, or an A-label.
fn is_international(name: &str) -> bool {
    let is_a_label = |label: &str| label.get(..4).is_some_and(|tag| tag.eq_ignore_ascii_case("xn--"));
    !name.is_ascii() || name.split('.').any(is_a_label)
}

/// The mailbox in lower case; as it was where lower case would make it too long. An international
/// domain stays in the form that the sender chose.
fn folded(mailbox: &Mailbox) -> Mailbox {
    let domain = Domain::parse(&mailbox.domain().to_string().to_lowercase())
        .unwrap_or_else(|_too_long| mailbox.domain().clone());
    Mailbox::new(&local_key(mailbox.local()), domain).unwrap_or_else(|_too_long| mailbox.clone())
}

type Key = (String, String);

/// The names as they are listed, before aliases are expanded.
struct Names<'a> {
    mailboxes: HashMap<Key, Mailbox>,
    aliases: HashMap<Key, &'a [Mailbox]>,
    domains: BTreeSet<String>,
    listed: Vec<Mailbox>,
}

impl<'a> Names<'a> {
    fn collect(settings: &'a DirectorySettings, errors: &mut Vec<DirectoryError>) -> Self {
        let mut names = Self {
            mailboxes: HashMap::new(),
            aliases: HashMap::new(),
            domains: BTreeSet::new(),
            listed: Vec::new(),
        };
        for domain in &settings.domains {
            if !names.domains.insert(domain_key(&domain.name)) {
                errors.push(DirectoryError::DuplicateDomain(domain.name.clone()));
            }
            let local = |name: &str| {
                Mailbox::new(name, domain.name.clone())
                    .map_err(|_why| DirectoryError::BadName(name.into(), domain.name.clone()))
            };
            for name in &domain.mailboxes {
                match local(name) {
                    Err(error) => errors.push(error),
                    Ok(mailbox) => {
                        if names.mailboxes.insert(fold(&mailbox), mailbox.clone()).is_some() {
                            errors.push(DirectoryError::DuplicateName(mailbox));
                        } else {
                            names.listed.push(mailbox);
                        }
                    }
                }
            }
            for alias in &domain.aliases {
                match local(&alias.name) {
                    Err(error) => errors.push(error),
                    Ok(name) if alias.targets.is_empty() => errors.push(DirectoryError::NoTarget(name)),
                    Ok(name) => {
                        if names.aliases.insert(fold(&name), &alias.targets).is_some() {
                            errors.push(DirectoryError::DuplicateName(name));
                        }
                    }
                }
            }
        }
        names
    }

    fn table(
        &self,
        domain: &DomainSettings,
        unlisted: Unlisted,
        default_postmaster: &[Mailbox],
        errors: &mut Vec<DirectoryError>,
    ) -> Table {
        let mut expanded = HashMap::new();
        let mut first = None;
        for name in &domain.mailboxes {
            if let Ok(mailbox) = Mailbox::new(name, domain.name.clone()) {
                first.get_or_insert_with(|| mailbox.clone());
                expanded.insert(fold(&mailbox).0, vec![mailbox]);
            }
        }
        for alias in &domain.aliases {
            let Ok(name) = Mailbox::new(&alias.name, domain.name.clone()) else { continue };
            match self.expand(&format!("alias {name}"), &name, unlisted) {
                Ok(mailboxes) => {
                    expanded.insert(fold(&name).0, mailboxes);
                }
                // a circle shows up from each of its aliases; once is enough
                Err(DirectoryError::Loop(_))
                    if errors.iter().any(|e| matches!(e, DirectoryError::Loop(_))) => {}
                Err(error) => errors.push(error),
            }
        }
        let mut catch_all = Vec::new();
        for target in &domain.catch_all {
            match self.expand(&format!("catch-all of {}", domain.name), target, unlisted) {
                Ok(found) => catch_all.extend(found),
                Err(error) => errors.push(error),
            }
        }
        let mut seen = BTreeSet::new();
        catch_all.retain(|mailbox| seen.insert(fold(mailbox)));
        let own = || Mailbox::new("postmaster", domain.name.clone()).ok();
        let postmaster = match (expanded.get("postmaster"), first, unlisted) {
            (Some(listed), ..) => listed.clone(),
            (None, ..) if !catch_all.is_empty() => catch_all.clone(),
            (None, Some(first), _) => vec![first],
            (None, None, Unlisted::Take) => own().into_iter().collect(),
            (None, None, Unlisted::Refuse) => default_postmaster.to_vec(),
        };
        Table { names: expanded, postmaster, catch_all, separator: domain.separator }
    }

    /// All mailboxes that `name` means, each once.
    fn expand(&self, of: &str, name: &Mailbox, unlisted: Unlisted) -> Result<Vec<Mailbox>, DirectoryError> {
        let mut walk =
            Walk { names: self, of, unlisted, way: Vec::new(), done: BTreeSet::new(), found: Vec::new() };
        walk.visit(name)?;
        Ok(walk.found)
    }
}

/// A walk from one alias to its mailboxes. Bounded by [`MAX_DEPTH`], and by visiting each name once.
struct Walk<'a> {
    names: &'a Names<'a>,
    of: &'a str,
    unlisted: Unlisted,
    way: Vec<Mailbox>,
    done: BTreeSet<Key>,
    found: Vec<Mailbox>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &Mailbox) -> Result<(), DirectoryError> {
        let key = fold(name);
        // an alias that names itself means the mailbox of that name: "bob, and a copy to the archive"
        let itself = self.way.last().is_some_and(|last| fold(last) == key);
        let mailbox = self.names.mailboxes.get(&key);
        if let Some(targets) = self.names.aliases.get(&key).filter(|_| !(itself && mailbox.is_some())) {
            if let Some(start) = self.way.iter().position(|seen| fold(seen) == key) {
                let mut circle: Vec<Mailbox> = self.way.iter().skip(start).cloned().collect();
                circle.push(name.clone());
                return Err(DirectoryError::Loop(circle));
            }
            if !self.done.insert(key) {
                return Ok(());
            }
            if self.way.len() >= MAX_DEPTH {
                return Err(DirectoryError::TooDeep(self.of.into()));
            }
            self.way.push(name.clone());
            for target in *targets {
                self.visit(target)?;
            }
            self.way.pop();
            return Ok(());
        }
        let mailbox = match mailbox {
            Some(mailbox) => mailbox.clone(),
            None if self.unlisted == Unlisted::Take => folded(name),
            None if !self.names.domains.contains(&key.1) => {
                return Err(DirectoryError::RemoteTarget { of: self.of.into(), target: name.clone() });
            }
            None => return Err(DirectoryError::NoSuchTarget { of: self.of.into(), target: name.clone() }),
        };
        if !self.found.contains(&mailbox) {
            if self.found.len() >= MAX_TARGETS {
                return Err(DirectoryError::TooManyTargets(self.of.into()));
            }
            self.found.push(mailbox);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
