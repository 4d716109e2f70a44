//! Sections: the macro that makes a struct, its reader and its documentation from one list of keys.

use super::kind::{Asked, Kind};
use super::problem::{Origin, Problem};
use super::raw::{Node, Table, bare_or_quoted, parse_value};
use super::value::Value;
use std::collections::BTreeMap;

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name inside its section.
    pub name: &'static str,
    /// Its meaning, line by line.
    pub doc: &'static [&'static str],
    /// Its default as it would stand in the file.
    pub default: &'static str,
    takes: fn() -> String,
}

impl Key {
    pub(super) const fn new(
        name: &'static str,
        doc: &'static [&'static str],
        default: &'static str,
        takes: fn() -> String,
    ) -> Self {
        Self { name, doc, default, takes }
    }

    /// What it takes, such as `a whole number from 100 to 1000000`.
    pub fn takes(&self) -> String {
        (self.takes)()
    }

    /// Its meaning in one line.
    pub fn sentence(&self) -> String {
        join_doc(self.doc)
    }
}

/// What is known of one section.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name: `limits`; empty for the keys at the top of the file.
    pub name: &'static str,
    /// Its meaning, line by line.
    pub doc: &'static [&'static str],
    /// Its keys in the order of the manual.
    pub keys: &'static [Key],
}

pub(super) fn join_doc(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Makes a section: `field: Type as Kind = default;`. The default is TOML.
macro_rules! section {
    ($(#[doc = $sdoc:literal])* $vis:vis struct $Name:ident = $section:literal {
        $($(#[doc = $kdoc:literal])* $field:ident: $type:ty as $kind:ty = $default:tt;)*
    }) => {
        $(#[doc = $sdoc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $Name { $($(#[doc = $kdoc])* $vis $field: $type,)* }

        impl $Name {
            pub(super) const SECTION: Section = Section {
                name: $section,
                doc: &[$($sdoc),*],
                keys: &[$($crate::config::section::Key::new(
                    stringify!($field),
                    &[$($kdoc),*],
                    stringify!($default),
                    <$kind as $crate::config::kind::Kind>::takes,
                )),*],
            };

            /// Reads every key of the section; `None` if any was wrong.
            pub(super) fn read(
                reader: &mut $crate::config::section::Reader,
                scope: &$crate::config::section::Scope<'_>,
            ) -> Option<Self> {
                $(let $field = reader.read::<$kind>(scope, stringify!($field), stringify!($default));)*
                Some(Self { $($field: $field?),* })
            }
        }
    };
}
pub(super) use section;

/// One setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The full name of its section, such as `domain."example.org"` or `listener.0`; empty for the top.
    pub section: String,
    /// Its name in the section.
    pub name: String,
    /// Its value, in its plainest form.
    pub value: Value,
    /// Where it was set.
    pub origin: Origin,
}

impl Setting {
    /// Its full name, such as `domain."example.org".mailboxes` or `listener.0.address`.
    pub fn key(&self) -> String {
        if self.section.is_empty() { self.name.clone() } else { format!("{}.{}", self.section, self.name) }
    }
}

/// All settings in force, in the order of the manual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    list: Vec<Setting>,
    places: BTreeMap<String, usize>,
}

impl Settings {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.list.iter()
    }

    /// One of them, by its full name.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.list.get(*self.places.get(key)?)
    }

    /// Where a key was set; the default if it was not.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Puts what a setting came to in place of how it was written.
    pub(super) fn resolve(&mut self, key: &str, value: Value) {
        if let Some(setting) = self.places.get(key).and_then(|at| self.list.get_mut(*at)) {
            setting.value = value;
        }
    }

    fn push(&mut self, setting: Setting) {
        self.places.insert(setting.key(), self.list.len());
        self.list.push(setting);
    }
}

/// A table that is being read.
pub(super) struct Scope<'a> {
    /// The full name of the table; empty for the top.
    pub(super) path: String,
    /// Where it stands.
    pub(super) at: Origin,
    pub(super) table: &'a Table,
    /// Where to look for what it does not have; what is found there belongs there.
    pub(super) outer: Option<&'a Table>,
}

impl Scope<'_> {
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// How the table is named in a message: `[domain."example.org"]`.
    pub(super) fn title(&self) -> String {
        if self.path.is_empty() { "at the top of the file".to_owned() } else { format!("in [{}]", self.path) }
    }
}

/// What has been read and what was wrong with it.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    pub(super) settings: Settings,
}

impl Reader {
    pub(super) fn wrong(&mut self, at: Origin, text: impl Into<String>) {
        self.problems.push(Problem::new(at, text));
    }

    /// Reads one key: from its table, or else its default.
    pub(super) fn read<K: Kind>(&mut self, scope: &Scope<'_>, name: &str, default: &str) -> Option<K::Out> {
        let key = scope.key(name);
        let own = scope.table.get(name);
        let outer = scope.outer.and_then(|table| table.get(name));
        let fallback;
        let node: &Node = if let Some(node) = own.or(outer) {
            node
        } else {
            fallback = parse_value(default, &Origin::Default, &mut self.problems)?;
            &fallback
        };
        // a fault in the outer table is reported when that is read
        let mut unheard = Vec::new();
        let inherited = own.is_none() && scope.outer.is_some();
        let problems = if inherited { &mut unheard } else { &mut self.problems };
        let value = K::read(node, &mut Asked { key: &key, problems })?;
        if !inherited {
            self.settings.push(Setting {
                section: scope.path.clone(),
                name: name.to_owned(),
                value: K::write(&value),
                origin: node.at.clone(),
            });
        }
        Some(value)
    }

    /// Reports every key of the table that is none of `known` (and no table named in `tables`).
    pub(super) fn refuse_others(&mut self, scope: &Scope<'_>, known: &[&Section], tables: &[&str]) {
        let names: Vec<&str> = known
            .iter()
            .flat_map(|section| section.keys)
            .map(|key| key.name)
            .chain(tables.iter().copied())
            .collect();
        for (name, node) in scope.table {
            if !names.contains(&name.as_str()) {
                let hint = hint(name, &names);
                let what = if node.is_section() && scope.path.is_empty() {
                    format!("unknown section [{}]", bare_or_quoted(name))
                } else {
                    format!("unknown key \"{}\" {}", name.escape_debug(), scope.title())
                };
                self.wrong(node.at.clone(), format!("{what}{hint}"));
            }
        }
    }
}

/// The end of the sentence about an unknown name: what would be right.
fn hint(name: &str, names: &[&str]) -> String {
    let elsewhere = super::keys::SECTIONS
        .iter()
        .find(|section| section.keys.iter().any(|key| key.name == name))
        .map(|section| match section.name {
            "" => "; it belongs at the top of the file".to_owned(),
            "listener" => "; it belongs in [[listener]]".to_owned(),
            "domain" => "; it belongs in [domain.\"NAME\"]".to_owned(),
            other => format!("; it belongs in [{other}]"),
        });
    match nearest(name, names.iter().copied()) {
        Some(right) => format!("; did you mean \"{right}\"?"),
        None => elsewhere.unwrap_or_else(|| format!("; known here: {}", names.join(", "))),
    }
}

/// The name most like `name`, if any is much like it.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // a longer name than any of ours is like none of them, and its distance would cost its square
    if name.len() > 80 {
        return None;
    }
    names
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .map(|(_, known)| known)
}
