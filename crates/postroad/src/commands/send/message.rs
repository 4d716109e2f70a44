//! The message to send: a file that is one, or text that becomes one.
//!
//! RFC 5322 §3.6 (the fields a message must have), RFC 2047 (a subject beyond ASCII), RFC 2045 §6.
//! What begins with header fields is sent as it is, with Date, Message-ID and From added where they
//! are missing. The body is never held in memory: it is read twice, once to know what it needs and
//! once to send it; standard input beyond 1 MiB waits in a temporary file for the second time.

use super::SendArgs;
use super::exit::{Exit, Fault};
use postroad_proto::addr::{ForwardPath, ReversePath};
use postroad_proto::base64;
use postroad_proto::client::{ContentFacts, Encoder, Encoding, Survey};
use postroad_proto::envelope::Body;
use postroad_proto::time::UnixTime;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

/// Octets of standard input kept in memory.
const IN_MEMORY: usize = 1024 * 1024;
/// The header is looked for in the first octets only.
const MAX_HEADER: u64 = 256 * 1024;
/// Octets read at once.
pub(super) const PIECE: usize = 64 * 1024;

trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// A message, ready to be read from its beginning.
pub(super) struct Message {
    head: Vec<u8>,
    source: Box<dyn Source>,
    /// Where in the source goes on what `head` begins.
    rest: u64,
    facts: ContentFacts,
}

/// What a message says about itself, where the file does not.
struct Author<'a> {
    from: String,
    to: String,
    subject: Option<&'a str>,
    date: UnixTime,
    domain: String,
}

impl Message {
    /// Opens what the arguments name, and looks through it.
    pub(super) fn open(
        args: &SendArgs,
        sender: &ReversePath,
        recipients: &[ForwardPath],
        date: UnixTime,
    ) -> Result<Self, Fault> {
        if let Some(subject) = &args.subject
            && subject.chars().any(char::is_control)
        {
            return Err(Fault::new(
                Exit::Usage,
                "--subject must be one line without control characters".into(),
            ));
        }
        let (domain, from) = match sender {
            ReversePath::Mailbox(mailbox) => (mailbox.domain().to_string(), mailbox.to_string()),
            ReversePath::Null => ("localhost".to_owned(), "MAILER-DAEMON@localhost".to_owned()),
        };
        let to: Vec<String> = recipients.iter().map(ToString::to_string).collect();
        let to = to.join(",\r\n ");
        let author = Author { from, to, subject: args.subject.as_deref(), date, domain };
        let name =
            args.file.as_deref().map_or_else(|| "--body".to_owned(), |file| file.display().to_string());
        let unreadable = |error: io::Error| Fault::new(Exit::NoInput, format!("{name}: {error}"));
        let mut source = open_source(args)?;
        let mut start = Vec::new();
        source.by_ref().take(MAX_HEADER).read_to_end(&mut start).map_err(unreadable)?;
        let header = if args.body.is_some() { None } else { Header::find(&start) };
        let (head, rest) = if let Some(header) = header {
            if author.subject.is_some() && header.has("subject") {
                let text = "--subject: the message has a Subject already".to_owned();
                return Err(Fault::new(Exit::Usage, text));
            }
            let mut head = author.missing(&header).into_bytes();
            // Line ends of the header are made right here, for they must be even in binary content.
            let mut encoder = Encoder::new(Encoding::Chunked);
            encoder.push(header.block, &mut head);
            (head, header.block.len() as u64)
        } else {
            let encoding = transfer_encoding(&mut *source).map_err(unreadable)?;
            (author.whole(encoding).into_bytes(), 0)
        };
        let mut message = Self { head, source, rest, facts: Survey::default().finish() };
        message.facts = message.survey().map_err(unreadable)?;
        Ok(message)
    }

    pub(super) fn facts(&self) -> ContentFacts {
        self.facts
    }

    /// The message from its beginning.
    pub(super) fn reader(&mut self) -> io::Result<impl Read + '_> {
        self.source.seek(SeekFrom::Start(self.rest))?;
        Ok(self.head.as_slice().chain(&mut self.source))
    }

    fn survey(&mut self) -> io::Result<ContentFacts> {
        let mut survey = Survey::default();
        let mut reader = self.reader()?;
        each_piece(&mut reader, |piece| survey.push(piece))?;
        Ok(survey.finish())
    }
}

fn open_source(args: &SendArgs) -> Result<Box<dyn Source>, Fault> {
    let Some(file) = &args.file else {
        return match (&args.body, &args.subject) {
            (Some(body), _) => Ok(Box::new(Cursor::new(body.clone().into_bytes()))),
            (None, Some(_)) => Ok(Box::new(Cursor::new(Vec::new()))),
            (None, None) => {
                let text = "nothing to send: give a FILE, - for standard input, or --subject and --body";
                Err(Fault::new(Exit::Usage, text.to_owned()))
            }
        };
    };
    let unreadable = |error: io::Error| Fault::new(Exit::NoInput, format!("{}: {error}", file.display()));
    if file == Path::new("-") {
        return keep(&mut io::stdin().lock()).map_err(unreadable);
    }
    let mut opened = File::open(file).map_err(unreadable)?;
    if opened.metadata().map_err(unreadable)?.is_file() {
        Ok(Box::new(opened))
    } else {
        keep(&mut opened).map_err(unreadable)
    }
}

/// Keeps what can be read only once.
fn keep(stream: &mut dyn Read) -> io::Result<Box<dyn Source>> {
    let mut kept = tempfile::spooled_tempfile(IN_MEMORY);
    io::copy(stream, &mut kept)?;
    kept.seek(SeekFrom::Start(0))?;
    Ok(Box::new(kept))
}

fn each_piece(reader: &mut dyn Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What plain text needs as its Content-Transfer-Encoding (RFC 2045 §6.2).
fn transfer_encoding(source: &mut dyn Source) -> io::Result<&'static str> {
    source.seek(SeekFrom::Start(0))?;
    let mut survey = Survey::default();
    each_piece(&mut &mut *source, |piece| survey.push(piece))?;
    Ok(match survey.finish().body {
        Body::SevenBit => "7bit",
        Body::EightBitMime => "8bit",
        Body::BinaryMime => "binary",
    })
}

/// The header at the beginning of a file.
struct Header<'a> {
    /// Through the empty line; through the last whole line where there is none.
    block: &'a [u8],
    names: Vec<String>,
}

/// A file whose first lines look like fields is a message only if one of these is among them:
/// `Note: call me` may begin a plain text too.
const TELLING: [&str; 12] = [
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "received",
    "return-path",
    "mime-version",
    "content-type",
    "delivered-to",
    "dkim-signature",
    "reply-to",
];

impl<'a> Header<'a> {
    fn find(start: &'a [u8]) -> Option<Self> {
        let mut names = Vec::new();
        let mut length = 0;
        for line in start.split_inclusive(|&b| b == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.is_empty() {
                length += line.len();
                break;
            }
            let folded = text.first().is_some_and(|&b| b == b' ' || b == b'\t');
            match field_name(text) {
                Some(name) => names.push(name),
                None if folded && !names.is_empty() => {}
                // Not a field: what comes from here on is sent as it stands.
                None => break,
            }
            if line.ends_with(b"\n") {
                length += line.len();
            }
        }
        let telling = names.iter().any(|name| TELLING.contains(&name.as_str()));
        telling.then(|| Self { block: start.get(..length).unwrap_or(start), names })
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

/// `ftext` before the colon (RFC 5322 §3.6.8), in lower case.
fn field_name(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|&b| b == b':')?;
    let name = line.get(..colon)?;
    let fits = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    if fits { Some(String::from_utf8_lossy(name).to_ascii_lowercase()) } else { None }
}

impl Author<'_> {
    /// The fields that a message lacks.
    fn missing(&self, header: &Header<'_>) -> String {
        let mut fields = String::new();
        if !header.has("date") {
            push_field(&mut fields, "Date", &self.date.rfc5322().to_string());
        }
        if !header.has("message-id") {
            push_field(&mut fields, "Message-ID", &self.message_id());
        }
        if !header.has("from") {
            push_field(&mut fields, "From", &self.from);
        }
        if let Some(subject) = self.subject {
            push_field(&mut fields, "Subject", &encoded_words(subject));
        }
        fields
    }

    /// A whole header for plain text.
    fn whole(&self, transfer_encoding: &str) -> String {
        let mut fields = String::new();
        push_field(&mut fields, "From", &self.from);
        push_field(&mut fields, "To", &self.to);
        if let Some(subject) = self.subject {
            push_field(&mut fields, "Subject", &encoded_words(subject));
        }
        push_field(&mut fields, "Date", &self.date.rfc5322().to_string());
        push_field(&mut fields, "Message-ID", &self.message_id());
        push_field(&mut fields, "MIME-Version", "1.0");
        push_field(&mut fields, "Content-Type", "text/plain; charset=utf-8");
        push_field(&mut fields, "Content-Transfer-Encoding", transfer_encoding);
        fields.push_str("\r\n");
        fields
    }

    /// Unique by the time and the process; nobody else makes ids in the sender's domain with this program
    /// and the same two numbers.
    fn message_id(&self) -> String {
        format!("<{}.{}.postroad@{}>", self.date.0, std::process::id(), self.domain)
    }
}

fn push_field(fields: &mut String, name: &str, value: &str) {
    fields.push_str(name);
    fields.push_str(": ");
    fields.push_str(value);
    fields.push_str("\r\n");
}

/// Octets in one encoded word: with its marks it stays below 75 characters (RFC 2047 §2).
const WORD: usize = 45;

/// Text for an unstructured field: itself where it is short ASCII, else encoded words (RFC 2047).
fn encoded_words(text: &str) -> String {
    if text.is_ascii() && text.len() < 900 && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > WORD) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let words: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", base64::encode(word.as_bytes()))).collect();
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_from_text() {
        let block = |text: &'static str| Header::find(text.as_bytes()).map(|header| header.block.len());
        assert_eq!(block("From: a\nTo: b\n c\n\nbody: x\n"), Some(18));
        assert_eq!(block("From: a\r\n\r\nbody"), Some(11));
        assert_eq!(block("From: a\n"), Some(8));
        assert_eq!(block("From: a\nTo: b"), Some(8), "the last line may go on");
        assert_eq!(block("Note: call me\n\nbye\n"), None);
        assert_eq!(block("Hello Bob,\nFrom: me\n"), None);
        assert_eq!(block(" Subject: x\n"), None);
        assert_eq!(block(""), None);
    }

    #[test]
    fn subjects_are_encoded_where_they_must_be() {
        assert_eq!(encoded_words("hi there"), "hi there");
        assert_eq!(encoded_words("Grüße"), "=?utf-8?B?R3LDvMOfZQ==?=");
        let long = encoded_words(&"é".repeat(100));
        for line in long.split("\r\n ") {
            assert!(line.len() <= 75 && line.starts_with("=?utf-8?B?") && line.ends_with("?="), "{line}");
        }
    }
}
