//! A dialogue: what a peer sends and what it must see, as plain text that anyone who knows SMTP can read.
//!
//! A fault in a file is a [`Fault`] that names file and line. The format, as `dialogues/README.md` tells it:
#![doc = include_str!("../../../dialogues/README.md")]

use crate::escape::unescape;
use crate::play::Cut;
use core::fmt;
use core::time::Duration;
use postroad_proto::reply::{Refusal, Reply, ReplyId};

/// Something wrong in a dialogue file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as it was named to [`Dialogue::parse`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

impl core::error::Error for Fault {}

/// One dialogue file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dialogue {
    /// The file's name.
    pub file: String,
    /// The first line without its `#`: the citation and the sentence that is proved.
    pub title: String,
    /// The steps in their order.
    pub steps: Vec<Step>,
    /// The messages that must have been stored at the end, in order.
    pub stored: Vec<Message>,
    /// The verdicts that are scripted.
    pub rules: Vec<Rule>,
    /// The options of the listener.
    pub options: Vec<Setting>,
    /// How far what the client sends may be cut and joined.
    pub pace: Pace,
}

/// How far what the client sends may be cut and joined without another outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the three words of the format")]
pub enum Pace {
    /// At will.
    #[default]
    Any,
    /// `? pace in-turn`: the client waits for each answer, and what it learns decides what it sends.
    InTurn,
    /// `? pace as-written`: it matters what arrives together.
    AsWritten,
}

/// A step, and where it stands in the file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// The line, from 1.
    pub line: usize,
    /// What happens.
    pub act: Act,
}

/// What happens in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a runner must know every kind of line")]
pub enum Act {
    /// The client sends these bytes in one write.
    Write(Vec<u8>),
    /// The server says this reply next.
    Expect(Expected),
    /// The clock moves on.
    Wait(Duration),
    /// The TLS handshake is done.
    TlsDone,
    /// The server is told to stop.
    Shutdown,
    /// The server has closed the connection.
    Closed,
}

/// A reply that must come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a runner must know every kind of line")]
pub enum Expected {
    /// These lines; `{id}` in them stands for one word.
    Exactly(Vec<String>),
    /// A reply that begins so (code, and enhanced code where one is given) and whose text contains that.
    Containing(String, String),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(lines) => f.write_str(&lines.join("\n   ")),
            Self::Containing(codes, text) => write!(f, "{codes} ~ {text}"),
        }
    }
}

/// A message that must have been stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The line, from 1.
    pub line: usize,
    /// The envelope as [`crate::host::Stored::summary`] writes it.
    pub envelope: String,
    /// The content, if the dialogue tells.
    pub content: Option<Vec<u8>>,
}

/// `? QUESTION -> ANSWER`: how a question of the session is answered; what no rule names is accepted.
/// Several rules for one question answer its askings in order, and the last holds from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// The question.
    pub asked: Asked,
    /// The answer.
    pub answer: Answer,
}

impl Rule {
    /// Reads `QUESTION -> ANSWER`; fails with a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (asked, answer) = text.split_once(" -> ").ok_or("a rule is QUESTION -> ANSWER")?;
        Ok(Self { asked: asked_of(asked)?, answer: answer_of(answer)? })
    }
}

/// The left side of a [`Rule`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a host must answer every kind of question")]
pub enum Asked {
    /// `sender ADDRESS`, empty for the null path.
    Sender(String),
    /// `recipient ADDRESS`.
    Recipient(String),
    /// `content`: may content begin.
    Content,
    /// `commit`: the message is to be stored.
    Commit,
}

/// The right side of a [`Rule`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a host must answer every kind of question")]
pub enum Answer {
    /// `accept`.
    Accept,
    /// `refuse Name` or `refuse Name: text`.
    Refuse(Refusal),
    /// `hangup Name` or `hangup Name: text`.
    Hangup(Refusal),
}

/// `? NAME = VALUE`, and `? tls …` and `? protocol …` as settings of those names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The line, from 1.
    pub line: usize,
    /// The name, as in `limits.recipients`.
    pub name: String,
    /// The value, as it was written.
    pub value: String,
}

impl Dialogue {
    /// Reads a dialogue; `file` is only its name, for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        let mut reader = Reader {
            line: 1,
            run: None,
            reply: Vec::new(),
            dialogue: Self {
                file: file.into(),
                title: String::new(),
                steps: Vec::new(),
                stored: Vec::new(),
                rules: Vec::new(),
                options: Vec::new(),
                pace: Pace::default(),
            },
        };
        match reader.read(text) {
            Ok(()) => Ok(reader.dialogue),
            Err(what) => Err(Fault { file: file.into(), line: reader.line, what }),
        }
    }

    /// A fault of this file at a line.
    pub fn fault(&self, line: usize, what: impl Into<String>) -> Fault {
        Fault { file: self.file.clone(), line, what: what.into() }
    }

    /// What the client sends, write by write.
    pub fn writes(&self) -> impl Iterator<Item = &[u8]> {
        self.steps.iter().filter_map(|step| match &step.act {
            Act::Write(bytes) => Some(bytes.as_slice()),
            Act::Expect(_) | Act::Wait(_) | Act::TlsDone | Act::Shutdown | Act::Closed => None,
        })
    }

    /// Whether only bytes pass: neither clock nor handshake nor shutdown stands between the writes, so that all
    /// of them may also go in one.
    pub fn is_only_bytes(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step.act, Act::Wait(_) | Act::TlsDone | Act::Shutdown))
    }

    /// Whether it has the same outcome when its writes are cut like this.
    pub fn allows(&self, cut: Cut) -> bool {
        match cut {
            Cut::AsWritten => true,
            Cut::Whole => self.pace == Pace::Any && self.is_only_bytes(),
            Cut::Once { .. } | Cut::EachOctet | Cut::Random(_) => self.pace != Pace::AsWritten,
        }
    }

    /// Whether any server with the default options can play it: nothing is scripted or set.
    pub fn is_plain(&self) -> bool {
        self.rules.is_empty() && self.options.is_empty() && self.is_only_bytes()
    }
}

struct Reader {
    line: usize,
    /// The client's write that is being read, and the line it began on.
    run: Option<(usize, Vec<u8>)>,
    /// The lines of a reply that goes on.
    reply: Vec<String>,
    dialogue: Dialogue,
}

impl Reader {
    fn read(&mut self, text: &str) -> Result<(), String> {
        for (index, line) in text.lines().enumerate() {
            self.line = index + 1;
            if index == 0 {
                self.dialogue.title = citation(line)?;
            } else if !line.is_empty() && !line.starts_with('#') {
                self.line(line)?;
            }
        }
        if text.is_empty() {
            return Err("the file is empty".into());
        }
        self.end_run();
        self.end_reply()
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (key, rest) = match line.split_once(' ') {
            Some((key, rest)) => (key, rest),
            None => (line, ""),
        };
        if !key.starts_with('S') {
            self.end_reply()?;
        }
        match key {
            "C:" => {
                let bytes = [rest.as_bytes(), b"\r\n"].concat();
                self.write(bytes);
            }
            "c:" => {
                let bytes = unescape(rest)?;
                self.write(bytes);
            }
            "?" => self.question(rest)?,
            "M:" => self.message(rest)?,
            "m:" => {
                let bytes = unescape(rest)?;
                let message = self.dialogue.stored.last_mut().ok_or("an m: line comes after its M: line")?;
                message.content.get_or_insert_default().extend(bytes);
            }
            "+" => {
                let span = duration(rest)?;
                self.step(Act::Wait(span));
            }
            "=" if rest == "tls" => self.step(Act::TlsDone),
            "=" if rest == "shutdown" => self.step(Act::Shutdown),
            "X" if rest.is_empty() => self.step(Act::Closed),
            "S:" => self.said(rest, 1)?,
            _ => {
                let times =
                    key.strip_prefix("S*").and_then(|k| k.strip_suffix(':')).and_then(|n| n.parse().ok());
                let times = times.filter(|n| (1..=10_000).contains(n));
                let known = "known are C: c: S: S*N: M: m: ? + = X #";
                self.said(rest, times.ok_or_else(|| format!("{key:?} begins no line; {known}"))?)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: Vec<u8>) {
        self.run.get_or_insert((self.line, Vec::new())).1.extend(bytes);
    }

    fn end_run(&mut self) {
        if let Some((line, bytes)) = self.run.take() {
            self.dialogue.steps.push(Step { line, act: Act::Write(bytes) });
        }
    }

    fn end_reply(&mut self) -> Result<(), String> {
        if self.reply.is_empty() {
            Ok(())
        } else {
            Err("the reply before this line goes on (-) but ends".into())
        }
    }

    fn step(&mut self, act: Act) {
        self.end_run();
        self.dialogue.steps.push(Step { line: self.line, act });
    }

    fn said(&mut self, text: &str, times: usize) -> Result<(), String> {
        let code = text.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
        let code = code.ok_or("a reply begins with its code of three digits")?;
        let last = match text.as_bytes().get(3) {
            Some(b' ') => true,
            Some(b'-') => false,
            _ => return Err("after the code stands a space, or - if the reply goes on".into()),
        };
        if self.reply.iter().any(|line| !line.starts_with(code)) {
            return Err("all lines of a reply have the same code".into());
        }
        if let Some((codes, part)) = text.split_once(" ~ ") {
            self.end_reply()?;
            for _ in 0..times {
                self.step(Act::Expect(Expected::Containing(codes.into(), part.into())));
            }
            return Ok(());
        }
        self.reply.push(text.into());
        if last {
            let lines = core::mem::take(&mut self.reply);
            for _ in 0..times {
                self.step(Act::Expect(Expected::Exactly(lines.clone())));
            }
        } else if times != 1 {
            return Err("only a reply of one line can be repeated".into());
        }
        Ok(())
    }

    fn message(&mut self, text: &str) -> Result<(), String> {
        let (number, envelope) = text.split_once(' ').ok_or("as in M: 1 from=<a@x> to=<b@y>")?;
        if number.parse() != Ok(self.dialogue.stored.len() + 1) {
            return Err(format!("this is message {}, not {number}", self.dialogue.stored.len() + 1));
        }
        if !envelope.starts_with("from=<") || !envelope.contains("> to=<") {
            return Err("as in M: 1 from=<a@x> to=<b@y>,<c@y>".into());
        }
        self.dialogue.stored.push(Message { line: self.line, envelope: envelope.into(), content: None });
        Ok(())
    }

    fn question(&mut self, text: &str) -> Result<(), String> {
        if !self.dialogue.steps.is_empty() || self.run.is_some() {
            return Err("the ? lines stand before all others".into());
        }
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let line = self.line;
        match word {
            "option" => {
                let (name, value) = rest.split_once(" = ").ok_or("as in ? option limits.recipients = 2")?;
                self.dialogue.options.push(Setting { line, name: name.into(), value: value.into() });
            }
            "tls" | "protocol" => {
                self.dialogue.options.push(Setting { line, name: word.into(), value: rest.into() });
            }
            "pace" => {
                self.dialogue.pace = match rest {
                    "in-turn" => Pace::InTurn,
                    "as-written" => Pace::AsWritten,
                    _ => return Err(format!("{rest:?}: a pace is in-turn or as-written")),
                };
            }
            "sender" | "recipient" | "content" | "commit" => {
                self.dialogue.rules.push(Rule::parse(text)?);
            }
            _ => {
                return Err(format!(
                    "{word:?}: known are option tls protocol pace sender recipient content commit"
                ));
            }
        }
        Ok(())
    }
}

/// Checks the first line and gives it without its `#`.
fn citation(line: &str) -> Result<String, String> {
    let wrong = "the first line cites what the file proves, as in # RFC 5321 §4.1.4: MAIL comes after EHLO.";
    let title = line.strip_prefix("# RFC ").ok_or(wrong)?;
    let (number, rest) = title.split_once(" §").ok_or(wrong)?;
    let (section, sentence) = rest.split_once(": ").ok_or(wrong)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let sound = digits(number) && section.split('.').all(digits) && !sentence.trim().is_empty();
    if sound { Ok(format!("RFC {title}")) } else { Err(wrong.into()) }
}

fn asked_of(text: &str) -> Result<Asked, String> {
    match text.split_once(' ') {
        Some(("sender", "<>")) => Ok(Asked::Sender(String::new())),
        Some(("sender", address)) => Ok(Asked::Sender(address.into())),
        Some(("recipient", address)) => Ok(Asked::Recipient(address.into())),
        None if text == "content" => Ok(Asked::Content),
        None if text == "commit" => Ok(Asked::Commit),
        _ => Err("a question is sender ADDRESS, recipient ADDRESS, content or commit".into()),
    }
}

fn answer_of(text: &str) -> Result<Answer, String> {
    let Some((word, rest)) = text.split_once(' ') else {
        return if text == "accept" {
            Ok(Answer::Accept)
        } else {
            Err("accept, refuse NAME or hangup NAME".into())
        };
    };
    let (name, said) = match rest.split_once(": ") {
        Some((name, said)) => (name, Some(said)),
        None => (rest, None),
    };
    let id = ReplyId::ALL.iter().copied().find(|id| id.name() == name);
    let id = id.ok_or_else(|| format!("there is no reply named {name}"))?;
    let reply = said.map_or(Reply::of(id), |said| Reply::saying(id, said.to_owned()));
    let refusal = Refusal::try_from(reply).map_err(|_reply| format!("{name} is no refusal"))?;
    match word {
        "refuse" => Ok(Answer::Refuse(refusal)),
        "hangup" => Ok(Answer::Hangup(refusal)),
        _ => Err(format!("{word:?}: an answer is accept, refuse NAME or hangup NAME")),
    }
}

/// Reads a span of time with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let number: u64 = number.parse().map_err(|_bad| format!("{text:?} is no span of time; as in 5m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err(format!("{unit:?} is no unit of time; known are ms s m h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Dialogue, Fault> {
        Dialogue::parse("x.smtp", &format!("# RFC 5321 §3.3: A test.\n{body}"))
    }

    #[test]
    fn runs_of_client_lines_are_one_write() {
        let dialogue = parse("C: RSET\n\n# why\nc: NO\\r\\n\nS: 250-a\nS: 250 b\nC: QUIT\nX\n").unwrap();
        assert_eq!(dialogue.writes().collect::<Vec<_>>(), [&b"RSET\r\nNO\r\n"[..], b"QUIT\r\n"]);
        assert_eq!(dialogue.steps.len(), 4);
        assert_eq!(
            dialogue.steps[1].act,
            Act::Expect(Expected::Exactly(vec!["250-a".into(), "250 b".into()]))
        );
        assert_eq!(dialogue.steps[3].line, 9);
        assert!(dialogue.is_plain());
    }

    #[test]
    fn scripts_are_read() {
        let dialogue = parse(
            "? recipient a@b -> refuse NoSuchMailbox\n? commit -> hangup LocalTrouble: Oh\n? option x.y = 2\n\
             ? tls offered\n+ 5m\nS*2: 250 ok\nM: 1 from=<> to=<a@b>\nm: x\\r\nm: \\n\n",
        )
        .unwrap();
        let refusal = Refusal::try_from(Reply::of(ReplyId::NoSuchMailbox)).unwrap();
        assert_eq!(dialogue.rules[0].asked, Asked::Recipient("a@b".into()));
        assert_eq!(dialogue.rules[0].answer, Answer::Refuse(refusal));
        assert_eq!(dialogue.options[1].value, "offered");
        assert_eq!(dialogue.steps[0].act, Act::Wait(Duration::from_mins(5)));
        assert_eq!(dialogue.steps.len(), 3);
        assert_eq!(dialogue.stored[0].content.as_deref(), Some(&b"x\r\n"[..]));
        assert!(!dialogue.is_plain() && !dialogue.is_only_bytes());
    }

    #[test]
    fn faults_name_file_and_line() {
        for bad in [
            "Z: x",
            "S: ok",
            "S: 250_ok",
            "S: 250-a\nC: x",
            "S: 250-a\nS: 251 b",
            "S*0: 250 ok",
            "+ 5",
            "+ m",
            "= ssl",
            "X now",
            "c: \\q",
            "m: x",
            "M: 2 from=<> to=<a@b>",
            "M: 1 to=<a@b>",
            "? recipient a@b",
            "? recipient a@b -> refuse Nobody",
            "? recipient a@b -> refuse Accepted",
            "? recipient a@b -> perhaps",
            "? option x",
            "? weather -> accept",
            "C: x\n? tls offered",
        ] {
            let fault = parse(bad).unwrap_err();
            assert_eq!(fault.line, 1 + bad.lines().count(), "{bad}");
            assert!(fault.to_string().starts_with("x.smtp:"), "{fault}");
        }
        for first in ["", "C: x", "# no citation", "# RFC 5321: x", "# RFC 5321 §a: x", "# RFC 5321 §3.: x"]
        {
            assert_eq!(Dialogue::parse("x.smtp", first).unwrap_err().line, 1, "{first}");
        }
    }
}
