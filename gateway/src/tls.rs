//! What it takes to speak TLS as a client: authorities, certificate and key, from their files. Shell: reads files, connects nothing, logs no
//! secret.

mod shown;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pattoo_wire::certificate::ends_ms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use thiserror::Error;
use tracing::warn;

use self::shown::Noting;
pub use self::shown::Shown;
use crate::config::Identity;
use crate::credentials;

/// Largest file of certificates or keys, in bytes; a system's list of authorities has 250 kB.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Where systems keep the authorities that they trust.
const SYSTEM_CA_FILES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why TLS cannot be spoken.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No certificate or key that can be used.
    #[error("{}: {why}; expected {expected} in PEM form", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A certificate and a key that are not of each other.
    #[error("{} and {}: {error}; expected the certificate and its own key", identity.certificate.display(), identity.key.display())]
    Identity {
        /// The files.
        identity: Identity,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// No authorities at all.
    #[error("this system has no list of certificate authorities at {}: install ca-certificates or set `ca`", SYSTEM_CA_FILES.join(", "))]
    NoAuthorities,
    /// TLS itself.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A client that trusts these authorities (the system's own where there are none), and shows who it is where it may. What the other side
/// shows is noted in `shown`.
///
/// # Errors
/// A file that cannot be read or does not hold what it should.
pub fn client(
    ca: Option<&Path>,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
    shown: &Shown,
) -> Result<ClientConfig, TlsError> {
    let path = match ca {
        Some(path) => path.to_owned(),
        None => SYSTEM_CA_FILES.map(PathBuf::from).into_iter().find(|path| path.exists()).ok_or(TlsError::NoAuthorities)?,
    };
    let mut roots = RootCertStore::empty();
    // A system's list may hold old ones that rustls cannot read; a list without any good one is an error.
    let (added, _) = roots.add_parsable_certificates(certificates(&path)?);
    if added == 0 {
        return Err(TlsError::Pem { path, why: "no certificate in it".into(), expected: "certificates" });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Noting::new(roots, Arc::clone(&provider), shown)?;
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let wrong = |why: String| TlsError::Pem { path: identity.key.clone(), why, expected: "a key" };
    let pem = secret(&identity.key, MAX_PEM_BYTES)?.ok_or_else(|| wrong("too large".into()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| wrong(e.to_string()))?;
    let chain = certificates(&identity.certificate)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Identity { identity: identity.clone(), error })
}

/// When the certificates of these files end, by what they are, ms since 1970; what cannot be read is left out. Those of the system are its
/// own business.
#[must_use]
pub fn ends(ca: Option<&Path>, identity: Option<&Identity>) -> Vec<(String, i64)> {
    let ends = |path: &Path| certificates(path).unwrap_or_default().iter().filter_map(|der| ends_ms(der)).collect::<Vec<_>>();
    // Of authorities one that is new lies beside one that is old; of a chain each is needed.
    let authority = ca.and_then(|path| Some((format!("the authority {}", path.display()), ends(path).into_iter().max()?)));
    let own = identity.map(|identity| identity.certificate.as_path());
    let own = own.and_then(|path| Some((format!("the certificate {}", path.display()), ends(path).into_iter().min()?)));
    own.into_iter().chain(authority).collect()
}

/// The content of a file; none where that is too large.
fn content(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, TlsError> {
    let file = |error| TlsError::File { path: path.to_owned(), error };
    let path = credentials::find(path);
    if path.metadata().map_err(file)?.len() > max_bytes {
        return Ok(None);
    }
    std::fs::read(path).map(Some).map_err(file)
}

/// The content of a file that only its owner should read; none where that is too large.
///
/// # Errors
/// It cannot be read.
pub fn secret(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, TlsError> {
    let content = content(path, max_bytes)?;
    if credentials::find(path).metadata().is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0) {
        warn!(path = %path.display(), "everybody on this machine can read this secret: chmod o-r it");
    }
    Ok(content)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::Pem { path: path.to_owned(), why, expected: "certificates" };
    let pem = content(path, MAX_PEM_BYTES)?.ok_or_else(|| wrong("too large".into()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|e| wrong(e.to_string()))?;
    if certificates.is_empty() { Err(wrong("no certificate in it".into())) } else { Ok(certificates) }
}
