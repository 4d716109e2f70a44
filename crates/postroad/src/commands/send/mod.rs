//! `postroad send`: hands one message to a server and says what became of it.
//!
//! RFC 5321 §3 and §4 by [`postroad_proto::client`]; this module has the socket, the TLS and the file.
//! It blocks, in one thread: there is one connection and nothing else to do. Roots of trust are the
//! machine's own (`rustls-native-certs`), so that the CA an operator installed counts here too.
//! Every way to fail has its exit code (sysexits) and its sentence.

mod clock;
mod drive;
mod exit;
mod link;
mod message;
mod report;
mod stall;
mod tls;
mod view;

use clap::{Args, ValueEnum};
use clock::Clock;
use exit::{Exit, Fault};
use link::Link;
use message::Message;
use postroad_proto::addr::{Domain, ForwardPath, ReversePath};
use postroad_proto::client::{
    Chunking, ContentFacts, Grouping, Login, PlainLogin, Protocol, Settings, Timers, TlsPolicy, Transfer,
};
use postroad_proto::envelope::Body;
use postroad_proto::number::grouped;
use report::Report;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use view::View;

const EXIT_CODES: &str = "Exit codes:
  0   accepted for every recipient
  64  wrong usage
  65  the message or an address cannot be sent to this server (too big, needs 8BITMIME, …)
  66  the input file is missing or cannot be read
  68  the server's host name is unknown
  69  refused permanently (5yz)
  75  not now: refused for the time being (4yz), no connection, lost connection, timeout
  76  the server broke the protocol
  77  authentication or TLS failed
Where recipients differ, the code is that of the worst.";

/// How the connection is to be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tls {
    /// Never.
    Off,
    /// STARTTLS where it is offered; a certificate that cannot be verified is noted, unless --ca or a login asks for more.
    Starttls,
    /// STARTTLS with a verified certificate, or nothing.
    Require,
    /// TLS from the first octet, with a verified certificate (port 465).
    Implicit,
}

/// Send a message: any text or .eml file, by SMTP or LMTP.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct SendArgs {
    /// The server. Without a port: 25, with --lmtp 24, with --tls implicit 465, with a login 587.
    #[arg(long, value_name = "HOST[:PORT]", default_value = "127.0.0.1:2525")]
    server: String,
    /// The sender; `<>` for none.
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// A recipient; may be given many times.
    #[arg(long, value_name = "ADDRESS", required = true)]
    to: Vec<String>,
    /// How the connection is protected.
    #[arg(long, value_enum, default_value_t = Tls::Starttls)]
    tls: Tls,
    /// Trust the certificates in this PEM file, and no others.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take any certificate. Whoever sits in between can read the message and the password.
    #[arg(long)]
    insecure: bool,
    /// Log in as this user.
    #[arg(long, value_name = "USER", requires = "auth_password_file")]
    auth_user: Option<String>,
    /// The file whose first line is the password.
    #[arg(long, value_name = "FILE", requires = "auth_user")]
    auth_password_file: Option<PathBuf>,
    /// Speak LMTP (RFC 2033): one answer per recipient.
    #[arg(long)]
    lmtp: bool,
    /// The name given at EHLO; without it, the address of this end of the connection.
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// Send by BDAT where the server offers CHUNKING (RFC 3030).
    #[arg(long)]
    chunking: bool,
    /// One command at a time, even where the server offers PIPELINING.
    #[arg(long)]
    no_pipelining: bool,
    /// The longest wait for one answer, in seconds; the timers of RFC 5321 §4.5.3.2 are two to ten minutes.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
    /// The subject, where the message has none.
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// The text of the message, instead of a file.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    body: Option<String>,
    /// Show the dialogue.
    #[arg(short, long)]
    verbose: bool,
    /// Print one JSON object instead of sentences.
    #[arg(long)]
    json: bool,
    /// A message or plain text; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What the arguments say, once everything in them is known to be usable.
struct Plan {
    sender: ReversePath,
    recipients: Vec<ForwardPath>,
    hello: Option<Domain>,
    login: Option<Login>,
    host: String,
    port: u16,
}

/// Runs the command; the exit code is the outcome.
#[expect(clippy::needless_pass_by_value, reason = "the frame hands the arguments over")]
pub(crate) fn run(args: SendArgs) -> ExitCode {
    let mut report = Report::new(&args.to);
    let exit = match attempt(&args, &mut report) {
        Ok(()) => report.exit(),
        Err(fault) => report.fail(fault),
    };
    // A report that cannot be written changes nothing about the outcome: a caller that saw another code
    // would send the message again.
    drop(report.print(args.json));
    exit.into()
}

fn attempt(args: &SendArgs, report: &mut Report) -> Result<(), Fault> {
    let clock = Clock::start();
    let plan = plan(args)?;
    let mut message = Message::open(args, &plan.sender, &plan.recipients, Clock::date())?;
    let (address, socket, waited) = link::connect(&plan.host, plan.port, timers(args), &clock)?;
    report.connected(&args.server, address, waited);
    let local = socket.local_addr().map_err(|error| Fault::new(Exit::Temporary, error.to_string()))?;
    let settings = Settings {
        hello: plan.hello.unwrap_or(Domain::Literal(local.ip())),
        protocol: if args.lmtp { Protocol::Lmtp } else { Protocol::Smtp },
        tls: match args.tls {
            Tls::Off => TlsPolicy::Off,
            Tls::Starttls => TlsPolicy::IfOffered,
            Tls::Require => TlsPolicy::Require,
            Tls::Implicit => TlsPolicy::Implicit,
        },
        // Nobody sits between two ends of a loopback connection; elsewhere it takes two words to ask for it.
        plain_login: if address.ip().is_loopback() || args.tls == Tls::Off && args.insecure {
            PlainLogin::Allow
        } else {
            PlainLogin::Refuse
        },
        grouping: if args.no_pipelining { Grouping::Never } else { Grouping::IfOffered },
        chunking: if args.chunking { Chunking::IfOffered } else { Chunking::IfNeeded },
        timers: timers(args),
        login: plan.login,
    };
    let transfer = Transfer { sender: plan.sender, recipients: plan.recipients, content: message.facts() };
    report.measured(message.facts());
    let trust = tls::Trust::new(args, &plan.host)?;
    let mut view = View::new(args.verbose, message.facts().size);
    let facts = message.facts();
    if has_long_line(facts) {
        view.note(&format!(
            "line {} has {} octets and RFC 5321 §4.5.3.1.6 allows {MAX_LINE}; the server may refuse or break it",
            facts.longest_line_number,
            grouped(facts.longest_line)
        ));
    }
    drive::drive(drive::Drive {
        settings,
        transfer,
        link: Link::Plain(socket),
        trust,
        clock: &clock,
        message: &mut message,
        view: &mut view,
        report,
    })
}

/// Longest line of content without its CRLF (RFC 5321 §4.5.3.1.6).
const MAX_LINE: u64 = 998;

/// Whether a line is longer than every server must take. Binary content has no lines.
fn has_long_line(facts: ContentFacts) -> bool {
    facts.longest_line > MAX_LINE && facts.body != Body::BinaryMime
}

fn timers(args: &SendArgs) -> Timers {
    let timers = Timers::default();
    args.timeout.map_or(timers, |seconds| timers.capped(Duration::from_secs(u64::from(seconds))))
}

fn plan(args: &SendArgs) -> Result<Plan, Fault> {
    let bad = |what: &str, text: &str, error: &dyn std::fmt::Display| {
        Fault::new(Exit::Data, format!("{what} {text:?}: {error}"))
    };
    let bracketed = |text: &str| if text.starts_with('<') { text.to_owned() } else { format!("<{text}>") };
    let sender = ReversePath::parse(&bracketed(&args.from)).map_err(|e| bad("--from", &args.from, &e))?;
    let mut recipients = Vec::with_capacity(args.to.len());
    for text in &args.to {
        recipients.push(ForwardPath::parse(&bracketed(text)).map_err(|e| bad("--to", text, &e))?);
    }
    let hello = match &args.helo {
        Some(name) => {
            Some(Domain::parse(name).map_err(|e| Fault::new(Exit::Usage, format!("--helo {name:?}: {e}")))?)
        }
        None => None,
    };
    let login = match (&args.auth_user, &args.auth_password_file) {
        (Some(user), Some(file)) => Some(
            Login::new(user, &read_password(file)?)
                .map_err(|e| Fault::new(Exit::Usage, format!("--auth-user: {e}")))?,
        ),
        _ => None,
    };
    let default_port = match args.tls {
        Tls::Implicit => 465,
        _ if args.lmtp => 24,
        _ if args.auth_user.is_some() => 587,
        Tls::Off | Tls::Starttls | Tls::Require => 25,
    };
    let (host, port) = link::host_and_port(&args.server, default_port).ok_or_else(|| {
        Fault::new(Exit::Usage, format!("--server {:?} must be HOST, HOST:PORT or [IPv6]:PORT", args.server))
    })?;
    Ok(Plan { sender, recipients, hello, login, host, port })
}

/// Longest password file that is read.
const MAX_PASSWORD_FILE: u64 = 16 * 1024;

fn read_password(file: &Path) -> Result<String, Fault> {
    let unreadable =
        |error: &dyn std::fmt::Display| Fault::new(Exit::NoInput, format!("{}: {error}", file.display()));
    let opened = std::fs::File::open(file).map_err(|error| unreadable(&error))?;
    let mut text = String::new();
    opened.take(MAX_PASSWORD_FILE).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
