//! Certificates: read, made, checked, and read again when they change (RFC 3207, RFC 8314).
//!
//! A certificate that does not go with its key, or cannot be read, is the operator's trouble: at the
//! start it stops the start, later the one in force stays and the log says why.

use crate::clock::Clock;
use crate::config::{Config, Identity, TlsVersion};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// Why there is no TLS.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds no certificate or key in PEM form.
    File(PathBuf, String),
    /// The certificate does not go with the key, or is none that can be used.
    Pair(PathBuf, PathBuf, String),
    /// The self-signed certificate could not be made.
    SelfSigned(String),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Pair(certificate, key, why) => {
                write!(f, "{} and {} do not go together: {why}", certificate.display(), key.display())
            }
            Self::SelfSigned(why) => write!(f, "no self-signed certificate could be made: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// The certificate in force, for all listeners.
pub(crate) struct Tls {
    files: Files,
    versions: &'static [&'static SupportedProtocolVersion],
    current: RwLock<(Arc<ServerConfig>, Stamp)>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Whether the certificate files that the configuration names can be used. Makes nothing: where the
/// certificate is to be made by the server, nothing can be said yet.
pub(crate) fn check(config: &Config) -> Result<(), TlsError> {
    let Identity::Files { certificate, key } = &config.tls.identity else { return Ok(()) };
    let files = Files { certificate: certificate.clone(), key: key.clone() };
    files.load(versions(config)).map(drop)
}

fn versions(config: &Config) -> &'static [&'static SupportedProtocolVersion] {
    match config.tls.min_version {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => TLS13_ALONE,
    }
}

/// When the two files were last written, to see that they changed.
type Stamp = [Option<SystemTime>; 2];

impl Tls {
    /// Loads what the configuration names; `None` where it names nothing.
    pub(crate) fn load(config: &Config, clock: &Clock) -> Result<Option<Self>, TlsError> {
        let files = match &config.tls.identity {
            Identity::None => return Ok(None),
            Identity::Files { certificate, key } => {
                Files { certificate: certificate.clone(), key: key.clone() }
            }
            Identity::SelfSigned => self_signed(config, clock)?,
        };
        let versions = versions(config);
        let stamp = files.stamp();
        let loaded = files.load(versions)?;
        Ok(Some(Self { files, versions, current: RwLock::new((loaded, stamp)) }))
    }

    /// What a handshake that begins now uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Reads the files again if they changed. `Ok(true)`: the new certificate is in force.
    pub(crate) fn refresh(&self) -> Result<bool, TlsError> {
        let stamp = self.files.stamp();
        if self.current.read().unwrap_or_else(PoisonError::into_inner).1 == stamp {
            return Ok(false);
        }
        let loaded = self.files.load(self.versions);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Remembered even if it failed, so that one bad pair is told once and not again and again.
        current.1 = stamp;
        current.0 = loaded?;
        Ok(true)
    }
}

impl Files {
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| fs::metadata(path).and_then(|m| m.modified()).ok())
    }

    fn load(&self, versions: &[&'static SupportedProtocolVersion]) -> Result<Arc<ServerConfig>, TlsError> {
        let unreadable =
            |path: &Path, error: &dyn std::fmt::Display| TlsError::File(path.into(), error.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(&self.certificate, &error))?;
        if chain.is_empty() {
            return Err(unreadable(&self.certificate, &"there is no certificate in PEM form in it"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable(&self.key, &error))?;
        let pair = |error: rustls::Error| {
            TlsError::Pair(self.certificate.clone(), self.key.clone(), error.to_string())
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(pair)?;
        // Mail sessions are rarely resumed, and a server that keeps no session state stays small.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// Checks that the files can be used, without keeping them: for `config check`.
pub fn check_files(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    Files { certificate: certificate.into(), key: key.into() }.load(rustls::ALL_VERSIONS).map(|_usable| ())
}

/// The certificate in the data directory; made if it is not there.
fn self_signed(config: &Config, clock: &Clock) -> Result<Files, TlsError> {
    let dir = config.data.join("tls");
    let files = Files { certificate: dir.join("self-signed.pem"), key: dir.join("self-signed.key") };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let fault = |error: &dyn std::fmt::Display| TlsError::SelfSigned(error.to_string());
    let mut names = vec![config.hostname.to_string(), "localhost".to_owned()];
    names.dedup();
    let mut params = rcgen::CertificateParams::new(names).map_err(|error| fault(&error))?;
    params.distinguished_name.push(rcgen::DnType::CommonName, config.hostname.to_string());
    for address in [[127, 0, 0, 1].into(), std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST)] {
        params.subject_alt_names.push(rcgen::SanType::IpAddress(address));
    }
    let (year, month, day) = civil(clock);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(year.saturating_add(10), month, day.min(28));
    let key = rcgen::KeyPair::generate().map_err(|error| fault(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| fault(&error))?;
    fs::create_dir_all(&dir).map_err(|error| fault(&error))?;
    let write = |path: &Path, text: &str, mode: u32| -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write(&files.key, &key.serialize_pem(), 0o600).map_err(|error| fault(&error))?;
    write(&files.certificate, &certificate.pem(), 0o644).map_err(|error| fault(&error))?;
    Ok(files)
}

/// Today's date, from its RFC 3339 form.
fn civil(clock: &Clock) -> (i32, u8, u8) {
    let text = clock.unix().rfc3339().to_string();
    let mut parts = text.split(['-', 'T']);
    let year = parts.next().and_then(|part| part.parse().ok()).unwrap_or(2026);
    let mut small = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(1);
    (year, small(), small())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Writes a pair with this age, so that each differs from the one before.
    fn write_pair(files: &Files, age: u64) {
        let pair = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + age);
        for (path, text) in
            [(&files.certificate, pair.cert.pem()), (&files.key, pair.signing_key.serialize_pem())]
        {
            fs::write(path, text).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        }
    }

    #[test]
    fn changed_files_are_taken_and_a_bad_pair_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        write_pair(&files, 1);
        let first = files.load(rustls::ALL_VERSIONS).unwrap();
        let stamp = files.stamp();
        let tls =
            Tls { files, versions: rustls::ALL_VERSIONS, current: RwLock::new((Arc::clone(&first), stamp)) };
        assert!(!tls.refresh().unwrap());
        write_pair(&tls.files, 2);
        assert!(tls.refresh().unwrap());
        let second = tls.current();
        assert!(!Arc::ptr_eq(&first, &second));

        fs::write(&tls.files.certificate, "half written").unwrap();
        assert!(tls.refresh().is_err());
        assert!(Arc::ptr_eq(&second, &tls.current()));
        assert!(!tls.refresh().unwrap());
        write_pair(&tls.files, 3);
        assert!(tls.refresh().unwrap());
        fs::remove_file(&tls.files.key).unwrap();
        assert!(tls.refresh().is_err());
        assert!(!Arc::ptr_eq(&second, &tls.current()));
    }
}
