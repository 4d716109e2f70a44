//! `postroad config`: check, show, explain and write the configuration.

use crate::exit::Exit;
use anstyle::{AnsiColor, Style};
use clap::{Args, Subcommand};
use postroad_delivery::directory::domain_key;
use postroad_proto::addr::Domain;
use postroad_server::config::{
    Config, Explained, LoadError, Loaded, Origin, Problem, Setting, Sources, Value, explain, full_file,
    minimal_file,
};
use serde_json::{Map, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const NAME: Style = AnsiColor::Cyan.on_default();
const ASIDE: Style = Style::new().dimmed();

/// Where the configuration comes from; the same for every command that has one.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    /// The configuration file.
    ///
    /// Without it no file is looked for, neither ./postroad.toml nor /etc/postroad/postroad.toml: what
    /// counts then is a safe local instance that listens on 127.0.0.1:2525, takes mail for any address
    /// into one Maildir in ./postroad-data, and relays nothing.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here in place of the configured listeners; may be given more than once.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Set any key, such as limits.recipients=200; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    /// Loads the configuration; a fault is told, and how to exit with it returned.
    pub(crate) fn load(&self) -> Result<Config, Exit> {
        self.sources().load().map(|loaded| loaded.config).map_err(|error| {
            anstream::eprintln!("{error}");
            match error {
                LoadError::NoInput { .. } => Exit::NoInput,
                LoadError::Wrong(_) => Exit::Config,
            }
        })
    }

    /// The same as the configuration's own type.
    pub(crate) fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            data: self.data.clone(),
            listen: self.listen.clone(),
            set: self.set.clone(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with a configuration, all of it at once.
    ///
    /// Exits with 0 if nothing is, 78 if something is, 66 if the file cannot be read.
    Check {
        #[command(flatten)]
        sources: ConfigArgs,
        /// Check the configuration alone, not whether the files and directories it names are there.
        #[arg(long)]
        no_probe: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show every setting in force and where it was set, as a configuration file.
    Effective {
        #[command(flatten)]
        sources: ConfigArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what a key means, what it is set to, and where.
    Why {
        /// The key, such as limits.recipients, listener.0.address or domain.mailboxes.
        key: String,
        #[command(flatten)]
        sources: ConfigArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a configuration file for a domain, with every key explained.
    Init {
        /// The domain to take mail for.
        #[arg(long)]
        domain: String,
        /// The name of this server [default: mx.DOMAIN].
        #[arg(long)]
        hostname: Option<String>,
        /// Where to write it [default: standard output].
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Only what is needed, in under 25 lines.
        #[arg(long)]
        minimal: bool,
        /// Overwrite a file that is there.
        #[arg(long)]
        force: bool,
    },
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Exit {
    let done = match command {
        Command::Check { sources, no_probe, json } => check(&sources.sources(), *no_probe, *json),
        Command::Effective { sources, json } => effective(&sources.sources(), *json),
        Command::Why { key, sources, json } => why(key, &sources.sources(), *json),
        Command::Init { domain, hostname, output, minimal, force } => {
            init(domain, hostname.as_deref(), output.as_ref(), *minimal, *force)
        }
    };
    // a reader that has gone away (`| head`) is no failure of ours
    done.unwrap_or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Io })
}

/// Loads a configuration or prints what is wrong with it.
pub(crate) fn load(sources: &Sources) -> Result<Loaded, Exit> {
    // where standard error is closed the exit code still tells
    sources
        .load()
        .map_err(|error| report_failure(&error).map_or_else(|_closed| exit_of(&error), |()| exit_of(&error)))
}

fn exit_of(error: &LoadError) -> Exit {
    match error {
        LoadError::NoInput { .. } => Exit::NoInput,
        LoadError::Wrong(_) => Exit::Config,
    }
}

fn report_failure(error: &LoadError) -> io::Result<()> {
    match error {
        LoadError::Wrong(problems) => report(problems),
        LoadError::NoInput { .. } => writeln!(anstream::stderr(), "{BAD}postroad:{BAD:#} {error}"),
    }
}

fn report(problems: &[Problem]) -> io::Result<()> {
    let mut err = anstream::stderr().lock();
    for problem in problems {
        writeln!(err, "{BAD}{}:{BAD:#} {}", problem.origin, problem.text)?;
    }
    Ok(())
}

fn print_json(value: &serde_json::Value) -> io::Result<()> {
    writeln!(io::stdout(), "{value:#}")
}

fn check(sources: &Sources, no_probe: bool, as_json: bool) -> io::Result<Exit> {
    let (problems, exit, unread) = match sources.load() {
        Ok(loaded) => {
            let problems = if no_probe { Vec::new() } else { loaded.probe() };
            let exit = if problems.is_empty() { Exit::Done } else { Exit::Config };
            (problems, exit, None)
        }
        Err(LoadError::Wrong(problems)) => (problems, Exit::Config, None),
        Err(error) => (Vec::new(), exit_of(&error), Some(error)),
    };
    if as_json {
        let mut list: Vec<serde_json::Value> = problems.iter().map(problem_json).collect();
        list.extend(unread.map(|error| json!({ "place": null, "text": error.to_string() })));
        print_json(&json!({ "ok": exit == Exit::Done, "problems": list }))?;
        return Ok(exit);
    }
    report(&problems)?;
    if let Some(error) = unread {
        report_failure(&error)?;
    }
    if exit == Exit::Done {
        let what =
            sources.file.as_ref().map_or("the local instance".to_owned(), |file| file.display().to_string());
        writeln!(anstream::stdout(), "{GOOD}{what}: nothing is wrong{GOOD:#}")?;
    } else if !problems.is_empty() {
        let count = problems.len();
        writeln!(anstream::stderr(), "{count} problem{}", if count == 1 { "" } else { "s" })?;
    }
    Ok(exit)
}

fn effective(sources: &Sources, as_json: bool) -> io::Result<Exit> {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if as_json {
        let settings: Vec<serde_json::Value> = loaded.settings.iter().map(setting_json).collect();
        print_json(&json!({ "settings": settings }))?;
    } else {
        let mut out = anstream::stdout().lock();
        for line in loaded.effective().lines() {
            match line.rsplit_once("  # ") {
                Some((setting, origin)) => writeln!(out, "{setting}  {ASIDE}# {origin}{ASIDE:#}")?,
                None => writeln!(out, "{line}")?,
            }
        }
    }
    Ok(Exit::Done)
}

fn why(key: &str, sources: &Sources, as_json: bool) -> io::Result<Exit> {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let explained = match explain(key, &loaded.settings) {
        Ok(explained) => explained,
        Err(fault) => {
            writeln!(anstream::stderr(), "{BAD}postroad:{BAD:#} {fault}")?;
            return Ok(Exit::Usage);
        }
    };
    if as_json {
        print_json(&explained_json(&explained))?;
        return Ok(Exit::Done);
    }
    let Explained { key, settings, .. } = &explained;
    let mut out = anstream::stdout().lock();
    for setting in settings {
        writeln!(out, "{NAME}{}{NAME:#} = {}", setting.key(), setting.value)?;
        let from = match &setting.origin {
            Origin::Default => "not set; this is the default".to_owned(),
            Origin::Local => "set by the local instance, as there is no --config".to_owned(),
            origin @ (Origin::File { .. } | Origin::Option(_)) => format!("set by {origin}"),
        };
        writeln!(out, "  {from}")?;
    }
    if settings.is_empty() {
        writeln!(out, "{NAME}{}{NAME:#} is not set: there is no such section", key.name)?;
    }
    writeln!(out, "{}", key.sentence())?;
    writeln!(out, "Takes {}. Default: {}", key.takes(), key.default)?;
    Ok(Exit::Done)
}

fn init(
    domain: &str,
    hostname: Option<&str>,
    output: Option<&PathBuf>,
    minimal: bool,
    force: bool,
) -> io::Result<Exit> {
    if domain.is_empty() {
        return usage("--domain is empty; name the domain to take mail for, such as --domain example.org");
    }
    let domain = match Domain::parse(domain) {
        Ok(domain) => domain,
        Err(fault) => return usage(&format!("--domain {domain}: {fault}")),
    };
    let hostname = match host_name(&domain, hostname) {
        Ok(hostname) => hostname,
        Err(fault) => return usage(&fault),
    };
    let text = if minimal { minimal_file(&domain, &hostname) } else { full_file(&domain, &hostname) };
    let Some(path) = output else {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    };
    let mut how = OpenOptions::new();
    how.write(true);
    let how = if force { how.create(true).truncate(true) } else { how.create_new(true) };
    match how.open(path).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => {
            writeln!(
                anstream::stdout(),
                "{GOOD}wrote {}{GOOD:#}; now edit it, then: postroad config check --config {}",
                path.display(),
                path.display()
            )?;
            Ok(Exit::Done)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            writeln!(
                anstream::stderr(),
                "{BAD}postroad:{BAD:#} {} is there already; --force overwrites it",
                path.display()
            )?;
            Ok(Exit::CannotCreate)
        }
        Err(error) => {
            writeln!(anstream::stderr(), "{BAD}postroad:{BAD:#} cannot write {}: {error}", path.display())?;
            Ok(Exit::CannotCreate)
        }
    }
}

/// The server's name in ASCII, as the greeting needs it (RFC 5321 §4.2).
fn host_name(domain: &Domain, named: Option<&str>) -> Result<Domain, String> {
    let written = match (named, domain) {
        (Some(name), _) => name.to_owned(),
        (None, Domain::Name(name)) => format!("mx.{name}"),
        (None, Domain::Literal(_)) => domain.to_string(),
    };
    let parsed = Domain::parse(&written).map_err(|fault| format!("--hostname {written}: {fault}"))?;
    if parsed.is_ascii() {
        return Ok(parsed);
    }
    Domain::parse(&domain_key(&parsed))
        .ok()
        .filter(Domain::is_ascii)
        .ok_or_else(|| format!("--hostname {written} has no ASCII form (xn--…); give one that has"))
}

fn usage(fault: &str) -> io::Result<Exit> {
    writeln!(anstream::stderr(), "{BAD}postroad:{BAD:#} {fault}")?;
    Ok(Exit::Usage)
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    json!({ "place": origin_json(&problem.origin), "text": problem.text })
}

fn origin_json(origin: &Origin) -> serde_json::Value {
    match origin {
        Origin::Default => json!({ "from": "default" }),
        Origin::Local => json!({ "from": "local" }),
        Origin::File { file, line } => {
            json!({ "from": "file", "file": file.display().to_string(), "line": line })
        }
        Origin::Option(text) => json!({ "from": "option", "option": &**text }),
    }
}

fn setting_json(setting: &Setting) -> serde_json::Value {
    json!({ "key": setting.key(), "value": value_json(&setting.value), "origin": origin_json(&setting.origin) })
}

fn explained_json(explained: &Explained) -> serde_json::Value {
    let settings: Vec<serde_json::Value> = explained.settings.iter().map(setting_json).collect();
    json!({
        "section": explained.section.name,
        "key": explained.key.name,
        "meaning": explained.key.sentence(),
        "takes": explained.key.takes(),
        "default": explained.key.default,
        "settings": settings,
    })
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Flag(flag) => json!(flag),
        Value::List(items) => items.iter().map(value_json).collect(),
        Value::Table(fields) => {
            let fields: Map<String, serde_json::Value> =
                fields.iter().map(|(name, value)| (name.clone(), value_json(value))).collect();
            fields.into()
        }
    }
}
