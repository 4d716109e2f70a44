//! The `? option` lines: from names and values to an [`Offer`].
//!
//! A name is that of the field in the offer. An unknown name or value is a fault of the file.

use crate::dialogue::{Dialogue, Fault, Setting, duration};
use postroad_proto::server::{BareNewline, Offer, Protocol, Rule, TlsOffer};
use std::str::FromStr;

/// What the listener offers in this dialogue.
pub fn offer(dialogue: &Dialogue) -> Result<Offer, Fault> {
    let mut offer = Offer::new("mx.example.org");
    for setting in &dialogue.options {
        apply(&mut offer, setting).map_err(|what| dialogue.fault(setting.line, what))?;
    }
    Ok(offer)
}

fn apply(offer: &mut Offer, setting: &Setting) -> Result<(), String> {
    let value = setting.value.as_str();
    let (limits, content) = (&mut offer.limits, &mut offer.content);
    match setting.name.as_str() {
        "tls" => {
            offer.tls = one_of(value, &[("absent", TlsOffer::Absent), ("offered", TlsOffer::Offered)])?;
        }
        "protocol" => offer.protocol = one_of(value, &[("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)])?,
        "limits.message_size" => limits.message_size = number(value)?,
        "limits.recipients" => limits.recipients = number(value)?,
        "limits.command_line" => limits.command_line = number(value)?,
        "limits.errors" => limits.errors = number(value)?,
        "limits.chunks" => limits.chunks = number(value)?,
        "limits.command_timeout" => limits.command_timeout = duration(value)?,
        "limits.content_timeout" => limits.content_timeout = duration(value)?,
        "limits.session_timeout" => limits.session_timeout = duration(value)?,
        "limits.min_rate" => limits.min_rate = number(value)?,
        "limits.received" => limits.received = number(value)?,
        "limits.header_size" => limits.header_size = number(value)?,
        "limits.line_length" => limits.line_length = number(value)?,
        "content.bare_newline" => {
            let ways = [("normalize", BareNewline::Normalize), ("reject", BareNewline::Reject)];
            content.bare_newline = one_of(value, &ways)?;
        }
        "content.missing_from" => content.missing_from = rule(value)?,
        "content.repeated_from" => content.repeated_from = rule(value)?,
        "content.missing_date" => content.missing_date = rule(value)?,
        "content.long_line" => content.long_line = rule(value)?,
        "content.large_header" => content.large_header = rule(value)?,
        name => return Err(format!("there is no option {name}")),
    }
    Ok(())
}

fn rule(value: &str) -> Result<Rule, String> {
    one_of(value, &[("accept", Rule::Accept), ("note", Rule::Note), ("refuse", Rule::Refuse)])
}

fn number<N: FromStr>(value: &str) -> Result<N, String> {
    value.parse().map_err(|_bad| format!("{value:?} is no number for this option"))
}

fn one_of<T: Copy>(value: &str, ways: &[(&str, T)]) -> Result<T, String> {
    let found = ways.iter().find(|(name, _)| *name == value).map(|(_, way)| *way);
    found.ok_or_else(|| {
        let names: Vec<&str> = ways.iter().map(|(name, _)| *name).collect();
        format!("{value:?}: known are {}", names.join(", "))
    })
}
