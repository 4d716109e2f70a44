//! The checked configuration: what the server runs with.
//!
//! Addresses, paths, sizes and durations are parsed and every default is filled in. An `Option` here
//! means that something is switched off, never that a default is to be used. The sections that need
//! no more than their own checks ([`Limits`], [`Delivery`], …) are defined in the table of keys.

use super::keys::{Content, Delivery, Http, LedgerKeys, Limits, Log, SessionLimits, SpoolKeys};
use super::words::{BareNewline, ListenerKind, Pregreet, TlsVersion};
use postroad_delivery::route::Template;
use postroad_proto::addr::{Domain, Mailbox};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Everything the server needs to know, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name this server gives itself: greeting, EHLO reply, trace lines.
    pub hostname: Domain,
    /// Where everything lives that must survive a restart. Absolute.
    pub data: PathBuf,
    /// Who gets mail to `<Postmaster>` without a domain (RFC 5321 §4.5.1). One of ours.
    pub postmaster: Mailbox,
    /// Take mail for every address in every domain. Only with listeners that cannot be reached from
    /// outside this machine.
    pub accept_any: bool,
    /// Where to listen; never empty.
    pub listeners: Vec<Listener>,
    /// Certificate and TLS version.
    pub tls: Tls,
    /// What holds for the server as a whole.
    pub limits: Limits,
    /// What to do with messages whose header is not as it should be.
    pub content: Content,
    /// The domains that mail is taken for, by [`postroad_delivery::directory::domain_key`].
    pub domains: BTreeMap<String, LocalDomain>,
    /// Local delivery.
    pub delivery: Delivery,
    /// The spool.
    pub spool: SpoolKeys,
    /// The record of sessions and messages.
    pub ledger: LedgerKeys,
    /// Metrics and health.
    pub http: Http,
    /// The log.
    pub log: Log,
}

impl Config {
    /// The socket through which `queue`, `reload` and the like speak with the server.
    pub fn control_socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// The file of the ledger.
    pub fn ledger_file(&self) -> PathBuf {
        if self.ledger.path.as_os_str().is_empty() {
            self.data.join("ledger").join("ledger.db")
        } else {
            self.ledger.path.clone()
        }
    }
}

/// One place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// What is spoken there.
    pub kind: ListenerKind,
    /// Whether and when TLS begins.
    pub tls: ListenerTls,
    /// The networks whose PROXY header is required; `None`: no PROXY protocol here.
    pub proxy: Option<Vec<Network>>,
    /// What becomes of a peer that speaks before the greeting.
    pub pregreet: Pregreet,
    /// What becomes of a bare CR or LF in content.
    pub bare_newline: BareNewline,
    /// The limits of `[limits]`, with those that `[listener.limits]` changes.
    pub limits: SessionLimits,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ListenAddress {
    /// TCP. An IPv6 address takes IPv6 only: `[::]` and `0.0.0.0` can stand beside each other.
    Tcp(SocketAddr),
    /// A socket file. Absolute; LMTP only.
    Unix(PathBuf),
    /// A socket that the service manager has opened, by its name (`FileDescriptorName=`).
    Inherited(String),
}

/// Whether and when TLS begins on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenerTls {
    /// Never.
    Off,
    /// When the peer says STARTTLS (RFC 3207).
    Starttls,
    /// At once (RFC 8314 §3).
    Implicit,
}

/// The certificate and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate; anything but [`Identity::None`] if any listener has TLS.
    pub identity: Identity,
    /// The lowest version that is spoken.
    pub min_version: TlsVersion,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// There is none, and no listener has TLS.
    None,
    /// Files in PEM form, read again when they change. Absolute paths.
    Files {
        /// The chain, the server's own certificate first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// One that the server makes for itself in the data directory, for local use.
    SelfSigned,
}

/// A domain that mail is taken for.
///
/// Local parts are in lower case: they are compared without regard to the case of ASCII letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDomain {
    /// The domain as it was written.
    pub name: Domain,
    /// Local parts that have a mailbox.
    pub mailboxes: BTreeSet<String>,
    /// Local parts that stand for others. The targets are mailboxes of ours, aliases followed to their
    /// end, none twice, never empty.
    pub aliases: BTreeMap<String, Vec<Mailbox>>,
    /// Who gets mail to a local part that is neither; `None`: it is refused.
    pub catch_all: Option<Vec<Mailbox>>,
    /// What separates a mailbox from a detail (`bob+lists`); `None`: nothing does.
    pub plus: Option<char>,
    /// Quotas in octets of the mailboxes that differ from `delivery.quota_bytes`; 0: no quota.
    pub quota: BTreeMap<String, u64>,
    /// RFC 5321 §4.5.1: who gets mail to `postmaster` here.
    pub postmaster: Vec<Mailbox>,
}

/// A network of IP addresses, such as `10.0.0.0/8` or `2001:db8::/32`; a single address is one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads an address with or without `/prefix`. Bits past the prefix must be zero.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_bad| "is not an IP address or network")?;
        if address.to_canonical() != address {
            return Err("is an IPv4 network in IPv6 form; write it as IPv4");
        }
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|bits| *bits <= longest)
                .ok_or("has a prefix that is too long or not a number")?,
        };
        let network = Self { address, prefix };
        if bits(address) & !network.mask() == 0 { Ok(network) } else { Err("has bits set past its prefix") }
    }

    /// Whether `peer` is in this network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_ipv4() == self.address.is_ipv4() && bits(peer) & self.mask() == bits(self.address)
    }

    fn mask(&self) -> u128 {
        let prefix = u32::from(self.prefix) + if self.address.is_ipv4() { 96 } else { 0 };
        u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0)
    }
}

/// IPv4 addresses are held as 96 one bits and then theirs, so that one mask serves both.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => (u128::MAX << 32) | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) => write!(f, "fd:{name}"),
        }
    }
}

impl ListenAddress {
    /// Whether only processes on this machine can connect. Of a socket from the service manager
    /// nothing is known, so it counts as public.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
            Self::Inherited(_) => false,
        }
    }
}

/// Where the Maildir of a mailbox is: a [`Template`], below the data directory if it begins with `{data}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaildirTemplate {
    text: String,
    in_data: bool,
    template: Template,
}

impl MaildirTemplate {
    /// Reads a template with `{data}`, `{domain}` and `{local}`; it begins with `{data}` or `/`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (in_data, path) = text.strip_prefix("{data}").map_or((false, text), |rest| (true, rest));
        if !path.starts_with('/') {
            return Err("begins with neither {data}/ nor /".to_owned());
        }
        match Template::parse(path) {
            Ok(template) => Ok(Self { text: text.to_owned(), in_data, template }),
            Err(error) => Err(format!("cannot be used: {error}")),
        }
    }

    /// The template with the data directory in place.
    pub fn within(&self, data: &Path) -> Template {
        if self.in_data { self.template.clone().below(data) } else { self.template.clone() }
    }

    /// See [`Template::tells_locals_apart`].
    pub fn tells_locals_apart(&self) -> bool {
        self.template.tells_locals_apart()
    }

    /// See [`Template::tells_domains_apart`].
    pub fn tells_domains_apart(&self) -> bool {
        self.template.tells_domains_apart()
    }
}

impl fmt::Display for MaildirTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
