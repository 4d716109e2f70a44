//! Where a mailbox lies on disk, and how much it may hold.
//!
//! A [`Template`] such as `/var/mail/{domain}/{local}` makes a path of a mailbox. Peers choose local
//! parts (with any-recipient mode also domains), so each becomes path components that cannot climb
//! out or meet another's: lower case, everything but letters, digits and `-_=+.` percent-encoded, no
//! leading dot, over-long ones split. Two different mailboxes never share a path, unless the template
//! has no placeholder and so means one Maildir for all.
//! Errors are the operator's and come when the settings are read.

use crate::directory::{Directory, Unlisted, fold};
use postroad_proto::addr::Mailbox;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// Longest path component made here, in octets; file systems take 255.
const MAX_COMPONENT: usize = 200;

/// A path with the placeholders `{local}` and `{domain}`, each alone between slashes. Without them all
/// mailboxes share one Maildir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    root: PathBuf,
    base: PathBuf,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Local,
    Domain,
}

/// How much a mailbox may hold. Nothing set means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, written out by the configuration")]
pub struct Quota {
    /// Octets, as the files on disk have them.
    pub bytes: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

impl Quota {
    /// Whether there is a limit at all.
    pub const fn is_limited(&self) -> bool {
        self.bytes.is_some() || self.messages.is_some()
    }
}

/// What one mailbox has differently.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain data, written out by the configuration")]
pub struct Override {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Its own Maildir.
    pub maildir: Option<PathBuf>,
    /// Its own quota.
    pub quota: Option<Quota>,
}

/// Where a mailbox is delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what a mailbox's delivery needs, no more")]
pub struct Destination {
    /// The Maildir, the directory that holds `cur`, `new` and `tmp`.
    pub maildir: PathBuf,
    /// The directory that must be there already; what lies below it is made on demand.
    pub base: PathBuf,
    /// How much it may hold.
    pub quota: Quota,
}

/// Something wrong with the settings of a [`Route`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The template does not begin at the root.
    NotAbsolute(String),
    /// A path component that is `..`, holds a NUL or has a placeholder that does not stand alone.
    BadPart(String),
    /// An override's Maildir is not an absolute path without `..`.
    BadOverride(Mailbox, PathBuf),
    /// Two mailboxes would lie in one place.
    SamePlace(Mailbox, Mailbox),
    /// Any recipient of any domain is taken, and the template has one placeholder without the other.
    NoDomain(String),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute(template) => write!(f, "{template:?} must begin with a slash"),
            Self::BadPart(part) => {
                write!(
                    f,
                    "{part:?} cannot be part of the path: a placeholder stands alone between slashes, and .. is not allowed"
                )
            }
            Self::BadOverride(mailbox, path) => {
                write!(f, "the Maildir {} of {mailbox} must be an absolute path without ..", path.display())
            }
            Self::SamePlace(one, other) => write!(f, "{one} and {other} would share one Maildir"),
            Self::NoDomain(template) => {
                write!(
                    f,
                    "{template:?} needs both {{local}} and {{domain}}, or neither, where any recipient is taken"
                )
            }
        }
    }
}

impl std::error::Error for RouteError {}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(RouteError::NotAbsolute(text.into())) };
        let mut parts = Vec::new();
        for part in rest.split('/').filter(|part| !part.is_empty() && *part != ".") {
            parts.push(match part {
                "{local}" => Part::Local,
                "{domain}" => Part::Domain,
                _ if part == ".." || part.contains(['{', '}', '\0']) => {
                    return Err(RouteError::BadPart(part.into()));
                }
                fixed => Part::Fixed(fixed.into()),
            });
        }
        if parts.is_empty() {
            return Err(RouteError::BadPart(text.into()));
        }
        // Without a placeholder all mailboxes share one Maildir, which is made on demand as others are.
        let fixed = parts.iter().take_while(|part| matches!(part, Part::Fixed(_))).count();
        let mut base = PathBuf::from("/");
        for part in parts.iter().take(fixed.min(parts.len() - 1)) {
            if let Part::Fixed(name) = part {
                base.push(name);
            }
        }
        Ok(Self { root: PathBuf::from("/"), base, parts })
    }

    /// The same template below `root` instead of the root of the file system.
    #[must_use]
    pub fn below(mut self, root: &Path) -> Self {
        let inner = self.base.strip_prefix(&self.root).unwrap_or(&self.base);
        self.base = root.join(inner);
        self.root = root.to_path_buf();
        self
    }

    /// Whether mailboxes that differ only in their local part have Maildirs of their own.
    pub fn tells_locals_apart(&self) -> bool {
        self.parts.contains(&Part::Local)
    }

    /// Whether mailboxes that differ only in their domain have Maildirs of their own.
    pub fn tells_domains_apart(&self) -> bool {
        self.parts.contains(&Part::Domain)
    }

    /// The directory in front of the first placeholder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    fn fill(&self, local: &str, domain: &str) -> PathBuf {
        let mut path = self.root.clone();
        for part in &self.parts {
            match part {
                Part::Fixed(name) => path.push(name),
                Part::Local => push_encoded(&mut path, local),
                Part::Domain => push_encoded(&mut path, domain),
            }
        }
        path
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.to_string_lossy().trim_end_matches('/'))?;
        for part in &self.parts {
            match part {
                Part::Fixed(name) => write!(f, "/{name}")?,
                Part::Local => f.write_str("/{local}")?,
                Part::Domain => f.write_str("/{domain}")?,
            }
        }
        Ok(())
    }
}

/// Where all mailboxes lie.
#[derive(Clone, Debug)]
pub struct Route {
    template: Template,
    quota: Quota,
    overrides: HashMap<(String, String), Override>,
}

impl Route {
    /// Whether any mailbox has a quota.
    pub fn has_quotas(&self) -> bool {
        self.quota.is_limited()
            || self.overrides.values().any(|own| own.quota.is_some_and(|quota| quota.is_limited()))
    }

    /// A route from a template, the quota of each mailbox, and what some have differently. Fails if
    /// two mailboxes of `directory` would share a place.
    pub fn new(
        template: Template,
        quota: Quota,
        overrides: Vec<Override>,
        directory: &Directory,
    ) -> Result<Self, RouteError> {
        // All in one Maildir is what somebody can want; some by chance in one is not.
        if directory.unlisted() == Unlisted::Take
            && template.tells_locals_apart() != template.tells_domains_apart()
        {
            return Err(RouteError::NoDomain(template.to_string()));
        }
        let mut by_mailbox = HashMap::new();
        let mut listed = directory.listed().to_vec();
        for own in overrides {
            if let Some(path) = &own.maildir {
                let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
                if !path.is_absolute() || !path.components().all(plain) || path.parent().is_none() {
                    return Err(RouteError::BadOverride(own.mailbox, path.clone()));
                }
            }
            listed.push(own.mailbox.clone());
            by_mailbox.insert(fold(&own.mailbox), own);
        }
        let route = Self { template, quota, overrides: by_mailbox };
        let mut places = BTreeMap::new();
        for mailbox in listed {
            let place = route.destination(&mailbox).maildir;
            match places.get(&place) {
                Some(other) if fold(other) != fold(&mailbox) => {
                    return Err(RouteError::SamePlace(other.clone(), mailbox));
                }
                Some(_) => {}
                None => {
                    places.insert(place, mailbox);
                }
            }
        }
        Ok(route)
    }

    /// Where this mailbox lies.
    pub fn destination(&self, mailbox: &Mailbox) -> Destination {
        let key = fold(mailbox);
        let own = self.overrides.get(&key);
        let quota = own.and_then(|own| own.quota).unwrap_or(self.quota);
        match own.and_then(|own| own.maildir.as_ref()) {
            Some(maildir) => Destination {
                maildir: maildir.clone(),
                base: maildir.parent().unwrap_or(maildir).to_path_buf(),
                quota,
            },
            None => Destination {
                maildir: self.template.fill(&key.0, &key.1),
                base: self.template.base.clone(),
                quota,
            },
        }
    }

    /// The directory in front of the template's first placeholder.
    pub fn base(&self) -> &Path {
        self.template.base()
    }
}

/// Adds `name` as one component, or several if it is long. Nothing but the end of a piece that goes on
/// is a `%` without two digits behind it, so no two names make the same path.
fn push_encoded(path: &mut PathBuf, name: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut piece = String::new();
    for byte in name.bytes() {
        if piece.len() + 3 > MAX_COMPONENT {
            piece.push('%');
            path.push(&piece);
            piece.clear();
        }
        let plain = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_=+".contains(&byte);
        if plain || (byte == b'.' && !piece.is_empty()) {
            piece.push(char::from(byte));
        } else {
            piece.push('%');
            for half in [byte >> 4, byte & 15] {
                piece.push(HEX.get(usize::from(half)).copied().map_or('0', char::from));
            }
        }
    }
    path.push(&piece);
}

#[cfg(test)]
mod tests;
