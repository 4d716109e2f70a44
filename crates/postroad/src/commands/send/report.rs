//! What the command says at its end: a sentence per recipient, or one JSON object.

use super::exit::{Exit, Fault};
use super::has_long_line;
use super::stall::Stall;
use super::tls::Secured;
use super::view::clean;
use postroad_proto::client::{ContentFacts, Failure, Outcome, Permanence, Phase, ServerReply};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// What is known so far.
pub(super) struct Report {
    recipients: Vec<String>,
    outcomes: Vec<Outcome>,
    fault: Option<Fault>,
    server: Option<(String, SocketAddr, Duration)>,
    facts: Option<ContentFacts>,
    pub(super) tls: Option<Secured>,
    pub(super) stall: Option<Stall>,
    pub(super) sent: u64,
    waits: BTreeMap<Phase, Duration>,
    total: Duration,
}

impl Report {
    pub(super) fn new(recipients: &[String]) -> Self {
        Self {
            recipients: recipients.to_vec(),
            outcomes: Vec::new(),
            fault: None,
            server: None,
            facts: None,
            tls: None,
            stall: None,
            sent: 0,
            waits: BTreeMap::new(),
            total: Duration::ZERO,
        }
    }

    pub(super) fn connected(&mut self, server: &str, address: SocketAddr, waited: Duration) {
        self.server = Some((server.to_owned(), address, waited));
    }

    pub(super) fn measured(&mut self, facts: ContentFacts) {
        self.facts = Some(facts);
    }

    /// So long was spent in this phase.
    pub(super) fn spent(&mut self, phase: Phase, time: Duration) {
        *self.waits.entry(phase).or_default() += time;
    }

    pub(super) fn finish(&mut self, outcomes: Vec<Outcome>, total: Duration) {
        self.outcomes = outcomes;
        self.total = total;
    }

    /// The code of the worst outcome.
    pub(super) fn exit(&self) -> Exit {
        self.outcomes.iter().map(Exit::of).fold(Exit::Accepted, Exit::worst)
    }

    /// Nothing was sent, and this is why.
    pub(super) fn fail(&mut self, fault: Fault) -> Exit {
        let exit = fault.exit;
        self.fault = Some(fault);
        exit
    }

    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        if json {
            let mut out = io::stdout().lock();
            return writeln!(out, "{}", self.json());
        }
        if let Some(fault) = &self.fault {
            return writeln!(io::stderr().lock(), "postroad send: {}", clean(&fault.text));
        }
        let mut out = io::stdout().lock();
        for (recipient, outcome) in self.recipients.iter().zip(&self.outcomes) {
            writeln!(out, "{}: {}", clean(recipient), sentence(outcome))?;
        }
        let accepted = self.accepted();
        if accepted > 0 && accepted < self.outcomes.len() {
            writeln!(
                out,
                "accepted for {accepted} of {} recipients; the exit code is that of the worst",
                self.outcomes.len()
            )?;
        }
        Ok(())
    }

    fn accepted(&self) -> usize {
        self.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Accepted(_))).count()
    }

    fn queue_id(&self) -> Option<String> {
        self.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Accepted(reply) => queue_id(&reply.lines().join(" ")),
            Outcome::Failed(_) => None,
        })
    }

    fn json(&self) -> Value {
        let exit = self.fault.as_ref().map_or_else(|| self.exit(), |fault| fault.exit);
        let partial = exit != Exit::Accepted && self.accepted() > 0;
        let recipients: Vec<Value> = self
            .recipients
            .iter()
            .enumerate()
            .map(|(index, address)| recipient_json(address, self.outcomes.get(index)))
            .collect();
        let mut timings = Map::new();
        if let Some((_, _, waited)) = &self.server {
            timings.insert("connect".into(), millis(*waited));
        }
        for (phase, time) in &self.waits {
            timings.insert(phase.name().into(), millis(*time));
        }
        timings.insert("total".into(), millis(self.total));
        json!({
            "outcome": if partial { "partial" } else { exit.name() },
            "exit": exit as u8,
            "error": self.fault.as_ref().map(|fault| &fault.text),
            "server": self.server.as_ref().map(|(name, _, _)| name),
            "address": self.server.as_ref().map(|(_, address, _)| address.to_string()),
            "tls": self.tls.as_ref().map(Secured::json),
            "recipients": recipients,
            "queue_id": self.queue_id(),
            "size": self.facts.map(|facts| facts.size),
            "long_line": self.facts.filter(|facts| has_long_line(*facts)).map(|facts| {
                json!({ "line": facts.longest_line_number, "octets": facts.longest_line })
            }),
            "sent_octets": self.sent,
            "timings_ms": timings,
            "stall": self.stall.as_ref().map(Stall::json),
        })
    }
}

fn millis(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(reply) => format!("accepted: {}", one_line(reply)),
        Outcome::Failed(Failure::Refused(phase, reply)) => {
            let how = if Exit::of(outcome) == Exit::Temporary { "is not taken now" } else { "is refused" };
            format!("{} {how}: {}", phase.refused(), one_line(reply))
        }
        Outcome::Failed(failure) if failure.is_uncertain() => clean(&failure.to_string()),
        Outcome::Failed(failure) => format!("not sent: {}", clean(&failure.to_string())),
    }
}

fn one_line(reply: &ServerReply) -> String {
    clean(&reply.to_string().replace('\n', " / "))
}

fn recipient_json(address: &str, outcome: Option<&Outcome>) -> Value {
    let mut object = Map::new();
    object.insert("address".into(), address.into());
    let mut reply = None;
    match outcome {
        Some(Outcome::Accepted(accepted)) => {
            object.insert("outcome".into(), "accepted".into());
            reply = Some(accepted);
        }
        Some(Outcome::Failed(failure)) => {
            object.insert("outcome".into(), Exit::of(&Outcome::Failed(failure.clone())).name().into());
            object.insert("retry".into(), (failure.permanence() == Permanence::Transient).into());
            object.insert("reason".into(), failure.to_string().into());
            if let Failure::Refused(phase, refused) = failure {
                object.insert("phase".into(), phase.name().into());
                reply = Some(refused);
            }
        }
        None => {
            object.insert("outcome".into(), "not-tried".into());
        }
    }
    if let Some(reply) = reply {
        object.insert("code".into(), reply.code().into());
        object.insert("enhanced".into(), reply.enhanced().map(|code| code.to_string()).into());
        object.insert("reply".into(), reply.to_string().into());
    }
    Value::Object(object)
}

/// The queue id, as servers commonly name it: `queued as X`, `stored as X`, `id=X`.
fn queue_id(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let named = words.iter().find_map(|word| word.strip_prefix("id="));
    let after = || {
        let at = words.iter().position(|word| *word == "as")?;
        words.get(at + 1).copied()
    };
    let id = named.or_else(after)?.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if id.is_empty() { None } else { Some(id.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_ids_are_found() {
        for (text, id) in [
            ("2.0.0 Ok: queued as 4F3D21", Some("4F3D21")),
            ("2.0.0 Accepted and stored as 01J.", Some("01J")),
            ("OK id=1tEx-00-7", Some("1tEx-00-7")),
            ("2.0.0 fine", None),
            ("as", None),
        ] {
            assert_eq!(queue_id(text).as_deref(), id, "{text}");
        }
    }
}
