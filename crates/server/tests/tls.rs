//! STARTTLS (RFC 3207), TLS from the first octet (RFC 8314 §3), and certificates that change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use support::{Client, DOMAIN, Running, plain, toml};

type Secured = Client<StreamOwned<ClientConnection, TcpStream>>;

/// Takes any certificate, as mail servers do among each other.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client_config(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    Arc::new(config)
}

fn try_secure(
    mut stream: TcpStream,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<Secured> {
    let name = ServerName::try_from("mx.example.org").unwrap();
    let mut connection = ClientConnection::new(client_config(versions), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(Client::over(StreamOwned::new(connection, stream)))
}

fn secure(stream: TcpStream) -> Secured {
    try_secure(stream, rustls::ALL_VERSIONS).unwrap()
}

fn starttls(running: &Running) -> Secured {
    let mut client = running.client();
    let ehlo = client.say("EHLO client.example", "250-mx.example.org");
    assert!(ehlo.contains("STARTTLS"), "{ehlo}");
    client.say("STARTTLS", "220 2.0.0");
    secure(client.stream)
}

fn certificate_of(client: &Secured) -> Vec<u8> {
    client.stream.conn.peer_certificates().unwrap()[0].to_vec()
}

/// Writes a certificate and its key; gives the certificate.
fn write_pair(certificate: &Path, key: &Path) -> Vec<u8> {
    let pair = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    fs::write(certificate, pair.cert.pem()).unwrap();
    fs::write(key, pair.signing_key.serialize_pem()).unwrap();
    pair.cert.der().to_vec()
}

#[test]
fn starttls_begins_anew_and_delivers() {
    let running = Running::start(&plain("[tls]\nself_signed = true\n"));
    let mut client = starttls(&running);
    // Nothing from before is kept: not even the EHLO (RFC 3207 §4.2).
    client.say("MAIL FROM:<alice@client.example>", "503 5.5.1");
    let ehlo = client.say("EHLO secret.example", "250-mx.example.org");
    assert!(!ehlo.contains("STARTTLS"), "{ehlo}");
    client.say("STARTTLS", "503");
    client.deliver(&["bob@example.org"], "inside");
    client.say("QUIT", "221");
    client.closed();
    let mail = &running.mail("bob")[0];
    assert!(mail.contains(" with ESMTPS"), "{mail}");
    assert!(mail.contains("TLSv1.3") && mail.contains("TLS_AES_"), "{mail}");
    assert!(running.metric("postroad_tls_handshakes_total") == 1);
}

#[test]
fn tls_1_2_is_named_and_can_be_switched_off() {
    let running = Running::start(&plain("[tls]\nself_signed = true\n"));
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.say("STARTTLS", "220");
    let mut client = try_secure(client.stream, &[&rustls::version::TLS12]).unwrap();
    client.deliver(&["bob@example.org"], "inside");
    let mail = &running.mail("bob")[0];
    assert!(mail.contains("TLSv1.2") && mail.contains("TLS_ECDHE_"), "{mail}");

    running.reload(&plain("[tls]\nself_signed = true\nmin_version = \"1.3\"\n")).unwrap();
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.say("STARTTLS", "220");
    assert!(try_secure(client.stream, &[&rustls::version::TLS12]).is_err());
    starttls(&running).say("NOOP", "250");
}

#[test]
fn tls_from_the_first_octet() {
    let listener = "address = \"127.0.0.1:0\"\ntls = \"implicit\"\npregreet = \"refuse\"";
    let running = Running::start(&toml(&[listener], &format!("{DOMAIN}[tls]\nself_signed = true\n")));
    let mut client = secure(support::connect(running.address()));
    client.expect("220 mx.example.org ESMTP");
    let ehlo = client.say("EHLO client.example", "250-mx.example.org");
    assert!(!ehlo.contains("STARTTLS"), "{ehlo}");
    client.deliver(&["bob@example.org"], &"a line that makes it long\r\n".repeat(20_000));
    client.say("QUIT", "221");
    client.closed();
    let mail = &running.mail("bob")[0];
    assert!(mail.contains("with ESMTPS") && mail.len() > 500_000, "{}", mail.len());

    // Whoever speaks in clear here gets no session.
    let mut lost = Client::connect(running.address());
    lost.send("EHLO client.example\r\n");
    let mut octets = Vec::new();
    drop(std::io::Read::read_to_end(&mut lost.stream, &mut octets));
    assert!(!octets.starts_with(b"220") && !octets.starts_with(b"250"), "{octets:?}");
    support::eventually("the failed handshake is counted", || {
        running.metric("postroad_tls_failures_total") == 1
    });
}

#[test]
fn what_is_injected_behind_starttls_is_dropped() {
    let running = Running::start(&plain("[tls]\nself_signed = true\n"));
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.send(
        "STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<mallory@evil.example>\r\nRCPT TO:<bob@example.org>\r\n",
    );
    client.expect("220 2.0.0");
    let mut client = secure(client.stream);
    // Neither hello nor transaction was taken, and no reply to them comes.
    client.say("RCPT TO:<bob@example.org>", "503 5.5.1");
    client.say("EHLO client.example", "250");
    client.say("RCPT TO:<bob@example.org>", "503 5.5.1");
    client.deliver(&["bob@example.org"], "honest");
    let mail = running.mail("bob");
    assert!(mail.len() == 1 && mail[0].contains("Return-Path: <alice@client.example>"), "{mail:?}");
}

#[test]
fn what_is_injected_later_breaks_the_handshake() {
    let running = Running::start(&plain("[tls]\nself_signed = true\n"));
    let mut client = running.client();
    client.say("EHLO client.example", "250");
    client.say("STARTTLS", "220");
    client.send("MAIL FROM:<mallory@evil.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nx\r\n.\r\n");
    assert!(try_secure(client.stream, rustls::ALL_VERSIONS).is_err());
    support::eventually("the failed handshake is counted", || {
        running.metric("postroad_tls_failures_total") == 1
    });
    assert!(running.metric("postroad_messages_accepted_total") == 0);
    assert!(running.mail("bob").is_empty());
}

#[test]
fn a_peer_that_goes_away_or_dawdles_at_the_handshake_is_let_go() {
    let text = plain("[tls]\nself_signed = true\n[limits]\ntls_handshake_timeout = \"1s\"\n");
    let running = Running::start(&text);
    let mut gone = running.client();
    gone.say("EHLO client.example", "250");
    gone.say("STARTTLS", "220");
    drop(gone);
    let mut slow = running.client();
    slow.say("EHLO client.example", "250");
    slow.say("STARTTLS", "220");
    slow.stream.write_all(b"\x16\x03").unwrap();
    slow.closed();
    support::eventually("both are counted", || running.metric("postroad_tls_failures_total") == 2);
    support::eventually("no session is left", || running.metric("postroad_sessions") == 0);
}

#[test]
fn changed_certificates_are_taken_and_bad_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let first = write_pair(&certificate, &key);
    let text = plain("[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    let running = Running::start_in(dir, &text, |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let mut old = starttls(&running);
    assert_eq!(certificate_of(&old), first);

    let second = write_pair(&certificate, &key);
    running.reload(&text).unwrap();
    assert_eq!(certificate_of(&starttls(&running)), second);

    // The certificate of one pair with the key of another.
    let good_key = fs::read(&key).unwrap();
    write_pair(&certificate, &key);
    fs::write(&key, good_key).unwrap();
    let why = running.reload(&text).unwrap_err();
    assert!(
        why.contains("cert.pem") && why.contains("key.pem") && why.contains("do not go together"),
        "{why}"
    );
    assert_eq!(certificate_of(&starttls(&running)), second);

    fs::write(&certificate, "nothing in PEM form").unwrap();
    let why = running.reload(&text).unwrap_err();
    assert!(why.contains("cert.pem: there is no certificate"), "{why}");
    fs::remove_file(&certificate).unwrap();
    let why = running.reload(&text).unwrap_err();
    assert!(why.contains("cert.pem: "), "{why}");
    assert_eq!(certificate_of(&starttls(&running)), second);
    // A session under way is none the wiser.
    old.say("NOOP", "250");
}
