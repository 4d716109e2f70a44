//! The values that a reply names: addresses, domains, web addresses, selectors, block lists.

use crate::answer::{Found, FoundKind};
use crate::reading::pattern::pattern;
use crate::reading::source::Text;
use std::net::IpAddr;
use std::ops::Range;

/// The most values of a kind that are told.
const MOST: usize = 8;

pattern!(URL, r#"https?://[^\s<>"')\]]+"#);
pattern!(
    ADDRESS,
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~\x80-\xff-]+@(?:[a-z0-9\x80-\xff](?:[a-z0-9\x80-\xff-]*)\.)*[a-z0-9\x80-\xff-]+"
);
pattern!(
    IP,
    r"(?:^|[^\w.:])((?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-f]{1,4}:){2,7}[0-9a-f:.]{1,39}|[0-9a-f]{1,4}::[0-9a-f:.]{0,39})"
);
pattern!(
    LIST,
    r"(?:blocked (?:using|by)|listed (?:in|by|at|on)|black ?list(?: at| on)?|rbl(?: at)?|found on|reject(?:ed)? by|according to) ([a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.[a-z]{2,})"
);
pattern!(SELECTOR, r"(?:\bs=|selector ?[=:]? ?)([a-z0-9][a-z0-9._-]*)|([a-z0-9][a-z0-9-]*)\._domainkey");
pattern!(
    DOMAIN,
    r"(?:^|[^\w.@/-])((?:[a-z0-9_\x80-\xff](?:[a-z0-9\x80-\xff-]*)\.)+[a-z\x80-\xff][a-z0-9\x80-\xff-]+)"
);

/// The values that a reply names, each once.
pub(crate) fn values(text: &Text) -> Vec<Found> {
    let bytes = text.bytes();
    let mut found: Vec<Found> = Vec::new();
    let mut taken: Vec<Range<usize>> = Vec::new();
    let mut add = |kind: FoundKind, range: Range<usize>, taken: &mut Vec<Range<usize>>| {
        let value = text.string(range.clone());
        let value = value.trim_end_matches(['.', ',', ';', ':']).to_owned();
        let range = range.start..range.start + value.len().min(range.len());
        if !value.is_empty() && !found.iter().any(|have| have.kind == kind && have.value == value) {
            found.push(Found { kind, value, range: text.origin(&range) });
        }
        taken.push(range);
    };
    for range in URL.find_all(bytes, MOST) {
        add(FoundKind::Url, range, &mut taken);
    }
    for range in ADDRESS.find_all(bytes, MOST) {
        if !overlaps(&taken, &range) {
            add(FoundKind::Address, range, &mut taken);
        }
    }
    for range in firsts(&LIST, bytes) {
        if !overlaps(&taken, &range) {
            add(FoundKind::List, range, &mut taken);
        }
    }
    for range in firsts(&IP, bytes) {
        let is_ip = std::str::from_utf8(text.slice(range.clone()))
            .is_ok_and(|text| text.trim_end_matches(['.', ':']).parse::<IpAddr>().is_ok());
        if is_ip && !overlaps(&taken, &range) {
            add(FoundKind::Ip, range, &mut taken);
        }
    }
    for range in firsts(&SELECTOR, bytes) {
        if !overlaps(&taken, &range) {
            add(FoundKind::Selector, range, &mut taken);
        }
    }
    for range in firsts(&DOMAIN, bytes) {
        if !overlaps(&taken, &range) && !is_symbol(text.slice(range.clone())) {
            add(FoundKind::Domain, range, &mut taken);
        }
    }
    found
}

/// Whether it is the name of an error, as Exchange writes it: `RESOLVER.ADR.RecipientNotFound`.
fn is_symbol(name: &[u8]) -> bool {
    let first = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let camel =
        last.windows(2).any(|two| matches!(two, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase()));
    let shouted = first.len() > 2 && first.iter().all(u8::is_ascii_uppercase);
    camel
        || (shouted
            && last.first().is_some_and(u8::is_ascii_uppercase)
            && last.iter().any(u8::is_ascii_lowercase))
}

fn overlaps(taken: &[Range<usize>], range: &Range<usize>) -> bool {
    taken.iter().any(|have| have.start < range.end && range.start < have.end)
}

fn firsts(pattern: &crate::reading::pattern::Pattern, bytes: &[u8]) -> Vec<Range<usize>> {
    let all = pattern.all_groups(bytes, MOST);
    all.into_iter().filter_map(|groups| groups.into_iter().skip(1).flatten().next()).collect()
}

/// The first mail address in a line, without brackets.
pub(crate) fn address(bytes: &[u8]) -> Option<Range<usize>> {
    ADDRESS.find(bytes)
}

/// Two copies of a text in which people's addresses cannot be taken for words: one that keeps their
/// domains, one that keeps nothing of them.
pub(crate) fn masked(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut domains, mut nothing) = (bytes.to_vec(), bytes.to_vec());
    for range in ADDRESS.find_all(bytes, 256) {
        let at =
            bytes.get(range.clone()).unwrap_or_default().iter().position(|byte| *byte == b'@').unwrap_or(0);
        fill(&mut domains, range.start..range.start + at);
        fill(&mut nothing, range);
    }
    (domains, nothing)
}

/// The words alone, at the same places: links say nothing, and the dots of names and numbers end no
/// sentence.
pub(crate) fn words_alone(masked: &[u8]) -> Vec<u8> {
    let mut words = masked.to_vec();
    for range in URL.find_all(masked, 256) {
        fill(&mut words, range);
    }
    for index in 1..words.len() {
        let inside = matches!(
            words.get(index - 1..index + 2),
            Some([before, b'.', after]) if before.is_ascii_alphanumeric() && after.is_ascii_alphanumeric()
        );
        if inside && let Some(byte) = words.get_mut(index) {
            *byte = b'_';
        }
    }
    words
}

/// The domains that a part of a reply names, in lower case.
pub(crate) fn domains(bytes: &[u8]) -> Vec<String> {
    let all = firsts(&DOMAIN, bytes).into_iter();
    all.map(|range| String::from_utf8_lossy(bytes.get(range).unwrap_or_default()).to_ascii_lowercase())
        .collect()
}

fn fill(bytes: &mut [u8], range: Range<usize>) {
    for byte in bytes.get_mut(range).unwrap_or_default() {
        *byte = b'x';
    }
}

/// Every mail address in a line.
pub(crate) fn addresses(bytes: &[u8]) -> Vec<Range<usize>> {
    ADDRESS.find_all(bytes, 64)
}
