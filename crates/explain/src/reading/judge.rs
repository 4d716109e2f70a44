//! From one reply about one recipient to the five answers.
//!
//! Taking a living address off a list is the worst error, so that answer is `Yes` only where words or an
//! unambiguous code say that the mailbox is gone, the refusal is permanent, and nothing in the same text
//! speaks of anything else. RFC 3463 §2, RFC 5321 §4.2.1; RFC 7505 for domains that take no mail.

use crate::answer::{Answer, Basis, Confidence, EnhancedCode, Evidence, Found, Outcome, Party, Record, Tri};
use crate::reading::find;
use crate::reading::pattern::words;
use crate::reading::rules::{self, Match, Who};
use crate::reading::said::{Said, Stage};
use postroad_reference::signs;
use std::collections::BTreeMap;
use std::ops::Range;

/// Replies that are compared with the known texts, in octets of all together; the rest is told by codes.
const COMPARED: usize = 512 * 1024;

/// Different verdicts that are kept for replies seen before.
const KEPT: usize = 4096;

/// Letters of a reply that are no words of their own ("Error", "rejected").
const FEW: usize = 12;

words!(SENDER, "sender");
words!(COMPETE, "compete");
words!(DOUBT, "doubt");
words!(PASSING, "passing");
words!(REFUSE, "refuse");
words!(CALLOUT, "callout");
words!(DORMANT, "dormant");

/// What is known of one recipient.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) recipient: Option<String>,
    pub(crate) message: Option<String>,
    /// What the reporting server says it did.
    pub(crate) outcome: Option<Outcome>,
    /// The status it gives (RFC 3464 §2.3.4), which may be its own.
    pub(crate) status: Option<EnhancedCode>,
    /// Where it gives it.
    pub(crate) status_at: Option<Evidence>,
    /// The address that the mail was sent to, where the report names another one (RFC 3464 §2.3.1).
    pub(crate) original: Option<String>,
    /// The server that answered, if that is told beside the reply.
    pub(crate) remote: Option<String>,
    /// The server that tells.
    pub(crate) reporting: Option<String>,
    pub(crate) said: Option<Said>,
}

/// Judges, and remembers how much it has compared.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    compared: usize,
    /// Verdicts of the rules by the reply's words and who may have said it: mail to many gives many alike.
    known: BTreeMap<(Vec<u8>, Vec<&'static str>), Verdict>,
    /// Whether replies were left uncompared.
    pub(crate) tired: bool,
}

/// What words alone say.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that the words say")]
struct Verdict {
    found: Option<Match>,
    sender: bool,
    /// The words about the sender stand before those that decided, or among them.
    sender_leads: bool,
    /// Words of another cause stand by, or words that doubt.
    competes: bool,
    passing: bool,
    /// Somebody's mailbox was asked for.
    callout: bool,
    /// A state from which the owner may come back.
    dormant: bool,
    causes: Vec<&'static str>,
}

/// What the codes and the words together chose.
struct Choice {
    cause: &'static str,
    action: &'static str,
    basis: Basis,
    readings: Vec<&'static str>,
}

impl Judge {
    /// The answer for one recipient.
    pub(crate) fn answer(&mut self, case: Case) -> Answer {
        let said = case.said.clone().unwrap_or_default();
        let enhanced = said.enhanced.or(case.status);
        let outcome = case.outcome.unwrap_or(match class(said.code, enhanced) {
            Class::Success => Outcome::Delivered,
            Class::Transient => Outcome::Delayed,
            Class::Permanent | Class::Clash | Class::None => Outcome::Failed,
        });
        if outcome.is_success() {
            return settled(case, outcome);
        }
        let hosts: Vec<&str> = match (said.host.as_deref(), case.remote.as_deref()) {
            (None, None) => case.reporting.as_deref().into_iter().collect(),
            (said, remote) => said.into_iter().chain(remote).collect(),
        };
        let domain =
            case.recipient.as_deref().and_then(|address| address.rsplit_once('@')).map(|(_, domain)| domain);
        let who = rules::who(&hosts, said.full.bytes(), domain);
        let verdict = self.verdict(&said, &who);
        let mut choice = choose(&said, enhanced, &verdict, &who, outcome);
        let facts = Facts {
            said: &said,
            enhanced,
            outcome,
            reported: case.outcome.is_some() && case.status.is_some(),
            verdict: &verdict,
            who: &who,
            whom: whom(&case, &said),
            names: find::address(said.full.bytes()).is_some(),
        };
        facts.mend(&mut choice, domain);
        // Where a code decided against the words, the words are no evidence.
        let decided = verdict.found.as_ref().filter(|found| found.basis == choice.basis);
        let mut evidence = evidence(&said, decided);
        if said.enhanced.is_none() {
            evidence.extend(case.status_at.clone());
        }
        let mut remove = facts.remove(&choice);
        if remove == Tri::Yes && evidence.is_empty() {
            remove = Tri::Ambiguous;
        }
        let retry = facts.retry(&choice);
        let confidence = facts.confidence(&choice);
        let mut action = choice.action;
        if action == "remove-address" && remove != Tri::Yes {
            // The step must not say what the answer does not.
            action = if facts.class() == Class::Transient || outcome == Outcome::Delayed {
                "retry-later"
            } else {
                "see-text"
            };
        }
        let mut readings = choice.readings.clone();
        if remove == Tri::Ambiguous && readings.len() < 2 {
            readings = facts.readings(choice.cause);
        }
        let found = find::values(&said.full);
        let rule = decided.map(|found| found.rule.id);
        let provider = provider(&verdict, &who);
        Answer {
            whose: whose(choice.cause, action, facts.class()),
            slow: is_slow(choice.cause, action),
            record: record(action, &found, case.recipient.as_deref()),
            recipient: case.recipient,
            message: case.message,
            outcome,
            reply: case.said.map(|said| said.reply()),
            cause: choice.cause,
            action,
            provider,
            retry,
            remove,
            found,
            evidence,
            confidence,
            rule,
            basis: choice.basis,
            readings,
        }
    }

    fn verdict(&mut self, said: &Said, who: &Who) -> Verdict {
        let bytes = said.full.bytes();
        // The status of a report is not among the words, and does not change which of them decide.
        let key = (bytes.to_vec(), who.providers.clone());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.compared + bytes.len() > COMPARED {
            self.tired = true;
            return Verdict { competes: true, ..Verdict::default() };
        }
        self.compared += bytes.len() + 64;
        let (domains, masked) = find::masked(bytes);
        let words = find::words_alone(&masked);
        let looked =
            rules::Looked { text: &domains, masked: &masked, words: &words, enhanced: said.enhanced };
        let found = rules::find(looked, who);
        let mut rest = masked.clone();
        if let Some(found) = &found {
            for byte in rest.get_mut(found.range.clone()).unwrap_or_default() {
                *byte = b'x';
            }
        }
        let sender = SENDER.find(&masked);
        let verdict = Verdict {
            sender: sender.is_some(),
            sender_leads: sender
                .is_some_and(|sender| found.as_ref().is_none_or(|found| sender.start < found.range.end)),
            competes: COMPETE.is_match(&rest)
                || found.as_ref().is_some_and(|found| rules::rivals(&words, found))
                || DOUBT.is_match(&words)
                || (found.is_none() && REFUSE.is_match(&words)),
            passing: PASSING.is_match(&masked),
            callout: CALLOUT.is_match(&masked),
            dormant: DORMANT.is_match(&words),
            causes: rules::generic_causes(&words),
            found,
        };
        if self.known.len() < KEPT {
            self.known.insert(key, verdict.clone());
        }
        verdict
    }
}

/// Who said it: whose rule matched, if those words are its own; else who is known to have answered.
fn provider(verdict: &Verdict, who: &Who) -> Option<&'static str> {
    let own = verdict.found.as_ref().filter(|found| {
        matches!(found.basis, Basis::Provider | Basis::Filter)
            || (found.basis == Basis::OtherProvider && who.providers.is_empty() && found.is_distinct())
    });
    own.map(|found| found.rule.provider).or_else(|| who.providers.first().copied())
}

/// What the first digits say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Success,
    Transient,
    Permanent,
    /// The basic and the enhanced code differ (RFC 2034 §4 forbids it).
    Clash,
    None,
}

fn class(code: Option<u16>, enhanced: Option<EnhancedCode>) -> Class {
    match (code.map(|code| code / 100), enhanced.map(|code| code.class() as u16)) {
        (Some(4), Some(4) | None) | (None, Some(4)) => Class::Transient,
        (Some(5), Some(5) | None) | (None, Some(5)) => Class::Permanent,
        (Some(2), Some(2) | None) | (None, Some(2)) => Class::Success,
        (Some(_), Some(_)) => Class::Clash,
        _ => Class::None,
    }
}

fn choose(
    said: &Said,
    enhanced: Option<EnhancedCode>,
    verdict: &Verdict,
    who: &Who,
    outcome: Outcome,
) -> Choice {
    let by_code = enhanced.and_then(|code| rules::enhanced_cause(code, who.vendor));
    let by_basic = said.code.and_then(rules::basic_cause);
    if let Some(found) = &verdict.found {
        // A code that decides says more than words that many use, where it is the vendor's own, or where
        // the words leave it open.
        let open = found.rule.action == "see-text";
        let coded = by_code.filter(|(row, basis)| {
            let decides = row.readings == "-" && !matches!(row.action, "by-class" | "see-text");
            // Words of an unknown mailbox and of the code's own cause: the code tells which were meant.
            let told = row.readings == "-"
                && found.basis == Basis::Generic
                && found.rule.cause == "mailbox-unknown"
                && matches!(row.cause, "quota" | "dns" | "size")
                && verdict.causes.contains(&row.cause);
            if told {
                return true;
            }
            let own = *basis != Basis::Registry && found.basis >= Basis::OtherProvider;
            // A code that names one matter of security is not about a mailbox, whatever words stand by.
            let secure = row.code.starts_with("X.7.")
                && found.rule.cause.starts_with("mailbox-")
                && !row.cause.starts_with("mailbox-");
            decides && (own || ((open || secure) && found.basis == Basis::Generic))
        });
        if let Some((row, basis)) = coded {
            return Choice { cause: row.cause, action: row.action, basis, readings: Vec::new() };
        }
        // "No longer in use" beside 5.1.1: the code says which of the two it is.
        let unknown = found.basis == Basis::Generic
            && found.rule.cause == "mailbox-disabled"
            && found.rule.action == "remove-address"
            && enhanced.is_some_and(|code| (code.subject(), code.detail()) == (1, 1));
        let cause = if unknown { "mailbox-unknown" } else { found.rule.cause };
        let readings = if is_undecided(found) { readings_of(by_code, found.rule.cause) } else { Vec::new() };
        return Choice { cause, action: found.rule.action, basis: found.basis, readings };
    }
    let coded = by_code.filter(|(row, _)| row.cause != "unknown").or(by_basic).or(by_code);
    let Some((row, basis)) = coded else {
        let (action, basis) = if outcome == Outcome::Delayed {
            ("retry-later", Basis::Outcome)
        } else {
            ("see-text", Basis::Nothing)
        };
        return Choice { cause: "unknown", action, basis, readings: Vec::new() };
    };
    let gave_up = outcome == Outcome::Failed && basis >= Basis::BasicCode;
    let transient = class(said.code, enhanced) == Class::Transient;
    let action = match row.action {
        "by-class" if transient => "retry-later",
        "by-class" => "see-text",
        other => other,
    };
    let readings = split(row.readings);
    if gave_up && transient && said.code.is_some() {
        return Choice { cause: "expired", action: "see-cause", basis, readings };
    }
    Choice { cause: row.cause, action, basis, readings }
}

/// Rules whose words fit more than one cause.
fn is_undecided(found: &Match) -> bool {
    found.rule.action == "see-text" || found.rule.enhanced == "5.4.1"
}

fn readings_of(
    by_code: Option<(&'static signs::CodeCause, Basis)>,
    cause: &'static str,
) -> Vec<&'static str> {
    let mut all = vec![cause];
    let more = by_code.map(|(row, _)| split(row.readings)).unwrap_or_default();
    all.extend(more.into_iter().filter(|one| *one != cause));
    all
}

fn split(list: &'static str) -> Vec<&'static str> {
    list.split(',').filter(|one| *one != "-").collect()
}

/// Everything that the last two questions are decided by.
struct Facts<'a> {
    said: &'a Said,
    enhanced: Option<EnhancedCode>,
    outcome: Outcome,
    /// A report for machines says the outcome.
    reported: bool,
    verdict: &'a Verdict,
    who: &'a Who,
    whom: Whom,
    /// The reply names an address.
    names: bool,
}

/// Whether the reply is about the address that the mail was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// As far as the text tells.
    Recipient,
    /// It names other addresses too, or only those.
    Others,
    /// It begins with another address: the sender's, or one that the mail was forwarded to.
    Another,
    /// The report says that the mail was forwarded, or the address is one inside Exchange
    /// (`IMCEAEX-…`), behind which the real one may live.
    Forwarded,
}

fn whom(case: &Case, said: &Said) -> Whom {
    let Some(recipient) = case.recipient.as_deref() else { return Whom::Recipient };
    let moved = case.original.as_deref().is_some_and(|original| !original.eq_ignore_ascii_case(recipient));
    if moved || said.forwarded || crate::reading::source::begins(recipient.as_bytes(), "IMCEA") {
        return Whom::Forwarded;
    }
    let bytes = said.full.bytes();
    let all = find::addresses(bytes);
    let Some(range) = all.first().cloned() else { return Whom::Recipient };
    let leads = !bytes.get(..range.start).unwrap_or_default().iter().any(u8::is_ascii_alphabetic);
    let named = said.full.string(range);
    // Servers rewrite domains and cut tags; the rest is the mailbox.
    let local = |address: &str| {
        let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
        local.split('+').next().unwrap_or_default().to_ascii_lowercase()
    };
    if leads && local(&named) != local(recipient) {
        return Whom::Another;
    }
    let is_other = |range: Range<usize>| {
        let before = bytes.get(..range.start).unwrap_or_default().trim_ascii_end();
        let before = before.strip_suffix(b"<").unwrap_or(before);
        let quotes_sender = before.to_ascii_lowercase().ends_with(b"from=");
        let named = local(&said.full.string(range));
        named != local(recipient) && !quotes_sender && !HELPERS.contains(&named.as_str())
    };
    if all.into_iter().any(is_other) { Whom::Others } else { Whom::Recipient }
}

/// Whom refusals tell to write to.
const HELPERS: [&str; 12] = [
    "postmaster",
    "hostmaster",
    "abuse",
    "support",
    "help",
    "helpdesk",
    "admin",
    "mailmaster",
    "mail",
    "noc",
    "mailadmin",
    "contact",
];

impl Facts<'_> {
    fn class(&self) -> Class {
        class(self.said.code, self.enhanced)
    }

    /// What the words alone cannot tell: whose address, whose domain was refused.
    fn mend(&self, choice: &mut Choice, domain: Option<&str>) {
        let mailbox = choice.cause.starts_with("mailbox-");
        let unknown = choice.cause == "unknown" && self.class() == Class::Permanent;
        if (self.verdict.sender_leads || self.asks_for_sender()) && (mailbox || unknown) {
            // Only the server that holds the sender's mailbox knows that it is closed.
            choice.cause = if choice.cause == "mailbox-disabled" { "submission-policy" } else { "policy" };
            choice.action = "contact-admin";
            choice.readings.clear();
        }
        if choice.cause != "dns" || choice.action != "fix-address" {
            return;
        }
        let named =
            self.verdict.found.as_ref().map(|found| find::domains(self.said.full.slice(found.range.clone())));
        let named = named.unwrap_or_default();
        let own = |name: &String| domain.is_none_or(|domain| name.eq_ignore_ascii_case(domain));
        if self.class() == Class::Transient {
            choice.action = "retry-later";
        } else if !named.is_empty() && !named.iter().any(own) {
            // The domain is there; a host that it names is not.
            choice.action = "contact-recipient";
        }
    }

    /// The server asked another one for a mailbox, and nothing tells that it was the recipient's: then it
    /// was the sender's.
    fn asks_for_sender(&self) -> bool {
        self.verdict.callout && !(self.names && self.whom == Whom::Recipient)
    }

    fn retry(&self, choice: &Choice) -> Tri {
        if self.outcome == Outcome::Delayed {
            return Tri::Yes;
        }
        let later = matches!(choice.action, "retry-later" | "slow-down" | "split");
        match self.class() {
            Class::Transient => Tri::Yes,
            Class::Clash if later && self.was_seen() => Tri::Yes,
            Class::Clash => Tri::Ambiguous,
            // The registry calls X.2.2 transient, receivers send it as 552 (RFC 3463 §3.3, RFC 5248).
            Class::Permanent if choice.cause == "quota" && self.was_seen() => Tri::Ambiguous,
            Class::Permanent if choice.action == "see-cause" && choice.cause != "protocol" => Tri::Ambiguous,
            // 5yz, though it passes by itself; a standing does not.
            Class::Permanent if later && self.was_seen() && choice.cause != "reputation" => Tri::Ambiguous,
            Class::Permanent => Tri::No,
            Class::Success | Class::None => match choice.action {
                _ if later => Tri::Yes,
                "see-text" | "see-cause" | "by-class" => Tri::Ambiguous,
                _ => Tri::No,
            },
        }
    }

    /// Whether the codes are of a class that the rule was seen with; the registry counts as seen.
    fn was_seen(&self) -> bool {
        let Some(found) = &self.verdict.found else { return true };
        let digit = self.said.code.map(|code| code / 100).or(self.enhanced.map(|code| code.class() as u16));
        let seen = |list: &str| {
            list.split(',')
                .filter_map(|one| one.chars().next()?.to_digit(10))
                .any(|class| Some(class) == digit.map(u32::from))
        };
        match (found.rule.reply, found.rule.enhanced) {
            ("-", "-") => true,
            ("-", list) | (list, _) => seen(list),
        }
    }

    fn remove(&self, choice: &Choice) -> Tri {
        let doubtful = |yes: bool| if yes { Tri::Ambiguous } else { Tri::No };
        let mailbox = choice.cause.starts_with("mailbox-");
        // What the recipient's side, or a list of dead addresses, wants is about the recipient too.
        let theirs =
            matches!((choice.cause, choice.action), ("policy", "contact-recipient") | ("suppressed", _));
        let of_sender = ((self.verdict.sender || self.asks_for_sender()) && !theirs)
            || matches!(self.said.stage, Stage::Sender | Stage::Hello)
            || self.enhanced.is_some_and(|code| code.subject() == 1 && matches!(code.detail(), 7 | 8));
        if of_sender || self.outcome == Outcome::Delayed {
            return Tri::No;
        }
        let null_mx = choice.cause == "dns" && choice.action == "remove-address";
        let no_domain =
            choice.cause == "dns" && choice.action == "fix-address" && choice.basis < Basis::Generic;
        match self.class() {
            // Given up after days of it.
            Class::Transient if self.reported && self.outcome == Outcome::Failed => {
                return doubtful(mailbox || choice.cause == "dns");
            }
            Class::Transient => return Tri::No,
            Class::Clash => return doubtful(mailbox),
            Class::Permanent | Class::Success | Class::None => {}
        }
        if choice.cause == "mailbox-disabled" && self.verdict.passing {
            return Tri::No;
        }
        let permanent = self.class() == Class::Permanent || self.outcome == Outcome::Failed;
        if self.leaves_open(choice) {
            return doubtful(self.whom != Whom::Another);
        }
        if choice.basis > Basis::Generic {
            return self.remove_by_code(choice, permanent);
        }
        if !mailbox && !null_mx && !no_domain {
            // A few words of refusal beside 5.7.0 or 5.7.1 leave everything open.
            let open = choice.action == "see-text"
                && choice.basis == Basis::Generic
                && self.said.words() < 40
                && self.whom != Whom::Another
                && self.enhanced.is_some_and(|code| code.subject() == 7 && code.detail() <= 1);
            return doubtful(open || matches!(choice.action, "remove-address" | "fix-address"));
        }
        if choice.action == "fix-message" {
            return Tri::No;
        }
        let clear = (choice.action == "remove-address" || no_domain)
            && permanent
            && self.whom == Whom::Recipient
            && !(no_domain && self.verdict.passing)
            && choice.readings.is_empty()
            && (no_domain || !self.verdict.competes)
            && (no_domain || !self.codes_object())
            && (no_domain || self.is_spoken(choice))
            && self.is_backed(choice);
        if clear { Tri::Yes } else { Tri::Ambiguous }
    }

    /// Refusals that are about this recipient without saying whether there is one: its owner or operator
    /// does not want the sender, or what was said of it stands elsewhere.
    fn leaves_open(&self, choice: &Choice) -> bool {
        match (choice.cause, choice.action) {
            ("policy" | "dns", "contact-recipient") | ("protocol", "see-cause") => true,
            ("relay", _) => self.verdict.causes.iter().any(|cause| cause.starts_with("mailbox-")),
            ("receiver-misconfigured" | "system", "retry-later") => self.enhanced.is_some_and(says_gone),
            _ => false,
        }
    }

    /// A code of policy, or of storage, beside words of an unknown mailbox: one of the two is wrong,
    /// unless the rule was seen with that very code.
    fn codes_object(&self) -> bool {
        let Some(code) = self.enhanced else {
            return self.said.code.is_some_and(|code| matches!(code, 452 | 500..=504 | 530..=538));
        };
        let seen = self
            .verdict
            .found
            .as_ref()
            .is_some_and(|found| found.rule.enhanced.split(',').any(|one| one == code.to_string()));
        !seen
            && (matches!(code.subject(), 4 | 7)
                || (code.subject() == 2 && code.detail() == 2)
                || code.subject() == 6)
    }

    /// Whether those who know speak: a provider, a filter or software in words of their own, or else words
    /// that many use, where they answer the recipient's address and the code, if there is one, is of
    /// addresses or mailboxes or tells nothing. States that an owner may come back from are final only
    /// where it is documented.
    fn is_spoken(&self, choice: &Choice) -> bool {
        let Some(found) = &self.verdict.found else { return true };
        let documented = matches!(found.rule.evidence, "documented" | "source");
        if self.verdict.dormant && !documented {
            return false;
        }
        choice.basis != Basis::Generic
            || (self.said.stage != Stage::Content
                && self.enhanced.is_none_or(|code| {
                    matches!((code.subject(), code.detail()), (0 | 1, _) | (2 | 5, 0 | 1)) || says_gone(code)
                }))
    }

    /// Another provider's words count only where they are long, or the code agrees.
    fn is_backed(&self, choice: &Choice) -> bool {
        choice.basis != Basis::OtherProvider
            || self.verdict.found.as_ref().is_some_and(Match::is_distinct)
            || self.enhanced.is_some_and(|code| says_gone(code) || (code.subject(), code.detail()) == (2, 1))
            || self.verdict.causes.contains(&choice.cause)
    }

    /// A status that the reporting server gave to a reply that had none of its own is its guess: many
    /// make 5.1.1 of any 550.
    fn is_their_code(&self) -> bool {
        self.said.enhanced.is_some() || self.said.code.is_none()
    }

    fn remove_by_code(&self, choice: &Choice, permanent: bool) -> Tri {
        let Some(code) = self.enhanced.filter(|code| (code.class() as u16) == 5) else {
            let may = choice.readings.iter().any(|one| one.starts_with("mailbox-"));
            let nothing = matches!(choice.basis, Basis::Nothing | Basis::Class) && permanent;
            return if may || nothing || choice.action == "remove-address" {
                Tri::Ambiguous
            } else {
                Tri::No
            };
        };
        let basic = self.said.code.is_none_or(|code| matches!(code, 550 | 551 | 553 | 554 | 556));
        let vendor = self.who.vendor.is_some() && code.detail() == 10;
        if says_gone(code) && choice.basis == Basis::Registry {
            // Words may stand beside the code only where they are known to be of the same thing: servers put
            // 5.1.1 before any refusal of a recipient.
            let often = (code.subject(), code.detail()) == (1, 1);
            let agrees =
                self.verdict.found.as_ref().map_or(!often || self.said.words_alone() < FEW, |found| {
                    found.rule.cause == choice.cause
                });
            let clear = basic
                && permanent
                && agrees
                && self.whom == Whom::Recipient
                && !vendor
                && !self.verdict.competes
                && !self.verdict.dormant
                && self.is_their_code()
                && !rules::reuses(self.who, code);
            return if clear { Tri::Yes } else { Tri::Ambiguous };
        }
        let may = choice.cause.starts_with("mailbox-")
            || matches!(choice.action, "remove-address" | "fix-address")
            || choice.readings.iter().any(|one| one.starts_with("mailbox-"))
            // A code of policy without a word that tells which.
            || (code.subject() == 7 && code.detail() <= 1)
            || choice.cause == "unknown";
        if may { Tri::Ambiguous } else { Tri::No }
    }

    fn confidence(&self, choice: &Choice) -> Confidence {
        let clash = self.class() == Class::Clash
            || (self.verdict.found.is_some() && self.class() != Class::None && !self.was_seen())
            || (choice.cause.starts_with("mailbox-") && (self.verdict.competes || self.verdict.sender));
        match choice.basis {
            _ if clash => Confidence::Guess,
            Basis::Provider | Basis::Filter | Basis::Software | Basis::SenderSide
                if choice.readings.is_empty() && choice.action != "see-text" =>
            {
                Confidence::Sure
            }
            Basis::BlockList => Confidence::Sure,
            Basis::Provider | Basis::Filter | Basis::Software | Basis::SenderSide | Basis::OtherProvider => {
                Confidence::Likely
            }
            Basis::Generic | Basis::Registry if choice.readings.is_empty() => Confidence::Likely,
            Basis::Generic
            | Basis::Registry
            | Basis::BasicCode
            | Basis::Class
            | Basis::Outcome
            | Basis::Nothing => Confidence::Guess,
        }
    }

    /// What a text may mean that does not decide.
    fn readings(&self, cause: &'static str) -> Vec<&'static str> {
        let mut all: Vec<&'static str> = vec![cause];
        let code = self.enhanced.and_then(|code| rules::enhanced_cause(code, self.who.vendor));
        let basic = self.said.code.and_then(rules::basic_cause);
        let coded = code
            .into_iter()
            .chain(basic)
            .flat_map(|(row, _)| split(row.readings).into_iter().chain(Some(row.cause)).collect::<Vec<_>>());
        for one in self.verdict.causes.iter().copied().chain(coded) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all.retain(|one| *one != "unknown");
        all.truncate(5);
        if all.len() < 2 {
            all = vec!["mailbox-unknown", "policy"];
        }
        all
    }
}

/// Registered codes that say that nobody is there any more: 5.1.1, 5.1.6, 5.1.10, 5.7.17, 5.7.18.
fn says_gone(code: EnhancedCode) -> bool {
    matches!((code.class() as u16, code.subject(), code.detail()), (5, 1, 1 | 6 | 10) | (5, 7, 17 | 18))
}

/// The answer for mail that arrived.
fn settled(case: Case, outcome: Outcome) -> Answer {
    let said = case.said.unwrap_or_default();
    Answer {
        recipient: case.recipient,
        message: case.message,
        outcome,
        evidence: if said.is_empty() { Vec::new() } else { evidence(&said, None) },
        reply: (!said.is_empty()).then(|| said.reply()),
        cause: "none",
        action: "none",
        provider: None,
        retry: Tri::No,
        slow: false,
        remove: Tri::No,
        whose: Vec::new(),
        record: None,
        found: Vec::new(),
        confidence: Confidence::Sure,
        basis: Basis::Outcome,
        rule: None,
        readings: Vec::new(),
    }
}

fn evidence(said: &Said, decided: Option<&Match>) -> Vec<Evidence> {
    let mut all = Vec::new();
    let bytes = said.full.bytes();
    let codes = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b' ' | b'-' | b'#'))
        .count();
    let codes = crate::reading::source::trim(bytes, 0..codes);
    if codes.len() > 2 {
        all.push(Evidence { range: said.full.origin(&codes), text: said.full.string(codes) });
    }
    if let Some(found) = decided {
        all.push(Evidence {
            range: said.full.origin(&found.range),
            text: said.full.string(found.range.clone()),
        });
    }
    all
}

fn whose(cause: &str, action: &str, class: Class) -> Vec<Party> {
    let own = signs::actions().iter().find(|row| row.key == action).map_or("-", |row| row.whose);
    let list = match own {
        // A server that knows nobody for a while is itself unsure.
        _ if class == Class::Transient && cause == "mailbox-unknown" => "receiver,address",
        "-" if cause == "dns" && action == "retry-later" => "network,sender",
        "-" if matches!(cause, "dns" | "content") && action == "contact-recipient" => "receiver",
        "-" => signs::causes().iter().find(|row| row.key == cause).map_or("-", |row| row.whose),
        own => own,
    };
    list.split(',').filter_map(Party::read).collect()
}

fn is_slow(cause: &str, action: &str) -> bool {
    let by_action = signs::actions().iter().any(|row| row.key == action && row.slow == "yes");
    let by_cause = signs::causes().iter().any(|row| row.key == cause && row.slow == "yes");
    by_action || (by_cause && action != "split")
}

fn record(action: &'static str, found: &[Found], recipient: Option<&str>) -> Option<Record> {
    if matches!(action, "none" | "by-class") {
        return None;
    }
    let wanted = signs::actions().iter().find(|row| row.key == action).map_or("-", |row| row.concerns);
    let concerns = wanted.split(',').find_map(|kind| {
        let mut all = found.iter().filter(|one| one.kind.key() == kind);
        let exact = all.clone().find(|one| recipient.is_some_and(|to| one.value.eq_ignore_ascii_case(to)));
        exact.or_else(|| all.next()).cloned()
    });
    Some(Record { action, concerns })
}
