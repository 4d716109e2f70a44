//! Walks a dialogue once and names what breaks the protocol, each fault at its first wrong step.
//!
//! RFC 5321 §3, §4; RFC 2920 §3.1 for what may be sent together; RFC 3207 §4; RFC 4954 §4; RFC 1870 §6;
//! RFC 2034 §4. What a paste does not show is not held against anyone: a dialogue that begins in the
//! middle has no missing EHLO, content that its tool hides has no missing end.

use crate::answer::{Fault, Outcome};
use crate::reading::judge::Case;
use crate::reading::line;
use crate::reading::pattern::pattern;
use crate::reading::said::{Said, Stage};
use crate::reading::source::begins;
use crate::reading::transcript::{Dialogue, End, MASK, Side, Turn, without_secret};
use postroad_reference::signs;
use std::collections::VecDeque;

/// Refused commands that are answered for.
const MOST: usize = 1000;

/// Secrets that are masked in what a server repeats.
const SECRETS: usize = 16;

/// Lines of a reply to EHLO that are read.
const OFFERS: usize = 64;

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) faults: Vec<Fault>,
    /// Each refused command, with its reply.
    pub(crate) refused: Vec<Case>,
    /// Words that must not be shown.
    pub(crate) secrets: Vec<String>,
    /// The line of the first reply that refuses.
    pub(crate) refused_at: Option<usize>,
    /// Where the content stalled, why that may be: keys of the stalls, the likeliest first.
    pub(crate) stalls: Vec<&'static str>,
}

/// A command that waits for its reply.
#[derive(Clone, Debug)]
struct Waiting {
    verb: Verb,
    /// Its place among the turns.
    turn: usize,
    recipient: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Hello,
    Mail,
    Rcpt,
    Data,
    /// The lone dot.
    End,
    Bdat,
    Auth,
    StartTls,
    Rset,
    Quit,
    /// NOOP, VRFY, EXPN, HELP, ETRN and the like.
    Other,
    Unknown,
}

impl Verb {
    fn of(line: &[u8]) -> Self {
        let word = line.split(|byte| matches!(byte, b' ' | b':' | b'\t')).next().unwrap_or_default();
        match word.to_ascii_uppercase().as_slice() {
            b"EHLO" | b"HELO" | b"LHLO" => Self::Hello,
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"BDAT" => Self::Bdat,
            b"AUTH" => Self::Auth,
            b"STARTTLS" => Self::StartTls,
            b"RSET" => Self::Rset,
            b"QUIT" => Self::Quit,
            b"NOOP" | b"VRFY" | b"EXPN" | b"HELP" | b"ETRN" | b"ATRN" | b"TURN" | b"XCLIENT"
            | b"XFORWARD" | b"BURL" | b"SEND" | b"SOML" | b"SAML" => Self::Other,
            _ => Self::Unknown,
        }
    }

    /// Whether nothing may follow before its reply (RFC 2920 §3.1).
    fn is_last_of_group(self) -> bool {
        matches!(self, Self::Hello | Self::Data | Self::Auth | Self::StartTls | Self::Quit | Self::Other)
    }
}

/// What the client's next lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Commands,
    /// Behind 354, until the lone dot.
    Content,
    /// Content before 354, until the server answers; whether its lone dot was sent too.
    Early(bool),
    /// Answers to 334.
    Login,
    /// Behind a refused DATA: commands again, if the client noticed.
    Refused,
    /// This much of a chunk is still to come.
    Chunk(u64),
}

/// What is known of the transaction.
#[derive(Debug, Default)]
struct Transaction {
    /// MAIL was sent and not refused.
    open: bool,
    recipients: usize,
    accepted: usize,
    refused: usize,
}

/// A reply whose lines are still coming.
#[derive(Debug)]
struct Partial {
    code: u16,
    first: usize,
    lines: Vec<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is one thing that the dialogue showed")]
struct Walk<'a> {
    turns: &'a [Turn],
    found: Walked,
    mode: Mode,
    waiting: VecDeque<Waiting>,
    /// How many of those are RCPT, and how many ends of content: counted, so that a step is a step.
    waiting_rcpt: usize,
    waiting_end: usize,
    partial: Option<Partial>,
    /// The greeting was shown, so that nothing before it is missing.
    whole: bool,
    greeted: bool,
    hello: Option<bool>,
    lmtp: bool,
    offers: Option<Vec<String>>,
    tls: bool,
    must_hello: bool,
    transaction: Transaction,
    declared: Option<u64>,
    content: u64,
    content_shown: bool,
    last_dot: usize,
    closed: bool,
    timed_out: bool,
    quit: bool,
    server_closes: bool,
    has_server: bool,
    /// The name in the greeting (RFC 5321 §4.3.1).
    host: String,
    commands: usize,
}

pattern!(
    TLS,
    r"tls (started|connection|session|handshake|cipher)|ssl connection|ssl-session|^= tls|new, tls|starttls handshake|:465|, 465\)|connected\(|cipher is|tlsv1"
);
pattern!(
    CLOSED,
    r"(connection|remote) (was )?(closed|lost|reset|host closed)|closed by (foreign|remote)|closing connection|lost connection|server disconnected|connection unexpectedly closed|^x$|^closed$"
);
pattern!(TIMEOUT, r"tim(ed|e)[ -]?out");

/// Walks a dialogue. Of one whose end was not read (`cut`) nothing can be said to be missing.
pub(crate) fn walk(dialogue: &Dialogue, cut: bool) -> Walked {
    let turns = &dialogue.turns;
    let first = turns.iter().find(|turn| turn.side == Side::Server).map(|turn| turn.text.bytes());
    let mut walk = Walk {
        turns,
        found: Walked::default(),
        mode: Mode::Commands,
        waiting: VecDeque::new(),
        waiting_rcpt: 0,
        waiting_end: 0,
        partial: None,
        whole: first.is_some_and(|line| ["220", "421", "554", "521"].iter().any(|code| begins(line, code))),
        greeted: first.is_none(),
        hello: None,
        lmtp: false,
        offers: None,
        tls: false,
        must_hello: false,
        transaction: Transaction::default(),
        declared: None,
        content: 0,
        content_shown: false,
        last_dot: 0,
        closed: false,
        timed_out: false,
        quit: false,
        server_closes: false,
        has_server: first.is_some(),
        host: "localhost".into(),
        commands: 0,
    };
    walk.greeted = walk.greeted || !walk.whole;
    for (index, turn) in turns.iter().enumerate() {
        match turn.side {
            Side::Client => walk.client(index, turn),
            Side::Server => walk.server(index, turn),
            Side::Note => walk.note(index, turn.text.bytes()),
        }
    }
    if !cut {
        walk.finish();
    }
    walk.found
}

impl Walk<'_> {
    fn fault(&mut self, key: &'static str, turn: usize) {
        if self.found.faults.iter().any(|fault| fault.key == key) {
            return;
        }
        let (Some(facts), Some(at)) =
            (signs::faults().iter().find(|fault| fault.key == key), self.turns.get(turn))
        else {
            return;
        };
        let secret = self.mode == Mode::Login && at.side == Side::Client;
        let text = if secret { MASK.to_owned() } else { without_secret(at.text.bytes()) };
        self.found.faults.push(Fault { key: facts.key, line: at.line, text, facts });
    }

    fn note(&mut self, index: usize, line: &[u8]) {
        let line = line.get(..200).unwrap_or(line);
        self.tls = self.tls || TLS.is_match(line);
        if TIMEOUT.is_match(line) {
            self.timed_out = true;
            self.gave_up_waiting(index);
        }
        if CLOSED.is_match(line) {
            self.closed = true;
        }
    }

    /// The client waited in vain: what it says afterwards answers nothing.
    fn gave_up_waiting(&mut self, index: usize) {
        // Tools speak of time limits also while all goes well.
        let next = self.turns.iter().skip(index + 1).find(|turn| turn.side != Side::Note);
        if !self.has_server || next.is_some_and(|turn| turn.side == Side::Server) {
            return;
        }
        if self.mode == Mode::Content {
            self.stall(index);
            self.mode = Mode::Commands;
        } else if let Some(first) = self.waiting.front().map(|waiting| (waiting.verb, waiting.turn)) {
            if first.0 != Verb::Quit {
                self.silent("server-silent", first);
            }
            self.waiting.clear();
            (self.waiting_rcpt, self.waiting_end) = (0, 0);
            self.mode = Mode::Commands;
        }
    }

    /// Behind 354 the end of the content never came: told at the last line before that was seen.
    fn stall(&mut self, before: usize) {
        let turns = self.turns.get(..before).unwrap_or_default();
        if let Some(last) = turns.iter().rposition(|turn| turn.side != Side::Note) {
            let stalls: &[&str] = if !self.content_shown {
                &["nothing-after-354", "no-terminator", "no-terminator-lf"]
            } else if turns.iter().any(|turn| turn.end == End::Lf && turn.text.bytes() == b".") {
                &["no-terminator-lf"]
            } else {
                &["no-terminator", "no-terminator-lf", "nothing-after-354"]
            };
            self.found.stalls.extend_from_slice(stalls);
            self.fault("terminator-missing", last);
        }
    }

    /// No reply came. Where it is the reply to the content, its end may never have arrived.
    fn silent(&mut self, key: &'static str, (verb, turn): (Verb, usize)) {
        if verb == Verb::End && key == "server-silent" {
            self.found.stalls.extend(["no-terminator-lf", "nothing-after-354"]);
        }
        self.fault(key, turn);
    }

    // The client.

    fn client(&mut self, index: usize, turn: &Turn) {
        let line = turn.text.bytes();
        if turn.end == End::Lf {
            self.fault("lf-line-ends", index);
        }
        if line.contains(&b'\r') {
            self.fault("bare-cr", index);
        }
        match self.mode {
            Mode::Content => self.content_line(index, line),
            Mode::Early(ended) => self.mode = Mode::Early(ended || line == b"."),
            Mode::Login => self.secret(index, line),
            Mode::Chunk(left) => {
                let left = left.saturating_sub(line.len() as u64 + 2);
                self.mode = if left == 0 { Mode::Commands } else { Mode::Chunk(left) };
            }
            Mode::Commands | Mode::Refused => self.command(index, line),
        }
    }

    fn content_line(&mut self, index: usize, line: &[u8]) {
        self.content_shown = true;
        if line == b"." {
            self.mode = Mode::Commands;
            self.last_dot = index;
            let many = if self.lmtp { self.transaction.accepted.max(1) } else { 1 };
            for _ in 0..many {
                self.wait(Verb::End, index, None);
            }
            let limit = self.limit();
            if limit.is_some_and(|limit| limit > 0 && self.content > limit) {
                self.fault("size-ignored", index);
            }
            return;
        }
        let transaction = &self.transaction;
        if transaction.refused > 0 && transaction.accepted == 0 && self.waiting_rcpt == 0 {
            self.fault("data-after-all-refused", index);
        }
        if line.first() == Some(&b'.') && line.get(1) != Some(&b'.') {
            self.fault("dot-not-stuffed", index);
        }
        self.content += line.len() as u64 + 2;
    }

    fn secret(&mut self, index: usize, line: &[u8]) {
        self.keep_secret(line);
        self.mode = Mode::Commands;
        if line != b"*" {
            self.wait(Verb::Auth, index, None);
        }
    }

    fn keep_secret(&mut self, words: &[u8]) {
        let text = String::from_utf8_lossy(words).trim().to_owned();
        if text.len() > 2 && self.found.secrets.len() < SECRETS {
            self.found.secrets.push(text);
        }
    }

    fn wait(&mut self, verb: Verb, turn: usize, recipient: Option<String>) {
        self.waiting_rcpt += usize::from(verb == Verb::Rcpt);
        self.waiting_end += usize::from(verb == Verb::End);
        self.waiting.push_back(Waiting { verb, turn, recipient });
    }

    fn command(&mut self, index: usize, line: &[u8]) {
        let verb = Verb::of(line);
        let before = self.waiting.back().map(|waiting| waiting.verb);
        if verb == Verb::Unknown && self.is_stray(index, line, before) {
            return;
        }
        self.mode = Mode::Commands;
        self.commands += 1;
        if !self.greeted && self.whole {
            self.fault("command-before-greeting", index);
            self.greeted = true;
        } else if self.has_server {
            self.order(index, before);
        }
        let most = self.longest(verb);
        if line.len() + 2 > most {
            self.fault("command-line-too-long", index);
        }
        if self.must_hello && !matches!(verb, Verb::Hello | Verb::Quit) {
            self.fault("no-ehlo-after-starttls", index);
            self.must_hello = false;
        }
        self.checked(index, line, verb);
    }

    /// Lines that are no commands: content that came at the wrong time, or answers to AUTH.
    fn is_stray(&mut self, index: usize, line: &[u8], before: Option<Verb>) -> bool {
        match (self.mode, before) {
            (_, Some(Verb::Auth)) => self.keep_secret(line),
            (_, Some(Verb::Data)) => {
                self.fault("content-before-354", index);
                self.mode = Mode::Early(line == b".");
            }
            (Mode::Refused, _) => self.fault("content-after-refused-data", index),
            (_, Some(Verb::End)) => {
                // The dot before this was a line of the content.
                self.fault("dot-not-stuffed", self.last_dot);
                while self.waiting.back().is_some_and(|waiting| waiting.verb == Verb::End) {
                    self.waiting.pop_back();
                    self.waiting_end -= 1;
                }
                self.mode = Mode::Content;
            }
            _ if line.is_empty() && self.commands > 0 && !self.has_server => {}
            _ => return false,
        }
        true
    }

    /// What stands before a command that was not answered yet (RFC 2920 §3.1).
    fn order(&mut self, index: usize, before: Option<Verb>) {
        let Some(before) = before else { return };
        let pipelining = self.offers.as_ref().map(|offers| offers.iter().any(|offer| offer == "PIPELINING"));
        if before == Verb::StartTls {
            self.fault("pipelined-after-starttls", index);
        } else if before.is_last_of_group() {
            self.fault("no-reply-awaited", index);
        } else if pipelining == Some(false) || (pipelining.is_none() && self.hello == Some(false)) {
            self.fault("pipelining-not-offered", index);
        }
    }

    /// RFC 5321 §4.5.3.1.4 and what extensions add to it; RFC 4954 §4 for AUTH.
    fn longest(&self, verb: Verb) -> usize {
        let extended = self.hello == Some(true) && matches!(verb, Verb::Mail | Verb::Rcpt);
        if verb == Verb::Auth {
            12_288
        } else if extended {
            512 + 500
        } else {
            512
        }
    }

    fn checked(&mut self, index: usize, line: &[u8], verb: Verb) {
        let mut recipient = None;
        match verb {
            Verb::Hello => {
                if !line::is_hello(line) {
                    self.fault("hello-not-a-name", index);
                }
                self.hello = Some(!begins(line, "HELO"));
                self.lmtp = begins(line, "LHLO");
                self.must_hello = false;
                self.offers = None;
                self.transaction = Transaction::default();
            }
            Verb::Mail => self.mail(index, line),
            Verb::Rcpt => {
                if self.whole && !self.transaction.open {
                    self.fault("rcpt-before-mail", index);
                }
                self.path(index, line, "TO");
                self.transaction.recipients += 1;
                recipient = line::path(line)
                    .map(|path| crate::reading::source::shown(path).trim_matches(['<', '>', ' ']).to_owned());
            }
            Verb::Data | Verb::Bdat => self.data(index, verb),
            Verb::Auth => self.auth(index, line),
            Verb::Rset => self.transaction = Transaction::default(),
            Verb::Quit => self.quit = true,
            Verb::Unknown => self.fault("unknown-command", index),
            Verb::StartTls | Verb::Other | Verb::End => {}
        }
        self.wait(verb, index, recipient);
        if verb == Verb::Bdat {
            let size = line
                .split(|byte| *byte == b' ')
                .nth(1)
                .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            if let Some(size) = size.filter(|size| *size > 0) {
                self.mode = Mode::Chunk(size);
            }
        }
    }

    fn mail(&mut self, index: usize, line: &[u8]) {
        if self.whole && self.hello.is_none() {
            self.fault("mail-before-ehlo", index);
        }
        if self.transaction.open && self.waiting_end == 0 {
            self.fault("nested-mail", index);
        }
        self.path(index, line, "FROM");
        self.transaction = Transaction { open: true, ..Transaction::default() };
        self.declared = line::parameter(line, "SIZE").and_then(|value| value.parse().ok());
        let limit = self.limit();
        if let (Some(declared), Some(limit)) = (self.declared, limit)
            && limit > 0
            && declared > limit
        {
            self.fault("size-ignored", index);
        }
    }

    /// The size that the server named in its reply to EHLO (RFC 1870 §4).
    fn limit(&self) -> Option<u64> {
        self.offers.as_ref()?.iter().find_map(|offer| offer.strip_prefix("SIZE ")?.trim().parse().ok())
    }

    fn path(&mut self, index: usize, line: &[u8], word: &str) {
        if let Some(key) = line::path_fault(line, word) {
            self.fault(key, index);
        } else if let Some(offers) = &self.offers {
            let missing =
                |name: &String| line::needs(name).is_some_and(|keyword| !line::offers(offers, keyword));
            if line::parameters(line).iter().any(missing) {
                self.fault("parameter-not-offered", index);
            }
        }
    }

    fn data(&mut self, index: usize, verb: Verb) {
        let later_chunk = verb == Verb::Bdat && self.transaction.accepted > 0;
        if self.whole && self.transaction.recipients == 0 && !later_chunk {
            self.fault("data-before-rcpt", index);
        }
        self.content = 0;
        if verb == Verb::Data {
            self.content_shown = false;
        }
        if verb == Verb::Bdat && self.offers.as_ref().is_some_and(|offers| !line::offers(offers, "CHUNKING"))
        {
            self.fault("unknown-command", index);
        }
    }

    fn auth(&mut self, index: usize, line: &[u8]) {
        let mut words = line.splitn(3, |byte| *byte == b' ').skip(1);
        let mechanism = crate::reading::source::shown(words.next().unwrap_or_default()).to_ascii_uppercase();
        if let Some(secret) = words.next() {
            self.keep_secret(secret);
        }
        if let Some(offers) = &self.offers {
            let offered = offers.iter().any(|offer| {
                let mut words = offer.split([' ', '=']);
                words.next() == Some("AUTH") && words.any(|word| word == mechanism)
            });
            if !offered {
                self.fault("auth-not-offered", index);
            }
        }
        if !self.tls && matches!(mechanism.as_str(), "PLAIN" | "LOGIN" | "XOAUTH2" | "OAUTHBEARER") {
            self.fault("auth-in-clear", index);
        }
    }

    // The server.

    fn server(&mut self, index: usize, turn: &Turn) {
        let line = turn.text.bytes();
        let Some((code, more, text)) = line::reply(line) else {
            if !crate::reading::source::trim(line, 0..line.len()).is_empty() {
                self.fault("server-bad-reply", index);
            }
            return;
        };
        let enhanced = line::leading_enhanced(text);
        if let Some(class) = enhanced {
            if code / 100 == 3 {
                self.fault("server-enhanced-in-3yz", index);
            } else if class != code / 100 && !self.is_hello() {
                self.fault("server-class-mismatch", index);
            }
        }
        let shown =
            crate::reading::source::shown(text.get(..512).unwrap_or(text)).trim().to_ascii_uppercase();
        match &mut self.partial {
            Some(partial) => {
                partial.lines.push(shown);
                if partial.code != code {
                    self.fault("server-code-changes", index);
                }
            }
            None => self.partial = Some(Partial { code, first: index, lines: vec![shown] }),
        }
        if !more && let Some(partial) = self.partial.take() {
            self.complete(&partial, index);
        }
    }

    fn is_hello(&self) -> bool {
        self.waiting.front().is_some_and(|waiting| waiting.verb == Verb::Hello)
    }

    fn complete(&mut self, reply: &Partial, last: usize) {
        let code = reply.code;
        self.greeted = true;
        let late = code == 421 || reply.lines.iter().any(|line| TIMEOUT.is_match(line.as_bytes()));
        if self.mode == Mode::Content && self.waiting.is_empty() && code >= 400 && late {
            // The server waited in vain.
            self.stall(reply.first);
            self.mode = Mode::Commands;
        } else if self.mode == Mode::Content
            && self.waiting.is_empty()
            && (!self.content_shown || code / 100 == 2)
        {
            // The tool hides the content, or only its end.
            self.mode = Mode::Commands;
            self.wait(Verb::End, last, None);
        }
        let Some(waiting) = self.waiting.pop_front() else {
            let name = reply.lines.first().and_then(|line| line.split_ascii_whitespace().next());
            if let Some(name) = name.filter(|name| code == 220 && name.contains('.')) {
                self.host = name.to_ascii_lowercase();
            }
            if code >= 400 {
                self.refuse(reply, last, None);
                self.server_closes = self.server_closes || code == 421 || code == 554 || code == 521;
            }
            return;
        };
        self.waiting_rcpt -= usize::from(waiting.verb == Verb::Rcpt);
        self.waiting_end -= usize::from(waiting.verb == Verb::End);
        let good = (200..300).contains(&code);
        self.server_closes = self.server_closes || code == 421;
        match waiting.verb {
            Verb::Hello if good => self.offer(&reply.lines),
            Verb::StartTls if code == 220 => {
                self.tls = true;
                self.must_hello = true;
                self.offers = None;
                self.transaction = Transaction::default();
            }
            Verb::Auth if code == 334 => self.mode = Mode::Login,
            Verb::Mail if !good => self.transaction.open = false,
            Verb::Rcpt if good => self.transaction.accepted += 1,
            Verb::Rcpt => self.transaction.refused += 1,
            Verb::Data if code == 354 => self.content_begins(last),
            Verb::Data => self.mode = Mode::Refused,
            Verb::End => self.transaction = Transaction::default(),
            Verb::Bdat => {
                let line = self.turns.get(waiting.turn).map(|turn| turn.text.bytes()).unwrap_or_default();
                if line.to_ascii_uppercase().ends_with(b" LAST") || !good {
                    self.transaction = Transaction::default();
                }
            }
            Verb::Hello
            | Verb::StartTls
            | Verb::Auth
            | Verb::Mail
            | Verb::Rset
            | Verb::Quit
            | Verb::Other
            | Verb::Unknown => {}
        }
        if code >= 400 {
            self.refuse(reply, last, Some(&waiting));
        }
    }

    /// Behind 354 comes content, unless the client had sent it all before.
    fn content_begins(&mut self, reply: usize) {
        let next = self.turns.iter().skip(reply + 1).find(|turn| turn.side == Side::Client);
        let next = next.map(|turn| turn.text.bytes()).unwrap_or_default();
        if self.mode == Mode::Early(true) && Verb::of(next) != Verb::Unknown {
            self.mode = Mode::Commands;
            self.wait(Verb::End, reply, None);
        } else {
            self.content_shown = matches!(self.mode, Mode::Early(_));
            self.mode = Mode::Content;
        }
    }

    fn offer(&mut self, lines: &[String]) {
        // `~` stands in our dialogues for words that are not shown.
        let hidden = lines.iter().any(|line| line.starts_with('~'));
        let offers = lines.iter().skip(1).take(OFFERS).cloned().collect();
        self.offers = (!hidden && self.hello == Some(true)).then_some(offers);
    }

    fn refuse(&mut self, reply: &Partial, last: usize, waiting: Option<&Waiting>) {
        if self.found.refused.len() >= MOST {
            return;
        }
        if self.found.refused_at.is_none() {
            self.found.refused_at = self.turns.get(reply.first).map(|turn| turn.line);
        }
        let mut text = crate::reading::source::Text::default();
        for turn in self.turns.get(reply.first..=last).unwrap_or_default() {
            if turn.side == Side::Server && text.len() < 4096 {
                if let Some((_, at)) = turn.text.octet(0).filter(|_| text.len() > 0) {
                    text.push(b'\n', at);
                }
                text.append(&turn.text, 0..turn.text.len());
            }
        }
        let mut said = Said::line(&text, 0..text.len());
        let verb = waiting.map(|waiting| waiting.verb);
        said.stage = match verb {
            Some(Verb::Mail) => Stage::Sender,
            Some(Verb::Rcpt) => Stage::Recipient,
            Some(Verb::Data | Verb::End | Verb::Bdat) => Stage::Content,
            _ => Stage::Hello,
        };
        said.command = waiting.and_then(|waiting| self.turns.get(waiting.turn)).map(|turn| {
            let line = turn.text.bytes();
            if verb == Some(Verb::Auth) && !begins(line, "AUTH") {
                MASK.to_owned()
            } else {
                without_secret(line)
            }
        });
        let outcome = if reply.code < 500 { Outcome::Delayed } else { Outcome::Failed };
        let recipient = waiting.and_then(|waiting| waiting.recipient.clone());
        let remote = Some(self.host.clone());
        self.found.refused.push(Case {
            recipient,
            outcome: Some(outcome),
            remote,
            said: Some(said),
            ..Case::default()
        });
    }

    // The end.

    fn finish(&mut self) {
        let last_of = |side| self.turns.iter().rposition(|turn: &Turn| turn.side == side);
        let (last_client, last_server) = (last_of(Side::Client), last_of(Side::Server));
        let closed = self.closed || self.server_closes;
        if self.mode == Mode::Content && self.has_server {
            self.stall(self.turns.len());
        } else if self.has_server
            && let Some(waiting) = self.waiting.iter().find(|waiting| waiting.verb != Verb::Quit).cloned()
            && !self.server_closes
        {
            let key =
                if self.closed && !self.timed_out { "server-closed-without-reply" } else { "server-silent" };
            self.silent(key, (waiting.verb, waiting.turn));
        }
        if self.commands > 0
            && !self.quit
            && !closed
            && !self.timed_out
            && self.waiting.is_empty()
            && self.mode != Mode::Content
            && let Some(last) = last_client.max(last_server)
        {
            self.fault("missing-quit", last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that is no row of the table would never be told.
    #[test]
    fn every_fault_has_its_row() {
        let source = include_str!("faults.rs").to_owned() + include_str!("line.rs");
        for row in signs::faults() {
            assert!(source.contains(&format!("\"{}\"", row.key)), "nothing finds {}", row.key);
        }
        for part in source.split("self.fault(\"").skip(1) {
            let key = part.split('"').next().unwrap();
            assert!(signs::faults().iter().any(|row| row.key == key), "{key} has no row");
        }
    }
}
