//! Plays a dialogue against a server behind a socket.
//!
//! For dialogues in which only bytes pass ([`Dialogue::is_only_bytes`]); what they script or set is
//! the caller's to arrange, and what they store the caller's to look at. Every wait is bounded: a
//! server that says nothing for [`PATIENCE`] is a [`Mismatch`].

use crate::dialogue::{Act, Dialogue};
use crate::play::{Cut, Mismatch, compare};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long a reply may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Longest line that is read from a server.
const MAX_LINE: u64 = 4096;

/// Plays the dialogue on this connection, to its end.
pub fn play_tcp(stream: &TcpStream, dialogue: &Dialogue, cut: Cut) -> Result<(), Mismatch> {
    let wrong = |line, what| Mismatch { file: dialogue.file.clone(), line, cut, what };
    let mut player = Player::new(stream, cut).map_err(|error| wrong(1, error.to_string()))?;
    let all: Vec<u8> = dialogue.writes().flatten().copied().collect();
    if cut == Cut::Whole {
        player.write(&all);
    }
    for step in &dialogue.steps {
        player.step(&step.act).map_err(|what| wrong(step.line, what))?;
    }
    let last = dialogue.steps.last().map_or(1, |step| step.line);
    player.end().map_err(|what| wrong(last, what))
}

struct Player<'a> {
    stream: &'a TcpStream,
    reader: BufReader<&'a TcpStream>,
    cut: Cut,
    writes: usize,
    closed: bool,
}

impl<'a> Player<'a> {
    fn new(stream: &'a TcpStream, cut: Cut) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // So that the pieces of a cut arrive as pieces.
        stream.set_nodelay(true)?;
        Ok(Self { stream, reader: BufReader::new(stream), cut, writes: 0, closed: false })
    }

    fn step(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Write(_) if self.cut == Cut::Whole => Ok(()),
            Act::Write(bytes) => {
                self.write(bytes);
                Ok(())
            }
            Act::Expect(expected) => compare(expected, &self.reply()?),
            Act::Closed => self.at_end(),
            Act::Wait(_) | Act::TlsDone | Act::Shutdown => {
                Err("over a socket only bytes pass: no clock, no handshake, no shutdown".into())
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        for piece in self.cut.pieces(self.writes, bytes) {
            // A server may close while the rest of a write is on its way; its replies tell whether it should.
            if self.stream.write_all(piece).is_err() {
                break;
            }
        }
        self.writes += 1;
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_LINE);
        bounded.read_until(b'\n', &mut line).map_err(|error| format!("reading a reply: {error}"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.is_empty() {
            return Err("the server has closed the connection".into());
        }
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| format!("a reply without CRLF: {line:?}"))
    }

    fn reply(&mut self) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let more = line.as_bytes().get(3) == Some(&b'-') && lines.len() < 100;
            lines.push(line);
            if !more {
                if let Some(last) = lines.last_mut() {
                    last.truncate(without_reference(last).len());
                }
                return Ok(lines);
            }
        }
    }

    /// The server must have closed, having said nothing more.
    fn at_end(&mut self) -> Result<(), String> {
        self.closed = true;
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Ok(0) => Ok(()),
            // A reset is a close too: the server need not read what the peer still sent.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            Ok(_) => Err(format!("the server said more: {:?}", self.line())),
            Err(error) => Err(format!("the server has not closed the connection: {error}")),
        }
    }

    /// The client goes away; the server may say no more than a goodbye (421).
    fn end(&mut self) -> Result<(), String> {
        if self.closed {
            return Ok(());
        }
        self.stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
        match self.line() {
            Ok(line) if !line.starts_with("421") => Err(format!("the server said more: {line}")),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// A refusal without the reference that a server with a ledger puts at its end: it is another each time.
pub fn without_reference(line: &str) -> &str {
    let refusal = line.starts_with('4') || line.starts_with('5');
    let cut = line.rsplit_once(" (ref ").filter(|(_, tail)| tail.len() == 10 && tail.ends_with(')'));
    match cut {
        Some((text, _)) if refusal => text,
        _ => line,
    }
}
