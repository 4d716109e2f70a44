//! What the findings mean for a bounce, as blocks of its page and as data.

use super::plan::{Gap, Plan, RECIPIENTS, code, is_google, named_lists, zone};
use crate::answer::{Answer, Reading};
use crate::page::{Block, Page};
use postroad_policy::dns::{DnsError, reverse_name};
use postroad_policy::lists::{self, Lists};
use postroad_policy::live::{
    Check, Dmarc, Exchangers, Finding, KeyState, ListState, Listing, MxState, Ptr, Subject,
};
use postroad_policy::spf::{Spf, SpfFault, SpfResult};
use postroad_reference::Language;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the checks found, by check. One that is missing had no time left.
pub type Results = BTreeMap<Check, Result<Finding, DnsError>>;

/// Why nothing at all could be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blind {
    /// No name server is known.
    NoNameServer,
    /// The name server does not know the public DNS.
    Closed,
}

impl Blind {
    const fn key(self) -> &'static str {
        match self {
            Self::NoNameServer => "resolver",
            Self::Closed => "public",
        }
    }
}

/// Characters of a value that are shown.
const LONGEST: usize = 512;

/// A name for records that the reader has to put a name of their own into.
const EXAMPLE: &str = "mail.example.com";

/// What a finding means for the bounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Still,
    Gone,
    Unsure,
}

impl Meaning {
    const fn key(self) -> &'static str {
        match self {
            Self::Still => "still",
            Self::Gone => "gone",
            Self::Unsure => "unsure",
        }
    }
}

/// One finding, ready to be told.
struct Told {
    /// Key of what came.
    state: String,
    /// The values of its sentence.
    values: Vec<(&'static str, String)>,
    meaning: Meaning,
    /// Key of what to do about it, and the records to publish or mend.
    fix: Option<(&'static str, Vec<String>)>,
    /// What the list gives as reason.
    reasons: Vec<String>,
}

impl Told {
    fn new(state: impl Into<String>, meaning: Meaning) -> Self {
        Self { state: state.into(), values: Vec::new(), meaning, fix: None, reasons: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    fn fix(mut self, key: &'static str, records: Vec<String>) -> Self {
        self.fix = Some((key, records));
        self
    }
}

/// Adds what was found to the page of a reading.
pub fn add(
    page: &mut Page,
    language: &Language,
    reading: &Reading,
    plans: &[Plan],
    results: Result<&Results, Blind>,
) {
    for plan in plans {
        let Some(answer) = reading.recipients.get(plan.at) else { continue };
        let (blocks, data) = about(language, answer, plan, results);
        let key = format!("recipient-{}", plan.at + 1);
        if let Some(section) = page.sections.iter_mut().find(|section| section.key == key) {
            section.blocks.extend(blocks);
        }
        let recipients = page.data.get_mut("recipients");
        let one = recipients.and_then(|all| all.get_mut(plan.at)).and_then(Value::as_object_mut);
        if let Some(one) = one {
            one.insert("checked".into(), data);
        }
    }
    let refused = reading.recipients.iter().filter(|answer| !answer.outcome.is_success()).count();
    if refused > plans.len() {
        let text = language.say("live.only-first", &[("count", &RECIPIENTS.to_string())]);
        page.section("checked", language.word("live.title"), vec![Block::Text(text)]);
    }
}

fn about(
    language: &Language,
    answer: &Answer,
    plan: &Plan,
    results: Result<&Results, Blind>,
) -> (Vec<Block>, Value) {
    let mut lines = Vec::new();
    let mut below = Vec::new();
    let mut data = Vec::new();
    let mut gaps: Vec<&str> = plan.gaps.iter().copied().map(Gap::key).collect();
    if let Err(blind) = results
        && !plan.checks.is_empty()
    {
        gaps.insert(0, blind.key());
    }
    for (check, results) in plan.checks.iter().filter_map(|check| Some((check, results.ok()?))) {
        let found = results.get(check).unwrap_or(&Err(DnsError::Timeout));
        let told = match found {
            Ok(finding) => tell(answer, check, finding),
            Err(error) => failed(*error),
        };
        let came: Vec<(&str, &str)> =
            told.values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let came = language.say(&format!("live.{}", told.state), &came);
        let means = language.say(&format!("live.{}", told.meaning.key()), &[]);
        let asked = asked(language, check);
        lines.push(language.say("live.told", &[("asked", &asked), ("came", &came), ("means", &means)]));
        if !told.reasons.is_empty() {
            below.push(Block::Text(language.word("live.reasons").to_owned()));
            below.push(Block::Literal(told.reasons.clone()));
        }
        if let Some((key, records)) = &told.fix {
            below.push(Block::Text(language.word(&format!("live.{key}")).to_owned()));
            if !records.is_empty() {
                below.push(Block::Literal(records.clone()));
            }
        }
        data.push(datum(check, &told, found.as_ref().ok()));
    }
    lines.extend(gaps.iter().map(|gap| language.word(&format!("live.not-{gap}")).to_owned()));
    let mut blocks = vec![Block::Heading(language.word("live.title").to_owned()), Block::List(lines)];
    blocks.append(&mut below);
    (blocks, json!({"checks": data, "unchecked": gaps}))
}

fn asked(language: &Language, check: &Check) -> String {
    match check {
        Check::Ptr(ip) => language.say("live.ask-ptr", &[("ip", &quoted(&ip.to_string()))]),
        Check::Spf { domain, ip } => {
            let values = [("domain", quoted(domain)), ("ip", quoted(&ip.to_string()))];
            language.say("live.ask-spf", &values.each_ref().map(|(name, value)| (*name, value.as_str())))
        }
        Check::Dkim { selector, domain } => {
            language.say("live.ask-dkim", &[("name", &quoted(&format!("{selector}._domainkey.{domain}")))])
        }
        Check::Dmarc(domain) => language.say("live.ask-dmarc", &[("domain", &quoted(domain))]),
        Check::List { subject, zone } => {
            let values = [("zone", quoted(zone)), ("subject", quoted(&written(subject)))];
            language.say("live.ask-list", &values.each_ref().map(|(name, value)| (*name, value.as_str())))
        }
        Check::Mx(domain) => language.say("live.ask-mx", &[("domain", &quoted(domain))]),
        // A check that a newer policy knows and this page does not.
        _ => String::new(),
    }
}

fn tell(answer: &Answer, check: &Check, finding: &Finding) -> Told {
    match (check, finding) {
        (Check::Ptr(ip), Finding::Ptr(found)) => ptr(*ip, found),
        (Check::Spf { domain, ip }, Finding::Spf(found)) => spf(domain, *ip, found),
        (Check::Dkim { selector, domain }, Finding::Dkim(found)) => {
            let told = |state: &str, meaning| Told::new(format!("dkim-{state}"), meaning);
            let name = format!("{selector}._domainkey.{domain}");
            let record = format!("{name}. TXT \"v=DKIM1; k=rsa; p=PUBLIC-KEY\"");
            match found.state {
                KeyState::There => told("there", Meaning::Unsure).with("type", quoted(&found.kind)),
                KeyState::Missing => told("missing", Meaning::Still).fix("fix-dkim", vec![record]),
                KeyState::Revoked => told("revoked", Meaning::Still).fix("fix-dkim", vec![record]),
                KeyState::Several => told("several", Meaning::Still).fix("fix-dkim", vec![record]),
                KeyState::Broken | _ => told("broken", Meaning::Still).fix("fix-dkim", vec![record]),
            }
        }
        (Check::Dmarc(domain), Finding::Dmarc(found)) => dmarc(answer, domain, found),
        (Check::List { subject, zone }, Finding::List(found)) => list(answer, subject, zone, found),
        (Check::Mx(domain), Finding::Mx(found)) => mx(answer, domain, found),
        // The finding of another check says nothing of this one.
        _ => failed(DnsError::Trouble),
    }
}

fn failed(error: DnsError) -> Told {
    let state = match error {
        DnsError::Timeout => "failed-timeout",
        DnsError::Spent => "failed-spent",
        DnsError::Trouble | DnsError::NoSuchName | DnsError::NoData | _ => "failed-trouble",
    };
    Told::new(state, Meaning::Unsure)
}

fn ptr(ip: IpAddr, found: &Ptr) -> Told {
    let reverse = reverse_name(ip);
    let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
    match (&found.confirmed, found.names.first()) {
        (Some(name), _) => Told::new("ptr-confirmed", Meaning::Gone).with("name", quoted(name)),
        (None, Some(first)) => Told::new("ptr-astray", Meaning::Still)
            .with("names", all_quoted(&found.names))
            .fix("fix-ptr-astray", vec![format!("{} {kind} {ip}", clean(&format!("{first}.")))]),
        (None, None) => Told::new("ptr-missing", Meaning::Still).fix(
            "fix-ptr-missing",
            vec![format!("{reverse}. PTR {EXAMPLE}."), format!("{EXAMPLE}. {kind} {ip}")],
        ),
    }
}

fn spf(domain: &str, ip: IpAddr, found: &Spf) -> Told {
    let term = format!("{}:{ip}", if ip.is_ipv4() { "ip4" } else { "ip6" });
    if found.guessed && found.result != SpfResult::PermError {
        return Told::new("spf-guessed", Meaning::Unsure).with("result", quoted(found.result.key()));
    }
    let told = |meaning| {
        let terms = quoted(&found.matched.join(" → "));
        Told::new(format!("spf-{}", found.result.key()), meaning).with("terms", terms)
    };
    let add = |told: Told| {
        let changed = found.records.iter().map(|record| txt(domain, &with_term(record, &term))).collect();
        told.fix("fix-spf-add", changed)
    };
    match found.result {
        SpfResult::Pass => told(Meaning::Gone),
        SpfResult::None => {
            told(Meaning::Still).fix("fix-spf-publish", vec![txt(domain, &format!("v=spf1 {term} ~all"))])
        }
        SpfResult::TempError => told(Meaning::Unsure),
        SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => add(told(Meaning::Still)),
        SpfResult::PermError => broken_spf(domain, found),
    }
}

fn broken_spf(domain: &str, found: &Spf) -> Told {
    let (state, name) = match &found.fault {
        Some(SpfFault::Several(name)) => ("spf-several", name.as_str()),
        Some(SpfFault::Term(term)) => ("spf-term", term.as_str()),
        Some(SpfFault::Lookups) => ("spf-lookups", ""),
        Some(SpfFault::Voids) => ("spf-voids", ""),
        Some(SpfFault::Missing(name)) => ("spf-missing", name.as_str()),
        Some(SpfFault::Hosts(name)) => ("spf-hosts", name.as_str()),
        None | Some(_) => ("spf-term", domain),
    };
    let records = found.records.iter().map(|record| txt(domain, record)).collect();
    let fix = if found.records.len() > 1 { "fix-spf-several" } else { "fix-spf-broken" };
    Told::new(state, Meaning::Still).with("name", quoted(name)).with("term", quoted(name)).fix(fix, records)
}

/// An SPF record that names one more address, before the term that decides about the rest.
fn with_term(record: &str, term: &str) -> String {
    let ends = |word: &&str| {
        let word = word.to_ascii_lowercase();
        word.trim_start_matches(['+', '-', '~', '?']) == "all" || word.starts_with("redirect=")
    };
    let words: Vec<&str> = record.split(' ').filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(ends).unwrap_or(words.len());
    let (before, after) = words.split_at_checked(at).unwrap_or((&words, &[]));
    before
        .iter()
        .copied()
        .chain(std::iter::once(term))
        .chain(after.iter().copied())
        .collect::<Vec<_>>()
        .join(" ")
}

fn dmarc(answer: &Answer, domain: &str, found: &Dmarc) -> Told {
    // Gmail's codes for a missing record, and Microsoft's for a domain that lacks one of the three.
    let is_about_record =
        matches!(code(answer), (7, 515)) || (is_google(answer) && matches!(code(answer), (7, 31 | 40)));
    let or_unsure = |meaning| if is_about_record { meaning } else { Meaning::Unsure };
    let record =
        vec![txt(&format!("_dmarc.{domain}"), &format!("v=DMARC1; p=none; rua=mailto:postmaster@{domain}"))];
    match (&found.name, found.several) {
        (Some(name), false) => Told::new("dmarc-there", or_unsure(Meaning::Gone))
            .with("name", quoted(name))
            .with("policy", found.policy.key()),
        (_, true) => Told::new("dmarc-several", or_unsure(Meaning::Still)).fix("fix-dmarc", record),
        (None, false) => Told::new("dmarc-none", or_unsure(Meaning::Still)).fix("fix-dmarc", record),
    }
}

fn list(answer: &Answer, subject: &Subject, asked: &str, found: &Listing) -> Told {
    let kind = match subject {
        Subject::Ip(_) => Lists::Ips,
        Subject::Domain(_) => Lists::Domains,
    };
    let is_named = named_lists(answer)
        .iter()
        .any(|name| zone(name, kind).is_some_and(|zone| zone.eq_ignore_ascii_case(asked)));
    let codes: Vec<String> = found.codes.iter().map(ToString::to_string).collect();
    let mut told = match found.state {
        ListState::Listed => Told::new("list-listed", Meaning::Still),
        // Which list refused is not known, so another may still.
        ListState::Free if is_named => Told::new("list-free", Meaning::Gone),
        ListState::Free => Told::new("list-free", Meaning::Unsure),
        ListState::Refused => Told::new("list-refused", Meaning::Unsure),
        ListState::Closed => Told::new("list-closed", Meaning::Unsure),
        ListState::Broken | _ => Told::new("list-broken", Meaning::Unsure),
    };
    told = told.with("codes", all_quoted(&codes));
    if found.state == ListState::Listed {
        told.reasons = found.reasons.iter().map(|reason| clean(reason)).collect();
        let page = lists::known(asked, kind).map(|list| list.page);
        if let Some(page) = page {
            told = told.fix("fix-list", vec![page.to_owned()]);
        }
    }
    told
}

fn mx(answer: &Answer, domain: &str, found: &Exchangers) -> Told {
    // That a domain takes mail does not say that a mailbox is there.
    let decides = answer.cause == "dns";
    let there = if decides { Meaning::Gone } else { Meaning::Unsure };
    let hosts: Vec<String> = found.hosts.iter().map(|mx| mx.host.clone()).collect();
    let publish = |told: Told| told.fix("fix-mx", vec![format!("{}. MX 10 {EXAMPLE}.", clean(domain))]);
    match found.state {
        MxState::There => Told::new("mx-there", there).with("hosts", all_quoted(&hosts)),
        MxState::Implicit => Told::new("mx-implicit", there),
        MxState::Null => publish(Told::new("mx-null", Meaning::Still)),
        MxState::Unreachable => {
            publish(Told::new("mx-unreachable", Meaning::Still).with("hosts", all_quoted(&hosts)))
        }
        MxState::NoSuchDomain => {
            Told::new("mx-no-such-domain", Meaning::Still).fix("fix-mx-domain", Vec::new())
        }
        MxState::Nothing | _ => publish(Told::new("mx-nothing", Meaning::Still)),
    }
}

fn datum(check: &Check, told: &Told, finding: Option<&Finding>) -> Value {
    let (kind, subject) = match check {
        Check::Ptr(ip) => ("ptr", json!({"ip": ip.to_string()})),
        Check::Spf { domain, ip } => ("spf", json!({"domain": domain, "ip": ip.to_string()})),
        Check::Dkim { selector, domain } => ("dkim", json!({"selector": selector, "domain": domain})),
        Check::Dmarc(domain) => ("dmarc", json!({"domain": domain})),
        Check::List { subject, zone } => ("list", json!({"subject": written(subject), "zone": zone})),
        Check::Mx(domain) => ("mx", json!({"domain": domain})),
        _ => ("unknown", Value::Null),
    };
    let answers: Vec<String> = match finding {
        Some(Finding::Ptr(found)) => found.names.clone(),
        Some(Finding::Spf(found)) => found.records.clone(),
        Some(Finding::Dkim(found)) => found.record.iter().cloned().collect(),
        Some(Finding::Dmarc(found)) => found.record.iter().cloned().collect(),
        Some(Finding::List(found)) => found.codes.iter().map(ToString::to_string).collect(),
        Some(Finding::Mx(found)) => {
            found.hosts.iter().map(|mx| format!("{} {}.", mx.preference, mx.host)).collect()
        }
        None | Some(_) => Vec::new(),
    };
    json!({
        "check": kind, "asked": subject, "answers": answers, "state": told.state,
        "means": told.meaning.key(), "reasons": told.reasons,
        "records": told.fix.as_ref().map(|(_, records)| records.clone()).unwrap_or_default(),
    })
}

fn written(subject: &Subject) -> String {
    match subject {
        Subject::Ip(ip) => ip.to_string(),
        Subject::Domain(domain) => domain.clone(),
    }
}

fn txt(name: &str, text: &str) -> String {
    clean(&format!("{name}. TXT \"{text}\""))
}

/// A value from the DNS or from the text, of bearable length.
fn clean(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn quoted(text: &str) -> String {
    format!("`{}`", clean(text).replace('`', "'"))
}

fn all_quoted(all: &[String]) -> String {
    all.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ")
}
