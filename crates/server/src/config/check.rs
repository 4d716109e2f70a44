//! From the raw tree to the checked configuration; reports all that is wrong with it.

use super::files::Files;
use super::keys::{
    Content, Delivery, Http, LedgerKeys, Limits, ListenerKeys, Log, SECTIONS, SessionLimits, SpoolKeys,
    TlsKeys, Top,
};
use super::problem::Origin;
use super::raw::{Item, Node, Table};
use super::section::{Reader, Scope};
use super::types::{Config, Identity, ListenAddress, Listener, ListenerTls, LocalDomain, Tls};
use super::value::Value;
use super::words::{ListenerKind, ProxyMode, TlsChoice};
use postroad_delivery::directory::fold;
use postroad_proto::addr::Mailbox;
use std::collections::BTreeMap;
use std::path::Path;

/// The longest path of a socket file: `sun_path` of the smallest system, without its NUL.
const MAX_SOCKET_PATH: usize = 103;

const MAX_LISTENERS: usize = 256;

static EMPTY: Table = Table::new();

/// Checks the whole tree; `whole` is the place of what is missing from it. `None` only if the reader has problems.
pub(super) fn check(tree: &Table, whole: &Origin, files: &dyn Files, reader: &mut Reader) -> Option<Config> {
    let top_scope = Scope { path: String::new(), at: Origin::Default, table: tree, outer: None };
    let mut sections: Vec<&str> =
        SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty()).collect();
    sections.dedup();
    reader.refuse_others(&top_scope, &[&Top::SECTION], &sections);
    let top = Top::read(reader, &top_scope);

    let limits_scope = section(reader, tree, "limits");
    let shared = limits_scope.table;
    let written = listeners(reader, tree, whole, shared);
    let tls = {
        let scope = section(reader, tree, "tls");
        reader.refuse_others(&scope, &[&TlsKeys::SECTION], &[]);
        TlsKeys::read(reader, &scope).map(|keys| tls(reader, keys))
    };
    // with a fault at the top it is not known whether every address is meant, so nothing is said of it
    let accept_any = top.as_ref().is_none_or(|top| top.accept_any);
    let domains = match tree.get("domain").map(|node| (&node.item, node)) {
        None => BTreeMap::new(),
        Some((Item::Table(tables), _)) => super::domains::read(reader, tables, files, accept_any),
        Some((_, node)) => {
            reader.wrong(node.at.clone(), "domains are sections such as [domain.\"example.org\"]");
            BTreeMap::new()
        }
    };
    reader.refuse_others(&limits_scope, &[&Limits::SECTION, &SessionLimits::SECTION], &[]);
    let limits = Limits::read(reader, &limits_scope);
    let sessions = SessionLimits::read(reader, &limits_scope);
    macro_rules! plain {
        ($Section:ident) => {{
            let scope = section(reader, tree, $Section::SECTION.name);
            reader.refuse_others(&scope, &[&$Section::SECTION], &[]);
            $Section::read(reader, &scope)
        }};
    }
    let content = plain!(Content);
    let delivery = plain!(Delivery);
    let spool = plain!(SpoolKeys);
    let ledger = plain!(LedgerKeys);
    let http = plain!(Http);
    let log = plain!(Log);

    let places: Vec<(usize, &ListenAddress)> =
        written.iter().map(|listener| (listener.number, &listener.keys.address)).collect();
    overlaps(reader, &places);
    if let Some(top) = &top {
        reach(reader, top, &places, tree.contains_key("domain"), whole);
        socket_path(reader, "data", &top.data.join("control.sock"));
    }
    if let Some(delivery) = delivery.as_ref().filter(|_| !accept_any) {
        template(reader, delivery, &domains);
    }
    let postmaster = top.as_ref().and_then(|top| postmaster(reader, top, &domains));
    let listeners: Vec<Option<Listener>> =
        written.into_iter().map(|listener| resolve_listener(reader, listener, tls.as_ref())).collect();
    let listeners: Option<Vec<Listener>> = listeners.into_iter().collect();
    sessions?;
    let top = top?;
    Some(Config {
        hostname: top.hostname,
        data: top.data,
        postmaster: postmaster?,
        accept_any,
        listeners: listeners?,
        tls: tls?,
        limits: limits?,
        content: content?,
        domains,
        delivery: delivery?,
        spool: spool?,
        ledger: ledger?,
        http: http?,
        log: log?,
    })
}

/// The table of a section; an empty one if it is not there or not a table.
fn section<'a>(reader: &mut Reader, tree: &'a Table, name: &str) -> Scope<'a> {
    let (table, at) = match tree.get(name) {
        None => (&EMPTY, Origin::Default),
        Some(Node { item: Item::Table(table), at }) => (table, at.clone()),
        Some(node) => {
            reader
                .wrong(node.at.clone(), format!("{name} is {}; it must be a section [{name}]", node.named()));
            (&EMPTY, node.at.clone())
        }
    };
    Scope { path: name.to_owned(), at, table, outer: None }
}

/// A listener before it is known whether there is a certificate.
struct WrittenListener {
    number: usize,
    path: String,
    keys: ListenerKeys,
    /// `None` if they are wrong; that is reported where they stand.
    limits: Option<SessionLimits>,
}

fn listeners(reader: &mut Reader, tree: &Table, whole: &Origin, shared: &Table) -> Vec<WrittenListener> {
    let items = match tree.get("listener") {
        None => &[],
        Some(Node { item: Item::List(items), .. }) => items.as_slice(),
        Some(node) => {
            reader.wrong(node.at.clone(), "listeners are sections with two brackets: [[listener]]");
            return Vec::new();
        }
    };
    if items.is_empty() {
        reader.wrong(whole.clone(), "no listener; add [[listener]] and below it address = \"0.0.0.0:25\"");
    }
    if let Some(surplus) = items.get(MAX_LISTENERS) {
        reader.wrong(surplus.at.clone(), format!("more than {MAX_LISTENERS} listeners; leave some out"));
        return Vec::new();
    }
    items.iter().enumerate().filter_map(|(number, node)| listener(reader, number, node, shared)).collect()
}

fn listener(reader: &mut Reader, number: usize, node: &Node, shared: &Table) -> Option<WrittenListener> {
    let path = format!("listener.{number}");
    let Item::Table(table) = &node.item else {
        reader
            .wrong(node.at.clone(), format!("{path} is {}; it must be a section [[listener]]", node.named()));
        return None;
    };
    let scope = Scope { path: path.clone(), at: node.at.clone(), table, outer: None };
    reader.refuse_others(&scope, &[&ListenerKeys::SECTION], &["limits"]);
    let keys = if table.contains_key("address") {
        ListenerKeys::read(reader, &scope)
    } else {
        reader.wrong(node.at.clone(), format!("{path} has no address; add address = \"0.0.0.0:25\""));
        None
    };
    let own = section(reader, table, "limits");
    let own = Scope { path: format!("{path}.limits"), outer: Some(shared), ..own };
    reader.refuse_others(&own, &[&SessionLimits::SECTION], &[]);
    let limits = SessionLimits::read(reader, &own);
    Some(WrittenListener { number, path, keys: keys?, limits })
}

fn tls(reader: &mut Reader, keys: TlsKeys) -> Tls {
    let has = |path: &Path| !path.as_os_str().is_empty();
    let identity = match (has(&keys.certificate), has(&keys.key), keys.self_signed) {
        (true, true, false) => Identity::Files { certificate: keys.certificate, key: keys.key },
        (false, false, true) => Identity::SelfSigned,
        (false, false, false) => Identity::None,
        (_, _, true) => {
            let at = reader.settings.origin("tls.self_signed");
            reader.wrong(
                at,
                "tls.self_signed is true beside tls.certificate or tls.key; keep one or the other",
            );
            Identity::SelfSigned
        }
        (true, false, false) => {
            let at = reader.settings.origin("tls.certificate");
            reader.wrong(at, "tls.certificate is set without tls.key; name the file of its private key");
            Identity::SelfSigned
        }
        (false, true, false) => {
            let at = reader.settings.origin("tls.key");
            reader.wrong(at, "tls.key is set without tls.certificate; name the file of its certificate");
            Identity::SelfSigned
        }
    };
    Tls { identity, min_version: keys.min_version }
}

fn resolve_listener(reader: &mut Reader, written: WrittenListener, tls: Option<&Tls>) -> Option<Listener> {
    let WrittenListener { path, keys, limits, .. } = written;
    // with a fault in [tls] it is not known whether there is a certificate, so nothing is said of it
    let certificate = tls.is_none_or(|tls| tls.identity != Identity::None);
    let over_tcp = !matches!(keys.address, ListenAddress::Unix(_));
    let (mode, word) = match keys.tls {
        TlsChoice::Auto if certificate && over_tcp => (ListenerTls::Starttls, "starttls"),
        TlsChoice::Auto | TlsChoice::Off => (ListenerTls::Off, "off"),
        TlsChoice::Starttls => (ListenerTls::Starttls, "starttls"),
        TlsChoice::Implicit => (ListenerTls::Implicit, "implicit"),
    };
    reader.settings.resolve(&format!("{path}.tls"), Value::text(word));
    if mode != ListenerTls::Off && !certificate {
        let at = reader.settings.origin(&format!("{path}.tls"));
        let right = "set certificate and key in [tls], or self_signed = true";
        reader.wrong(at, format!("{path}.tls is \"{word}\" and there is no certificate; {right}"));
    }
    let address_at = reader.settings.origin(&format!("{path}.address"));
    match &keys.address {
        ListenAddress::Unix(socket) => {
            if keys.kind != ListenerKind::Lmtp {
                reader.wrong(
                    address_at,
                    format!("{path} is a socket file, which is for LMTP; add kind = \"lmtp\""),
                );
            }
            socket_path(reader, &format!("{path}.address"), socket);
        }
        // RFC 2033 §5
        ListenAddress::Tcp(address) if keys.kind == ListenerKind::Lmtp && address.port() == 25 => {
            let text =
                format!("{path} speaks LMTP on port 25, which RFC 2033 §5 forbids; take another, such as 24");
            reader.wrong(address_at, text);
        }
        ListenAddress::Tcp(_) | ListenAddress::Inherited(_) => {}
    }
    let proxy = match keys.proxy {
        ProxyMode::Off => {
            if !keys.proxy_from.is_empty() {
                let at = reader.settings.origin(&format!("{path}.proxy_from"));
                reader.wrong(at, format!("{path}.proxy_from has no effect; add proxy = \"required\""));
            }
            None
        }
        ProxyMode::Required => {
            if keys.proxy_from.is_empty() && over_tcp {
                let at = reader.settings.origin(&format!("{path}.proxy"));
                let right = "name the networks of the proxies in proxy_from";
                reader.wrong(
                    at,
                    format!("{path}.proxy is \"required\" and anyone could send a PROXY header; {right}"),
                );
            }
            Some(keys.proxy_from)
        }
    };
    Some(Listener {
        address: keys.address,
        kind: keys.kind,
        tls: mode,
        proxy,
        pregreet: keys.pregreet,
        bare_newline: keys.bare_newline,
        limits: limits?,
    })
}

/// Two listeners that cannot both have their address.
fn overlaps(reader: &mut Reader, listeners: &[(usize, &ListenAddress)]) {
    let clash = |a: &ListenAddress, b: &ListenAddress| match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            // The same address with port 0 twice is two sockets to the system, and one name to us.
            a == b
                || a.port() == b.port()
                    && a.port() != 0
                    && a.is_ipv4() == b.is_ipv4()
                    && (a.ip().is_unspecified() || b.ip().is_unspecified())
        }
        (a, b) => a == b,
    };
    for (at, (number, address)) in listeners.iter().enumerate() {
        let mut before = listeners.iter().take(at);
        if let Some((other, earlier)) = before.find(|(_, earlier)| clash(address, earlier)) {
            let place = reader.settings.origin(&format!("listener.{other}.address"));
            reader.wrong(
                reader.settings.origin(&format!("listener.{number}.address")),
                format!(
                    "listener.{number}.address {address} is taken by {earlier} of listener.{other} ({place}); change \
                     or remove one"
                ),
            );
        }
    }
}

/// Whether anyone can have mail delivered here, and nobody from outside who should not.
fn reach(
    reader: &mut Reader,
    top: &Top,
    listeners: &[(usize, &ListenAddress)],
    has_domains: bool,
    whole: &Origin,
) {
    if top.accept_any {
        for (number, address) in listeners.iter().filter(|(_, address)| !address.is_local()) {
            let at = reader.settings.origin(&format!("listener.{number}.address"));
            let text = format!(
                "listener.{number}.address {address} can be reached from other machines, and accept_any would take \
                 mail for every domain there; listen on 127.0.0.1 or [::1], or set accept_any = false and name your \
                 domains"
            );
            reader.wrong(at, text);
        }
    } else if !has_domains {
        reader.wrong(whole.clone(), "no domain to take mail for; add [domain.\"example.org\"] and below it mailboxes = [\"postmaster\"]");
    }
}

fn socket_path(reader: &mut Reader, key: &str, socket: &Path) {
    let length = socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let at = reader.settings.origin(key);
        let text = format!(
            "the socket {} has a path of {length} octets; systems take {MAX_SOCKET_PATH}",
            socket.display()
        );
        reader.wrong(at, format!("{key}: {text}"));
    }
}

/// Different mailboxes must not share a Maildir.
fn template(reader: &mut Reader, delivery: &Delivery, domains: &BTreeMap<String, LocalDomain>) {
    let missing =
        if !delivery.maildir.tells_locals_apart() && domains.values().any(|one| one.mailboxes.len() > 1) {
            "{local}"
        } else if !delivery.maildir.tells_domains_apart() && domains.len() > 1 {
            "{domain}"
        } else {
            return;
        };
    let at = reader.settings.origin("delivery.maildir");
    reader.wrong(at, format!("delivery.maildir has no {missing}, so that mailboxes would share a Maildir"));
}

fn postmaster(reader: &mut Reader, top: &Top, domains: &BTreeMap<String, LocalDomain>) -> Option<Mailbox> {
    if top.postmaster.is_empty() {
        let domain = domains.values().next().map_or(&top.hostname, |domain| &domain.name);
        let postmaster = Mailbox::new("postmaster", domain.clone()).ok()?;
        reader.settings.resolve("postmaster", Value::text(&postmaster));
        return Some(postmaster);
    }
    let fault = match Mailbox::parse(&top.postmaster) {
        Ok(mailbox) => {
            let (local, domain) = fold(&mailbox);
            let known = domains.get(&domain).is_some_and(|home| {
                home.mailboxes.contains(&local)
                    || home.aliases.contains_key(&local)
                    || home.catch_all.is_some()
                    || local == "postmaster"
            });
            if known || top.accept_any {
                return Some(mailbox);
            }
            "is no mailbox or alias in a domain of ours".to_owned()
        }
        Err(fault) => format!("is not an address: {fault}"),
    };
    let at = reader.settings.origin("postmaster");
    reader.wrong(at, format!("postmaster \"{}\" {fault}", top.postmaster.escape_debug()));
    None
}
