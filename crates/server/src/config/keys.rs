//! The table of keys: each stands here once, with its meaning, its kind and its default.
//!
//! From it come the structs, the reader, `config why`, `config init`, `config effective` and
//! docs/configuration.md. A default is written as it would stand in the file and is read like one.

use super::kind::{
    AliasTable, Bytes, Choice, Count, Flag, HostName, HttpAddress, ListenText, LocalParts, Networks, Number,
    Paths, QuotaTable, Separator, Span, Spans, Text,
};
use super::section::{Section, section};
use super::types::{ListenAddress, MaildirTemplate, Network};
use super::words::{
    BareNewline, Judgement, Level, LineEnds, ListenerKind, LogFormat, Pregreet, ProxyMode, TlsChoice,
    TlsVersion,
};
use postroad_proto::addr::Domain;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// All sections in the order of the manual.
pub(super) static SECTIONS: [&Section; 12] = [
    &Top::SECTION,
    &ListenerKeys::SECTION,
    &TlsKeys::SECTION,
    &DomainKeys::SECTION,
    &Limits::SECTION,
    &SessionLimits::SECTION,
    &Content::SECTION,
    &Delivery::SECTION,
    &SpoolKeys::SECTION,
    &LedgerKeys::SECTION,
    &Http::SECTION,
    &Log::SECTION,
];

section! {
    /// The server as a whole. These keys stand at the top of the file, before any section.
    pub(super) struct Top = "" {
        /// The name this server gives itself in its greeting, to its peers and in trace lines. It
        /// should be the name that the address it is reached at resolves back to. Empty: the name of
        /// the machine.
        hostname: Domain as HostName = "";
        /// The directory of everything that must survive a restart: the spool, and mail unless
        /// `delivery.maildir` says otherwise. One server at a time may use it.
        data: PathBuf as Paths = "/var/lib/postroad";
        /// Who gets mail to `<Postmaster>` without a domain (RFC 5321 §4.5.1): an address in a domain
        /// of ours. Empty: `postmaster` in the alphabetically first domain.
        postmaster: String as Text = "";
        /// Take mail for every address in every domain into the local store, for development. Allowed
        /// only when every listener is on a loopback address or a socket file.
        accept_any: bool as Flag = false;
    }
}

section! {
    /// One place to listen at; the section may stand any number of times. Keys of `[limits]` that
    /// hold for a session can be changed for one listener in a `[listener.limits]` after it.
    pub(super) struct ListenerKeys = "listener" {
        /// Where: `"0.0.0.0:25"`, `"[::]:25"` (IPv6 only; let it stand beside the other),
        /// `"unix:/run/postroad/lmtp.sock"` (LMTP only; whoever can enter its directory can connect), or
        /// `"fd:NAME"` for a socket that the service manager opens (systemd's `FileDescriptorName=`).
        /// There is no default.
        address: ListenAddress as ListenText = "";
        /// `"mx"` takes mail from other servers by SMTP; `"lmtp"` from a mail server of ours by LMTP
        /// (RFC 2033).
        kind: ListenerKind as Choice<ListenerKind> = "mx";
        /// `"off"`, `"starttls"` (RFC 3207) or `"implicit"` (TLS from the first octet, RFC 8314).
        /// `"auto"` is `"starttls"` where `[tls]` has a certificate and `"off"` where not.
        tls: TlsChoice as Choice<TlsChoice> = "auto";
        /// `"required"`: every connection begins with a PROXY header, version 1 or 2, that names the
        /// true peer.
        proxy: ProxyMode as Choice<ProxyMode> = "off";
        /// The networks that may send the PROXY header; connections from elsewhere are closed.
        proxy_from: Vec<Network> as Networks = [];
        /// A peer that speaks before the greeting (RFC 5321 §4.3.1): `"note"` writes it down,
        /// `"refuse"` answers 554 and closes.
        pregreet: Pregreet as Choice<Pregreet> = "note";
        /// A bare CR or LF in content (RFC 5321 §2.3.8): `"normalize"` makes it CRLF and notes where,
        /// `"reject"` refuses the message. Neither ever ends content.
        bare_newline: BareNewline as Choice<BareNewline> = "normalize";
    }
}

section! {
    /// The certificate for STARTTLS and implicit TLS. Its files are read again when they change.
    pub(super) struct TlsKeys = "tls" {
        /// The certificate chain, PEM, the server's own first. Empty: none.
        certificate: PathBuf as Paths = "";
        /// Its private key, PEM.
        key: PathBuf as Paths = "";
        /// Make a certificate of our own in the data directory; peers cannot verify it, so it is for
        /// local use and tests.
        self_signed: bool as Flag = false;
        /// The lowest version spoken: `"1.2"` or `"1.3"`.
        min_version: TlsVersion as Choice<TlsVersion> = "1.2";
    }
}

section! {
    /// A domain that mail is taken for, such as `[domain."example.org"]`. Local parts are compared
    /// without regard to case. Each domain needs a `postmaster` (RFC 5321 §4.5.1): a mailbox, an
    /// alias or a `catch_all`.
    pub(super) struct DomainKeys = "domain" {
        /// Local parts that have a mailbox: `["alice", "bob"]`.
        mailboxes: Vec<String> as LocalParts = [];
        /// A file of more of them, one local part or address a line; `#` begins a comment.
        mailboxes_file: PathBuf as Paths = "";
        /// Other names: `{ sales = ["alice", "bob"], info = "alice@example.net" }`. A target is a
        /// mailbox or an alias here or, with its domain, in another domain of ours.
        aliases: BTreeMap<String, Vec<String>> as AliasTable = {};
        /// A file of more of them, lines of the form `name: target, target`; `#` begins a comment.
        aliases_file: PathBuf as Paths = "";
        /// Who gets mail to any other local part: a mailbox or an alias. Empty: it is refused with
        /// 550 5.1.1.
        catch_all: String as Text = "";
        /// The character after which a local part is only a detail: mail to `bob+lists` goes to
        /// `bob`. Empty: none.
        plus: Option<char> as Separator = "+";
        /// Quotas of single mailboxes in place of `delivery.quota_bytes`: `{ bob = "1GiB" }`; 0: none.
        quota: BTreeMap<String, u64> as QuotaTable = {};
    }
}

section! {
    /// What the server as a whole takes on. Sizes are in octets or with a unit (`"50MiB"`), times in
    /// seconds or with a unit (`"5m"`, `"36h"`).
    pub struct Limits = "limits" {
        /// Connections at the same time; one more gets 421 4.7.0.
        connections: usize as Count<1, 1_000_000> = 20000;
        /// Connections at the same time from one address. Loopback addresses are not counted.
        connections_per_address: usize as Count<1, 1_000_000> = 100;
        /// Memory for content that is being received; beyond it content goes to disk early, and
        /// MAIL gets 452 4.3.1.
        content_memory: u64 as Bytes<{ MIB }, { TIB }> = "256MiB";
        /// For a TLS handshake.
        tls_handshake_timeout: Duration as Span<1, { HOUR }> = "1m";
        /// How long a stop waits for messages that are being received.
        stop_timeout: Duration as Span<0, { HOUR }> = "30s";
    }
}

section! {
    /// What one session may ask for. A `[listener.limits]` may change these for one listener.
    pub struct SessionLimits = "limits" {
        /// The largest message; announced with SIZE (RFC 1870). A larger one gets 552 5.3.4.
        message_size: u64 as Bytes<{ 64 * KIB }, { TIB }> = "50MiB";
        /// Recipients of one message; the surplus gets 452 4.5.3. At least 100 must be taken
        /// (RFC 5321 §4.5.3.1.8).
        recipients: usize as Count<100, 1_000_000> = 1000;
        /// Octets of a command line with its CRLF, to which the extensions add their own
        /// (RFC 5321 §4.5.3.1.4). A longer one gets 500 5.5.2.
        command_line: usize as Count<512, 65_536> = 512;
        /// Errors in one session before 421 4.7.0 and the end of it.
        errors_per_session: usize as Count<1, 1_000_000> = 20;
        /// BDAT chunks of one message (RFC 3030).
        chunks_per_message: usize as Count<1, 100_000_000> = 100000;
        /// Longest wait for a command; at least 5 minutes by RFC 5321 §4.5.3.2.7.
        command_timeout: Duration as Span<1, { DAY }> = "5m";
        /// Longest wait for more content (RFC 5321 §4.5.3.2.5).
        content_timeout: Duration as Span<1, { DAY }> = "3m";
        /// Longest session.
        session_timeout: Duration as Span<1, { 7 * DAY }> = "1h";
        /// Octets a second that content must come at, over a minute; 0: no minimum.
        min_rate: u64 as Bytes<0, { GIB }> = 500;
        /// `Received:` lines in a message before it is taken for a loop and gets 554 5.4.6. At least
        /// 100 (RFC 5321 §6.3).
        received_headers: usize as Count<100, 10_000> = 100;
        /// The header of a message, beyond which `content.large_header` decides.
        header_size: u64 as Bytes<{ 16 * KIB }, { GIB }> = "256KiB";
        /// Octets of a line of content without its CRLF, beyond which `content.long_line` decides.
        /// RFC 5321 §4.5.3.1.6 wants 998.
        line_length: usize as Count<998, 100_000_000> = 998;
    }
}

section! {
    /// Messages that are not as RFC 5322 wants them: `"accept"` takes no notice, `"note"` writes it
    /// into the log at level debug, `"refuse"` answers 554 5.6.0.
    pub struct Content = "content" {
        /// No `From:` (RFC 5322 §3.6).
        missing_from: Judgement as Choice<Judgement> = "note";
        /// More than one `From:`.
        repeated_from: Judgement as Choice<Judgement> = "note";
        /// No `Date:` (RFC 5322 §3.6).
        missing_date: Judgement as Choice<Judgement> = "note";
        /// A line longer than `limits.line_length`.
        long_line: Judgement as Choice<Judgement> = "note";
        /// A header larger than `limits.header_size`.
        large_header: Judgement as Choice<Judgement> = "note";
    }
}

section! {
    /// Local delivery.
    pub struct Delivery = "delivery" {
        /// The Maildir of a mailbox. `{data}` is the data directory, `{domain}` and `{local}` the
        /// parts of the address, in lower case.
        maildir: MaildirTemplate as MaildirTemplate = "{data}/mail/{domain}/{local}";
        /// Line ends in Maildir files: `"crlf"` keeps content as it came, `"lf"` suits old tools.
        line_ends: LineEnds as Choice<LineEnds> = "crlf";
        /// Octets that a mailbox may hold; 0: no quota. Over it RCPT gets 452 4.2.2.
        quota_bytes: u64 as Bytes<0, { 1024 * TIB }> = 0;
        /// Messages that a mailbox may hold; 0: no quota.
        quota_messages: u64 as Number<0, 1_000_000_000> = 0;
        /// A mailbox that has been over its quota for this long gets 552 5.2.2 instead, so that
        /// senders give up.
        quota_permanent_after: Duration as Span<0, { 365 * DAY }> = "7d";
        /// Waits before the second attempt, the third, and so on; the last repeats until `expire`.
        retry: Vec<Duration> as Spans<1, { 30 * DAY }> = ["1m", "2m", "5m", "15m", "30m", "1h", "2h", "4h"];
        /// A message that could not be delivered for this long is given up (RFC 5321 §4.5.4.1 wants
        /// 4 to 5 days at least).
        expire: Duration as Span<{ MINUTE }, { 365 * DAY }> = "5d";
        /// Deliveries at the same time.
        workers: usize as Count<1, 1024> = 2;
        /// Hold all mail in the queue.
        paused: bool as Flag = false;
    }
}

section! {
    /// The queue on disk.
    pub struct SpoolKeys = "spool" {
        /// Free disk space to leave; below it mail gets 452 4.3.1.
        reserve: u64 as Bytes<0, { 1024 * TIB }> = "512MiB";
        /// The most that the log of incoming messages may take on disk.
        ring: u64 as Bytes<{ 16 * MIB }, { TIB }> = "1GiB";
        /// Milliseconds that each flush takes longer than the disk needs: for measuring how the server
        /// does on a slow disk. Leave it at 0 everywhere else.
        flush_delay_ms: u64 as Number<0, 10_000> = 0;
    }
}

section! {
    /// The ledger: a record of each session and message, which `postroad explain` and `postroad trace`
    /// read. It holds addresses, never content or passwords; only the server's user can read it.
    pub struct LedgerKeys = "ledger" {
        /// Keep it, and give each refusal a reference such as `(ref K7Q2-9F4M)`.
        enabled: bool as Flag = true;
        /// Its file. Empty: `ledger/ledger.db` in the data directory.
        path: PathBuf as Paths = "";
        /// How long records are kept.
        keep: Duration as Span<{ HOUR }, { 3650 * DAY }> = "14d";
        /// The most that it may take on disk; the oldest records go first.
        size: u64 as Bytes<{ 16 * MIB }, { 1024 * TIB }> = "1GiB";
    }
}

section! {
    /// Metrics (Prometheus) and health over HTTP.
    pub struct Http = "http" {
        /// The address, such as `"127.0.0.1:9025"`. It answers anyone who can reach it. Empty: off.
        listen: Option<SocketAddr> as HttpAddress = "";
    }
}

section! {
    /// The log, on standard error.
    pub struct Log = "log" {
        /// `"human"` or `"json"` (one object a line).
        format: LogFormat as Choice<LogFormat> = "human";
        /// `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`.
        level: Level as Choice<Level> = "info";
        /// Leave the local parts of addresses out.
        hide_addresses: bool as Flag = false;
    }
}
