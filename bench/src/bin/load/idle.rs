//! Sessions that have said EHLO and then nothing: what one costs is the server's memory.
//!
//! They are opened one after the other with blocking sockets. In TLS the client's side of the
//! encryption is dropped once EHLO is answered: the server cannot know, and this program stays small.

use crate::{Target, source};
use clap::{Args, ValueEnum};
use postroad_bench::{complete_reply, json_text, loopback};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Options of `idle`.
#[derive(Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    target: Target,
    /// Encryption.
    #[arg(long, value_enum, default_value_t = Tls::None)]
    tls: Tls,
    /// Seconds to wait for any reply.
    #[arg(long, default_value_t = 20)]
    timeout: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tls {
    None,
    /// After STARTTLS (RFC 3207).
    Starttls,
    /// From the first octet.
    Implicit,
}

/// Opens, says so in one line of JSON, holds until standard input ends, and says how many still stood.
pub(crate) fn run(options: &Idle) -> io::Result<()> {
    let tls = Arc::new(any_certificate());
    let begun = Instant::now();
    let mut held = Vec::new();
    let mut errors = BTreeMap::<String, u64>::new();
    for nth in 0..options.target.sessions as u64 {
        match open(options, &tls, nth) {
            Ok(stream) => held.push(stream),
            Err(error) => *errors.entry(error.to_string()).or_default() += 1,
        }
    }
    let errors: Vec<_> = errors.iter().map(|(text, count)| format!("{}:{count}", json_text(text))).collect();
    println!(
        "{{\"held\":{},\"seconds\":{:.3},\"errors\":{{{}}}}}",
        held.len(),
        begun.elapsed().as_secs_f64(),
        errors.join(",")
    );
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let mut standing = 0;
    for stream in &held {
        stream.set_nonblocking(true)?;
        match stream.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => standing += 1,
            // A TLS server may have left session tickets unread: they are no sign of an end.
            Ok(count) if count > 0 && options.tls != Tls::None => standing += 1,
            Ok(_) | Err(_) => {}
        }
    }
    println!("{{\"still_held\":{standing}}}");
    Ok(())
}

fn open(options: &Idle, tls: &Arc<ClientConfig>, nth: u64) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    if let Some(source) = source(options.target.sources, nth) {
        socket.bind(&source.into())?;
    }
    socket.connect(&loopback(options.target.addr)?.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(options.timeout)))?;
    stream.set_nodelay(true)?;
    match options.tls {
        Tls::None => {
            expect(&mut stream, 220)?;
            say(&mut stream, "EHLO load.sender.example", 250)?;
        }
        Tls::Starttls | Tls::Implicit => {
            if options.tls == Tls::Starttls {
                expect(&mut stream, 220)?;
                say(&mut stream, "EHLO load.sender.example", 250)?;
                say(&mut stream, "STARTTLS", 220)?;
            }
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let mut client = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
            let mut encrypted = Stream::new(&mut client, &mut stream);
            if options.tls == Tls::Implicit {
                expect(&mut encrypted, 220)?;
            }
            say(&mut encrypted, "EHLO load.sender.example", 250)?;
        }
    }
    Ok(stream)
}

fn say(stream: &mut (impl Read + Write), command: &str, code: u16) -> io::Result<()> {
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    stream.flush()?;
    expect(stream, code)
}

fn expect(stream: &mut impl Read, code: u16) -> io::Result<()> {
    let mut text = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some((_, found)) = complete_reply(&text) {
            if found == code {
                return Ok(());
            }
            return Err(io::Error::other(String::from_utf8_lossy(&text).trim_end().to_owned()));
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 || text.len() > 64 << 10 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

fn any_certificate() -> ClientConfig {
    ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth()
}

/// Takes every certificate: the server measured is on this machine and its certificate is made up.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
