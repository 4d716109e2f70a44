//! `postroad trace`: searches the ledger, and follows it while mail flows.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what a newer ledger may tell beyond this is shown by its time and its record"
)]

use super::config::ConfigArgs;
use super::reload::is_absent;
use crate::exit::Exit;
use anstream::{eprintln, println};
use postroad_explain::story::outcome_key;
use postroad_ledger::{
    AddressPattern, CodePattern, Happening, Network, Origin, Query, ReadError, Reader, Side, Summary,
};
use postroad_proto::time::UnixTime;
use postroad_server::config::Config;
use postroad_server::control::{Answer, Request, ask};
use postroad_server::shown::printable;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime};

/// Between two looks at what is new.
const PAUSE: Duration = Duration::from_millis(300);

/// Search what this server said and did, and follow it live
///
/// One line for each refusal, message taken, delivery attempt, stall and anomaly; `postroad explain REF`
/// tells the whole story behind one. All conditions must hold.
/// Exits with 69 if nothing was found.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The recipient: an address, or @domain.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<AddressPattern>,
    /// The sender: an address, @domain, or <> for bounces.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<AddressPattern>,
    /// The client's address, or a network such as 192.0.2.0/24.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Network>,
    /// The Message-ID field.
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The queue id, as in the reply to the sender.
    #[arg(long, value_name = "ID")]
    queue_id: Option<String>,
    /// The code of a refusal: 550 or 5.7.1.
    #[arg(long, value_name = "CODE")]
    code: Option<CodePattern>,
    /// Not before: a time such as 2026-11-22T08:00:00Z, or how long ago: 90s, 15m, 2h, 3d.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<UnixTime>,
    /// Not after.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<UnixTime>,
    /// At most so many lines.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Then go on and show what happens, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Also the ends of sessions.
    #[arg(long)]
    all: bool,
    /// Print JSON: one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sources: ConfigArgs,
}

/// Searches.
pub(crate) fn run(args: &Args) -> Exit {
    run_or(args).err().unwrap_or(Exit::Done)
}

fn run_or(args: &Args) -> Result<(), Exit> {
    let config = args.sources.load()?;
    flush(&config);
    let reader = open(&config)?;
    let query = args.query();
    let mut page = reader.search(&query).map_err(|error| unreadable(&config, &error))?;
    if page.damaged > 0 {
        eprintln!("postroad: {} parts of the ledger cannot be read; they are left out", page.damaged);
    }
    let mut found = false;
    // Found newest first, read from the top down.
    page.lines.reverse();
    for line in &page.lines {
        args.print(line)?;
        found = true;
    }
    if args.follow {
        let mut position = page.position;
        // Until interrupted, or until the reader goes away.
        loop {
            std::thread::sleep(PAUSE);
            let page = reader.follow(&query, position).map_err(|error| unreadable(&config, &error))?;
            for line in &page.lines {
                args.print(line)?;
            }
            position = page.position;
        }
    }
    if found {
        return Ok(());
    }
    eprintln!("postroad: nothing found; records are kept for {} days", config.ledger.keep.as_secs() / 86_400);
    Err(Exit::Unavailable)
}

impl Args {
    fn query(&self) -> Query {
        let mut query = Query::default();
        query.to.clone_from(&self.to);
        query.from.clone_from(&self.from);
        query.ip = self.ip;
        query.message_id.clone_from(&self.message_id);
        query.queue_id.clone_from(&self.queue_id);
        query.code = self.code;
        query.since = self.since;
        // The lines show whole seconds; a second that was named counts to its end.
        let end = |until: u64| if until.is_multiple_of(1000) { until.saturating_add(999) } else { until };
        query.until = self.until.map(|until| UnixTime(end(until.0)));
        query.ends = self.all;
        query.limit = self.limit.into();
        query
    }

    /// Prints a line. A reader that went away ends it quietly.
    fn print(&self, line: &Summary) -> Result<(), Exit> {
        let told = if self.json { data(line).to_string() } else { told(line) };
        println!("{told}");
        match std::io::stdout().flush() {
            Ok(()) => Ok(()),
            Err(_gone) => Err(Exit::Done),
        }
    }
}

/// Opens the ledger for reading, or says why it cannot be.
pub(crate) fn open(config: &Config) -> Result<Reader, Exit> {
    let reader = Reader::open(&config.ledger_file()).map_err(|error| unreadable(config, &error))?;
    if !config.ledger.enabled {
        eprintln!(
            "postroad: the ledger is switched off (ledger.enabled = false); records from before are searched"
        );
    }
    Ok(reader)
}

/// Has a running server write what is on its way; that none runs is no fault.
pub(crate) fn flush(config: &Config) {
    match ask(&config.control_socket(), &Request::LedgerFlush) {
        Ok(Answer::Failed { why }) => eprintln!("postroad: the server cannot write its ledger: {why}"),
        Ok(_) => {}
        Err(error) if is_absent(&error) => {}
        Err(error) => {
            eprintln!("postroad: the server did not answer ({error}); the last second may be missing");
        }
    }
}

/// As [`flush`], without a word where that fails.
pub(crate) fn flush_quietly(config: &Config) {
    drop(ask(&config.control_socket(), &Request::LedgerFlush));
}

pub(crate) fn unreadable(config: &Config, error: &ReadError) -> Exit {
    let file = config.ledger_file();
    match error {
        ReadError::Missing if !config.ledger.enabled => {
            eprintln!(
                "postroad: the ledger is switched off (ledger.enabled = false), and there are no records from before"
            );
        }
        ReadError::Denied { path, owner } => {
            let name = user_name(*owner)
                .map_or_else(|| format!("uid {owner}"), |name| format!("{name} (uid {owner})"));
            eprintln!(
                "postroad: {}: permission denied: {} belongs to {name}; run this as that user or as root",
                file.display(),
                path.display()
            );
        }
        _ => eprintln!("postroad: {}: {error}", file.display()),
    }
    match error {
        ReadError::Missing => Exit::NoInput,
        ReadError::Denied { .. } => Exit::NoPermission,
        _ => Exit::Io,
    }
}

/// The name of a user, where the system's list has it.
fn user_name(uid: u32) -> Option<String> {
    let mut users = String::new();
    File::open("/etc/passwd").ok()?.take(1 << 20).read_to_string(&mut users).ok()?;
    let uid = uid.to_string();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.find(|fields| fields.get(2) == Some(&uid.as_str()))?.first().map(|name| (*name).to_owned())
}

fn told(line: &Summary) -> String {
    let at = line.at.rfc3339();
    let peer = match &line.origin {
        Origin::Session { peer: Some(peer), .. } => peer.ip().to_string(),
        Origin::Session { peer: None, .. } => "local".to_owned(),
        _ => "delivery".to_owned(),
    };
    let path = |address: &str| format!("<{}>", printable(address.trim_matches(['<', '>'])));
    let from = line.sender.as_deref().map(|sender| format!(" from={}", path(sender))).unwrap_or_default();
    let to: Vec<String> = line.recipients.iter().take(3).map(|one| path(one)).collect();
    let more = if line.recipients.len() > 3 { ",…" } else { "" };
    let to = if to.is_empty() { String::new() } else { format!(" to={}{more}", to.join(",")) };
    let own = line.record;
    match &line.what {
        Happening::Refused { reference, code, enhanced, text, .. } => {
            let reference = reference.unwrap_or(own);
            let enhanced = enhanced.map(|enhanced| format!(" {enhanced}")).unwrap_or_default();
            format!("{at} {reference} {peer} refused{from}{to} {code}{enhanced} {}", printable(text))
        }
        Happening::Accepted { queue_id, message_id, octets } => {
            let id =
                message_id.as_deref().map(|id| format!(" message-id={}", printable(id))).unwrap_or_default();
            format!("{at} {own} {peer} accepted{from}{to} id={queue_id}{id} octets={octets}")
        }
        Happening::Attempted { queue_id, agent, outcome, reply } => {
            let reply = if reply.is_empty() { String::new() } else { format!(" {}", printable(reply)) };
            format!(
                "{at} {own} {peer} {}{from}{to} id={queue_id} agent={agent}{reply}",
                outcome_key(*outcome)
            )
        }
        Happening::Anomaly { kind } => format!("{at} {own} {peer} anomaly{from}{to} {kind}"),
        Happening::Stall { kind } => format!("{at} {own} {peer} stalled{from}{to} {kind}"),
        Happening::Closed { by, why } => {
            let by = if *by == Side::Us { "server" } else { "client" };
            format!("{at} {own} {peer} closed by={by} {why}")
        }
        _ => format!("{at} {own} {peer}"),
    }
}

fn data(line: &Summary) -> Value {
    let (peer, listener) = match &line.origin {
        Origin::Session { peer, listener } => (peer.map(|peer| peer.to_string()), Some(listener.to_string())),
        _ => (None, None),
    };
    let mut value = match &line.what {
        Happening::Refused { reference, name, code, enhanced, text } => json!({
            "event": "refused", "reference": reference.map(|reference| reference.to_string()), "reply": name,
            "code": code, "enhanced": enhanced.map(|enhanced| enhanced.to_string()), "text": text,
        }),
        Happening::Accepted { queue_id, message_id, octets } => {
            json!({"event": "accepted", "queue-id": queue_id, "message-id": message_id, "octets": octets})
        }
        Happening::Attempted { queue_id, agent, outcome, reply } => json!({
            "event": outcome_key(*outcome), "queue-id": queue_id, "agent": agent, "reply": reply,
        }),
        Happening::Anomaly { kind } => json!({"event": "anomaly", "kind": kind}),
        Happening::Stall { kind } => json!({"event": "stalled", "kind": kind}),
        Happening::Closed { by, why } => {
            json!({"event": "closed", "by": if *by == Side::Us { "server" } else { "client" }, "why": why})
        }
        _ => json!({"event": "other"}),
    };
    if let Value::Object(fields) = &mut value {
        fields.insert("at".into(), json!(line.at.rfc3339_ms().to_string()));
        fields.insert("session".into(), json!(line.record.to_string()));
        fields.insert("peer".into(), json!(peer));
        fields.insert("listener".into(), json!(listener));
        fields.insert("from".into(), json!(line.sender));
        fields.insert("to".into(), json!(line.recipients));
    }
    value
}

/// Reads a moment: RFC 3339 in UTC, or how long ago.
fn moment(text: &str) -> Result<UnixTime, String> {
    let wrong = || "give a time such as 2026-11-22T08:00:00Z, or how long ago: 90s, 15m, 2h, 3d".to_owned();
    if let Some(time) = UnixTime::parse_rfc3339(text) {
        return Ok(time);
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_not_a_number| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    #[expect(clippy::disallowed_methods, reason = "a person's \"two hours ago\" counts from now")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ago = Duration::from_secs(number.saturating_mul(seconds));
    let then = now.saturating_sub(ago).as_millis();
    Ok(UnixTime(u64::try_from(then).unwrap_or(0)))
}
