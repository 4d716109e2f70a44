//! TLS of the client: whom to trust, the handshake, and what it came to.
//!
//! RFC 3207 §4, RFC 8314 §3, RFC 7525's successor RFC 9325 (TLS 1.2 and later only). A certificate that
//! stands in the `--ca` file itself is trusted as it is, since that is what people do with a
//! self-signed one. Where TLS is only taken because it was offered, a certificate that cannot be
//! verified is noted instead: plain text would be no better (RFC 7435 §3).

use super::exit::{Exit, Fault};
use super::link::{Link, is_wait};
use super::{SendArgs, Tls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// What to do with a certificate that cannot be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    Refuse,
    Note,
}

/// Whom the client trusts.
pub(super) struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    verifier: Arc<Verifier>,
}

#[derive(Debug)]
struct Verifier {
    roots: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    doubt: Doubt,
    provider: Arc<CryptoProvider>,
    noted: Mutex<Option<String>>,
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub(super) struct Secured {
    pub(super) version: String,
    pub(super) cipher: String,
    /// Why the certificate is not verified, if it is not.
    pub(super) doubt: Option<String>,
}

impl Secured {
    pub(super) fn json(&self) -> Value {
        json!({
            "version": self.version,
            "cipher": self.cipher,
            "verified": self.doubt.is_none(),
            "doubt": self.doubt,
        })
    }
}

impl Trust {
    pub(super) fn new(args: &SendArgs, host: &str) -> Result<Self, Fault> {
        let denied = |text: String| Fault::new(Exit::Denied, text);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Fault::new(Exit::Usage, format!("--server {host:?}: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let mut pinned = Vec::new();
        if let Some(file) = &args.ca {
            let unreadable = |error: &dyn std::fmt::Display| {
                Fault::new(Exit::NoInput, format!("--ca {}: {error}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate.clone()).map_err(|error| unreadable(&error))?;
                pinned.push(certificate);
            }
            if pinned.is_empty() {
                return Err(unreadable(&"no certificate in it"));
            }
        } else if args.tls != Tls::Off && !args.insecure {
            // What cannot be loaded is not trusted; a handshake that needed it says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let roots = if roots.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(built.build().map_err(|error| denied(error.to_string()))?)
        };
        let relaxed = args.tls == Tls::Starttls && args.ca.is_none() && args.auth_user.is_none();
        let doubt = if args.insecure || relaxed { Doubt::Note } else { Doubt::Refuse };
        let verifier = Arc::new(Verifier {
            roots,
            pinned,
            doubt,
            provider: Arc::clone(&provider),
            noted: Mutex::new(None),
        });
        let shared: Arc<dyn ServerCertVerifier> = Arc::<Verifier>::clone(&verifier);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| denied(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(shared)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), name, verifier })
    }

    /// Does the handshake; `more_time` is asked between short waits and ends it by saying no.
    pub(super) fn secure(
        &self,
        link: Link,
        mut more_time: impl FnMut() -> bool,
    ) -> Result<(Link, Secured), String> {
        let Link::Plain(mut socket) = link else { return Err("TLS is on already".to_owned()) };
        let mut session = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| error.to_string())?;
        // Ends: with the handshake, an error, or when there is no more time.
        while session.is_handshaking() || session.wants_write() {
            if !more_time() {
                return Err("no answer in time".to_owned());
            }
            let moved = if session.wants_write() {
                session.write_tls(&mut socket)
            } else {
                session.read_tls(&mut socket)
            };
            match moved {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) if is_wait(&error) => continue,
                Err(error) => return Err(error.to_string()),
            }
            if let Err(error) = session.process_new_packets() {
                // The alert tells the server why; whether it arrives changes nothing here.
                drop(session.write_tls(&mut socket));
                return Err(advice(&error));
            }
        }
        let secured = Secured {
            version: session.protocol_version().and_then(|v| v.as_str()).unwrap_or("unknown").to_owned(),
            cipher: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown")
                .to_owned(),
            doubt: self.verifier.noted.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        Ok((Link::Tls(Box::new(StreamOwned::new(session, socket))), secured))
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Issuer,
    Expired,
    NotYet,
    Name,
}

impl Flaw {
    fn of(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(fault) = error else { return None };
        if matches!(fault, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
            Some(Self::Expired)
        } else if matches!(fault, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
        {
            Some(Self::NotYet)
        } else if matches!(
            fault,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ) {
            Some(Self::Name)
        } else if matches!(fault, CertificateError::UnknownIssuer) || is_its_own_issuer(fault) {
            Some(Self::Issuer)
        } else {
            None
        }
    }
}

/// A self-signed certificate that says it is a CA's, for which the verifier has no error of its own, or one
/// whose name a trusted root has as well, with another kind of key.
fn is_its_own_issuer(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. })
        || matches!(fault, CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity")
}

/// The error in plain words.
fn plain(error: &Error) -> String {
    match Flaw::of(error) {
        Some(Flaw::Issuer) => "it is self-signed, or its issuer is not trusted here".to_owned(),
        Some(Flaw::Expired) => "it has expired".to_owned(),
        Some(Flaw::NotYet) => "it is not valid yet".to_owned(),
        Some(Flaw::Name) => "it is for another name".to_owned(),
        None => error.to_string(),
    }
}

/// The error in plain words, and what to do about it.
fn advice(error: &Error) -> String {
    let remedy = match Flaw::of(error) {
        Some(Flaw::Issuer) => "give its certificate or its issuer's with --ca FILE",
        Some(Flaw::Expired) => "the server needs a new one",
        Some(Flaw::NotYet) => "look at the clocks of both machines",
        Some(Flaw::Name) => "name the server with --server as its certificate does",
        None if matches!(error, Error::InvalidMessage(_)) => {
            return "what the server sent is not TLS; --tls implicit is for ports such as 465, --tls starttls \
                    for 25 and 587"
                .to_owned();
        }
        None => return error.to_string(),
    };
    let flaw = plain(error);
    format!(
        "the server's certificate is not trusted: {flaw}; {remedy}, or go on without verifying by --insecure"
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.contains(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = match &self.roots {
            Some(roots) => {
                roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        match (verified, self.doubt) {
            (Err(error), Doubt::Note) => {
                *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(plain(&error));
                Ok(ServerCertVerified::assertion())
            }
            (verified, _) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
