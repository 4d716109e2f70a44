//! `postroad queue`: what waits, and why. Asks the running server, or reads the spool where none runs.

use super::config::ConfigArgs;
use super::reload::{is_absent, no_server};
use super::serve::exit_of;
use crate::exit::Exit;
use anstream::{eprintln, println};
use postroad_server::config::Config;
use postroad_server::control::{Answer, Request, ask};
use postroad_server::queue::{self, Item};
use postroad_server::server::open_spool;
use postroad_server::shown::printable;
use postroad_spool::{DiskSpool, Quarantined, SpoolId, quarantined};
use rustix::process::geteuid;
use std::os::unix::fs::MetadataExt as _;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the messages that wait, oldest first, with the reason.
    ///
    /// Exits with 0, also when nothing waits.
    List {
        #[command(flatten)]
        sources: ConfigArgs,
        /// At most so many messages.
        #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print JSON: an array of messages.
        #[arg(long)]
        json: bool,
    },
    /// Show one message with each of its recipients.
    ///
    /// Exits with 69 if no such message waits.
    Show {
        /// Its queue id, as in the reply to its sender and in the log.
        id: String,
        #[command(flatten)]
        sources: ConfigArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub(crate) fn run(command: &Command) -> Exit {
    match run_or(command) {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

fn run_or(command: &Command) -> Result<(), Exit> {
    match command {
        Command::List { sources, limit, json } => {
            let config = sources.load()?;
            let source = Source::open(&config)?;
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            let mut items: Vec<Item> = Vec::new();
            loop {
                let page = source.list(items.last().map(|item| item.id.clone()))?;
                let whole = page.len() >= queue::PAGE;
                items.extend(page);
                if !whole || items.len() >= limit {
                    break;
                }
            }
            items.truncate(limit);
            if *json {
                print_json(&items)?;
            } else {
                print_list(&items);
            }
            tell_of_quarantine(&config)?;
        }
        Command::Show { id, sources, json } => {
            if SpoolId::parse(id).is_none() {
                eprintln!("postroad: {id:?} is not a queue id; `postroad queue list` shows them");
                return Err(Exit::Usage);
            }
            let config = sources.load()?;
            let Some(item) = Source::open(&config)?.show(id)? else {
                if let Some(found) =
                    in_quarantine(&config)?.iter().find(|found| found.id == SpoolId::parse(id))
                {
                    eprintln!(
                        "postroad: message {id} was accepted, but could not be read back; it was set aside and is not delivered\n  record: {}\n  note: {}",
                        found.file.display(),
                        printable(found.note.lines().last().unwrap_or_default())
                    );
                    return Err(Exit::Unavailable);
                }
                eprintln!("postroad: no message {id} waits; it was delivered, or never accepted here");
                return Err(Exit::Unavailable);
            };
            if *json {
                return print_json(&item);
            }
            print_item(&item);
        }
    }
    Ok(())
}

/// Where the queue is read.
enum Source {
    Server(std::path::PathBuf),
    Disk(Box<DiskSpool>),
}

impl Source {
    fn open(config: &Config) -> Result<Self, Exit> {
        let socket = config.control_socket();
        match ask(&socket, &Request::QueueList { after: Some(SpoolId::from_bits(u128::MAX).to_string()) }) {
            Ok(_) => Ok(Self::Server(socket)),
            Err(error) if is_absent(&error) => {
                let path = config.data.join("spool");
                if !path.is_dir() {
                    eprintln!(
                        "postroad: there is no spool at {}; give the server's --config or --data",
                        path.display()
                    );
                    return Err(Exit::Unavailable);
                }
                // To look is to write, for the spool is brought in order: what the server cannot open
                // afterwards it cannot deliver.
                let owner = path.metadata().map(|found| found.uid()).map_err(|error| trouble(&error))?;
                if owner != geteuid().as_raw() {
                    eprintln!(
                        "postroad: {} belongs to the user with the id {owner}, and no server runs there; run this as that user",
                        path.display()
                    );
                    return Err(Exit::NoPermission);
                }
                let opened = open_spool(config).map(|spool| Self::Disk(Box::new(spool)));
                opened.map_err(|error| {
                    eprintln!("postroad: {error}");
                    exit_of(&error)
                })
            }
            Err(error) => Err(no_server(&socket, &error)),
        }
    }

    fn list(&self, after: Option<String>) -> Result<Vec<Item>, Exit> {
        match self {
            Self::Server(socket) => self.asked(socket, &Request::QueueList { after }),
            Self::Disk(spool) => queue::list(&**spool, after.as_deref().and_then(SpoolId::parse))
                .map_err(|error| trouble(&error)),
        }
    }

    fn show(&self, id: &str) -> Result<Option<Item>, Exit> {
        match self {
            Self::Server(socket) => {
                Ok(self.asked(socket, &Request::QueueShow { id: id.to_owned() })?.into_iter().next())
            }
            Self::Disk(spool) => match SpoolId::parse(id) {
                Some(id) => queue::show(&**spool, id).map_err(|error| trouble(&error)),
                None => Ok(None),
            },
        }
    }

    #[expect(clippy::unused_self, reason = "reads as the other methods do")]
    fn asked(&self, socket: &std::path::Path, request: &Request) -> Result<Vec<Item>, Exit> {
        match ask(socket, request) {
            Ok(Answer::Queue { items }) => Ok(items),
            Ok(Answer::NotFound) => Ok(Vec::new()),
            Ok(Answer::Failed { why }) => Err(trouble(&why)),
            Ok(_) => Err(trouble(&"the server gave an answer that this version does not know")),
            Err(error) => Err(no_server(socket, &error)),
        }
    }
}

fn in_quarantine(config: &Config) -> Result<Vec<Quarantined>, Exit> {
    quarantined(&config.data.join("spool")).map_err(|error| trouble(&error))
}

/// What was set aside does not wait, but must not be forgotten. On standard error, so that JSON stays an
/// array of messages.
fn tell_of_quarantine(config: &Config) -> Result<(), Exit> {
    let found = in_quarantine(config)?;
    if !found.is_empty() {
        eprintln!(
            "postroad: {} that could not be read {} in {}, with notes; nobody gets what was in there",
            if found.len() == 1 { "1 record".to_owned() } else { format!("{} records", found.len()) },
            if found.len() == 1 { "lies" } else { "lie" },
            config.data.join("spool/quarantine").display()
        );
    }
    Ok(())
}

fn trouble(error: &dyn std::fmt::Display) -> Exit {
    eprintln!("postroad: {error}");
    Exit::Io
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Exit> {
    let text = serde_json::to_string_pretty(value).map_err(|error| trouble(&error))?;
    println!("{text}");
    Ok(())
}

fn print_list(items: &[Item]) {
    if items.is_empty() {
        println!("Nothing waits.");
        return;
    }
    for item in items {
        let waiting: Vec<_> =
            item.recipients.iter().filter(|recipient| recipient.state != "delivered").collect();
        println!("{}  {}  {} octets  from <{}>", item.id, item.accepted, item.size, printable(&item.sender));
        for recipient in waiting {
            println!(
                "    to <{}>: {}",
                printable(&recipient.mailbox),
                why(item, &recipient.state, recipient.reason.as_deref())
            );
        }
    }
    println!("{}", counted(items));
}

/// How many still wait, and how many are given up for all who have not got them.
fn counted(items: &[Item]) -> String {
    let is_over =
        |item: &Item| item.recipients.iter().all(|one| one.state == "delivered" || one.state == "failed");
    let over = items.iter().filter(|item| is_over(item)).count();
    let waiting = items.len() - over;
    let waiting =
        if waiting == 1 { "1 message waiting".to_owned() } else { format!("{waiting} messages waiting") };
    if over == 0 { format!("{waiting}.") } else { format!("{waiting}, {over} given up.") }
}

fn print_item(item: &Item) {
    println!("message    {}", item.id);
    println!("from       <{}>", printable(&item.sender));
    println!("accepted   {}", item.accepted);
    println!("size       {} octets", item.size);
    println!("attempts   {}", item.attempts);
    println!("next       {}", item.due.as_deref().unwrap_or("none is due"));
    for recipient in &item.recipients {
        let original = recipient
            .original
            .as_ref()
            .map(|written| format!(" (sent to <{}>)", printable(written)))
            .unwrap_or_default();
        let reason = recipient.reason.as_deref();
        println!(
            "to         <{}>{original}: {}",
            printable(&recipient.mailbox),
            why(item, &recipient.state, reason)
        );
    }
}

/// The state of a recipient in words.
fn why(item: &Item, state: &str, reason: Option<&str>) -> String {
    let reason = printable(reason.unwrap_or("no reason was written down"));
    match (state, &item.due) {
        ("new", Some(due)) => format!("waits for its first attempt, due {due}"),
        ("new", None) => "is being delivered".to_owned(),
        ("deferred", Some(due)) => format!("{reason}; next attempt {due}, {} made so far", item.attempts),
        ("deferred", None) => format!("{reason}; is being tried again"),
        ("delivered", _) => "delivered".to_owned(),
        ("failed", _) => format!("given up: {reason}"),
        (other, _) => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_server::queue::ItemRecipient;

    fn item(states: &[&str]) -> Item {
        let recipients = states.iter().map(|state| ItemRecipient {
            mailbox: "bob@example.org".to_owned(),
            original: None,
            state: (*state).to_owned(),
            reason: None,
        });
        Item {
            id: "1".to_owned(),
            sender: String::new(),
            size: 1,
            accepted: String::new(),
            due: None,
            attempts: 1,
            recipients: recipients.collect(),
        }
    }

    #[test]
    fn what_is_given_up_does_not_wait() {
        let waits = || item(&["delivered", "deferred", "failed"]);
        let over = || item(&["failed", "delivered"]);
        for (items, said) in [
            (vec![waits()], "1 message waiting."),
            (vec![waits(), item(&["new"])], "2 messages waiting."),
            (vec![waits(), over()], "1 message waiting, 1 given up."),
            (vec![over()], "0 messages waiting, 1 given up."),
        ] {
            assert_eq!(counted(&items), said);
        }
    }
}
