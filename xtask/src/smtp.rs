//! A plain SMTP client that says exactly what it is told, so that it can also misbehave.

use crate::trouble;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for any reply.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets of a reply beyond which the server is at fault.
const LONGEST_REPLY: u64 = 64 << 10;

/// A session from the client's side.
#[derive(Debug)]
pub struct Talk {
    reader: BufReader<TcpStream>,
}

impl Talk {
    /// Connects and reads the greeting.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut talk = Self { reader: BufReader::new(stream) };
        talk.expect(220)?;
        Ok(talk)
    }

    /// Connects and says EHLO.
    pub fn hello(addr: SocketAddr) -> io::Result<Self> {
        let mut talk = Self::open(addr)?;
        talk.say("EHLO battery.example", 250)?;
        Ok(talk)
    }

    /// The connection, for writing from another thread than the one that reads.
    pub fn stream(&self) -> io::Result<TcpStream> {
        self.reader.get_ref().try_clone()
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(octets)
    }

    /// Sends a command and waits for this code.
    pub fn say(&mut self, command: &str, code: u16) -> io::Result<()> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.expect(code)
    }

    /// Waits for a reply with this code.
    pub fn expect(&mut self, code: u16) -> io::Result<()> {
        let (found, text) = self.reply()?;
        if found == code { Ok(()) } else { trouble(format!("{code} was expected: {text}")) }
    }

    /// Reads a whole reply: its code and its text, codes included.
    pub fn reply(&mut self) -> io::Result<(u16, String)> {
        let mut text = String::new();
        loop {
            let begins = text.len();
            let mut limited = (&mut self.reader).take(LONGEST_REPLY);
            if limited.read_line(&mut text)? == 0 || text.len() as u64 > LONGEST_REPLY {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = text.get(begins..).unwrap_or_default();
            if line.as_bytes().get(3) != Some(&b'-') {
                let code = line.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
                return Ok((code, text));
            }
        }
    }

    /// Takes a whole message to its 250.
    pub fn deliver(&mut self, recipients: &[String], content: &[u8]) -> io::Result<()> {
        self.envelope(recipients, "DATA\r\n")?;
        self.expect(354)?;
        self.send(&stuffed(content))?;
        self.expect(250)
    }

    /// The same in one chunk (RFC 3030).
    pub fn deliver_chunk(&mut self, recipients: &[String], content: &[u8]) -> io::Result<()> {
        self.envelope(recipients, &format!("BDAT {} LAST\r\n", content.len()))?;
        self.send(content)?;
        self.expect(250)
    }

    fn envelope(&mut self, recipients: &[String], last: &str) -> io::Result<()> {
        let mut group = String::from("MAIL FROM:<battery@sender.example>\r\n");
        for recipient in recipients {
            group.push_str("RCPT TO:<");
            group.push_str(recipient);
            group.push_str(">\r\n");
        }
        group.push_str(last);
        self.send(group.as_bytes())?;
        for _ in 0..=recipients.len() {
            self.expect(250)?;
        }
        Ok(())
    }
}

/// Content as DATA wants it: dots stuffed (RFC 5321 §4.5.2), ended by a lone one. Lines end by CRLF.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}
