//! Shell: TLS 1.3 by rustls with ring, and nothing older, on both sides: the broker's listener and our own client.
//!
//! Reads and makes the files; says nothing of who may do what. Every connection shows its certificate anew: there are no
//! tickets, so that one which was refused cannot come back by an older handshake.

mod kept;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;

use super::accounts::file::{FileError, lock, write_private};
use super::accounts::{hex, sha256};
use super::authority::{Authority, AuthorityError};
use crate::config::{Identity, Tls};

/// Largest PEM file, in bytes.
const MAX_PEM_BYTES: u64 = 1 << 20;
/// Where the server's own authority is, in the data folder.
const FOLDER: &str = "tls";
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// TLS cannot be had.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file.
    #[error("{}: {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// One of our own files cannot be written.
    #[error("{0}")]
    Own(#[from] FileError),
    /// A certificate of ours cannot be made.
    #[error("the server's own certificate: {0}")]
    Made(#[from] AuthorityError),
    /// The library.
    #[error("TLS: {0}")]
    Library(String),
    /// No authority to trust.
    #[error("this system has no certificates of authorities; name the broker's by `ca`")]
    NoAuthorities,
}

/// The server's own authority, made when first asked for.
pub struct Own {
    /// Signs.
    pub authority: Authority,
    /// Its certificate, PEM: what a gateway has as `uplink.ca`.
    pub pem: String,
}

impl Own {
    /// The authority of this data folder.
    ///
    /// # Errors
    /// Its files cannot be read or made.
    pub fn open(data: &Path) -> Result<Self, TlsError> {
        let folder = data.join(FOLDER);
        let _order = lock(data)?;
        make_folder(&folder, data)?;
        let (ca, key) = (folder.join(CA), folder.join(CA_KEY));
        match (text(&ca), text(&key)) {
            (Ok(pem), Ok(key)) => Ok(Self { authority: Authority::from_key(&key)?, pem }),
            // The key is written last: a certificate without one never signed anything.
            (_, Err(e)) if e.kind() == ErrorKind::NotFound => {
                let (authority, pem) = Authority::new()?;
                write_private(&ca, pem.as_bytes())?;
                write_private(&key, authority.key_pem().as_bytes())?;
                Ok(Self { authority, pem })
            }
            (Err(e), _) => Err(failed(&ca, e)),
            (_, Err(e)) => Err(failed(&key, e)),
        }
    }
}

/// SHA-256 of the first certificate of a PEM text, as people compare it.
#[must_use]
pub fn fingerprint(pem: &str) -> Option<String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| hex(&sha256(&der)))
}

/// When the certificates of a file end, ms since 1970.
///
/// # Errors
/// It is missing or holds none.
pub fn ends(path: &Path) -> Result<Vec<i64>, TlsError> {
    Ok(certificates(path)?.iter().filter_map(|der| pattoo_wire::certificate::ends_ms(der)).collect())
}

/// The files whose change makes a new configuration.
#[must_use]
pub fn files(tls: &Tls) -> Vec<PathBuf> {
    tls.client_ca.iter().cloned().chain(files_of(&tls.identity)).collect()
}

/// The files of an identity.
#[must_use]
pub fn files_of(identity: &Identity) -> Vec<PathBuf> {
    match identity {
        Identity::Files { certificate, key } => vec![certificate.clone(), key.clone()],
        Identity::Own { .. } => Vec::new(),
    }
}

/// What the listener speaks. Certificates of clients are asked for, not demanded: accounts say who needs one.
///
/// # Errors
/// A file is missing or wrong.
pub fn server(tls: &Tls, data: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let own = Own::open(data)?;
    let mut clients = RootCertStore::empty();
    clients.add_parsable_certificates(certificates(&data.join(FOLDER).join(CA))?);
    if let Some(ca) = &tls.client_ca {
        trust(&mut clients, ca)?;
    }
    let (chain, key) = shown(&tls.identity, tls.listen.ip(), &own)?;
    let library = |e: &dyn std::fmt::Display| TlsError::Library(e.to_string());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| library(&e))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(|e| library(&e))?;
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key);
    Ok(Arc::new(ticketless(config.map_err(|e| unfit(&tls.identity, &e))?)))
}

/// What the listener for people speaks, and when that has to be asked again, ms since 1970, even where no file changes. People show
/// who they are by a password, so no certificate is asked for.
///
/// # Errors
/// A file is missing or wrong.
pub fn web(identity: &Identity, listen: std::net::IpAddr, data: &Path, now_ms: i64) -> Result<(Arc<ServerConfig>, Option<i64>), TlsError> {
    let own = Own::open(data)?;
    let ((chain, key), due_ms) = match identity {
        Identity::Own { names } => {
            let kept = kept::certificate(&own, all_names(names, listen), data, now_ms)?;
            (kept.shown, Some(kept.due_ms))
        }
        Identity::Files { .. } => (shown(identity, listen, &own)?, None),
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let config = builder.map_err(|e| TlsError::Library(e.to_string()))?.with_no_client_auth().with_single_cert(chain, key);
    let mut config = ticketless(config.map_err(|e| unfit(identity, &e))?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), due_ms))
}

fn unfit(identity: &Identity, error: &rustls::Error) -> TlsError {
    match identity {
        Identity::Files { certificate, .. } => TlsError::File { path: certificate.clone(), what: format!("with its key: {error}") },
        Identity::Own { .. } => TlsError::Library(error.to_string()),
    }
}

fn ticketless(mut config: ServerConfig) -> ServerConfig {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}

type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The certificate, with those up to its authority, and its key.
fn shown(identity: &Identity, listen: std::net::IpAddr, own: &Own) -> Result<Shown, TlsError> {
    match identity {
        Identity::Own { names } => {
            let made = own.authority.sign_server(&all_names(names, listen))?;
            let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).map_err(|e| TlsError::Library(e.to_string()))?;
            Ok((vec![CertificateDer::from(made.der)], key))
        }
        Identity::Files { certificate, key } => Ok((certificates(certificate)?, private_key(key)?)),
    }
}

/// What our client speaks to another broker: trusts the authorities of this file, or those of the system.
///
/// # Errors
/// A file is missing or wrong.
pub fn client(ca: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => trust(&mut roots, ca)?,
        None => drop(roots.add_parsable_certificates(authorities(None)?)),
    }
    let library = |e: &dyn std::fmt::Display| TlsError::Library(e.to_string());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|e| library(&e))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| library(&e))?
        .with_webpki_verifier(verifier);
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|e| TlsError::File { path: certificate.to_owned(), what: format!("with its key: {e}") }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What is configured, loopback, the name of this machine, and the address it listens on if that is one.
fn all_names(configured: &[String], listen: std::net::IpAddr) -> Vec<String> {
    let mut names = configured.to_vec();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names.extend(host_name());
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.sort();
    names.dedup();
    names
}

/// The name of this machine, where it can stand in a certificate.
#[must_use]
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned();
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    name.split('.').all(label).then_some(name)
}

fn trust(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let (_, unusable) = roots.add_parsable_certificates(certificates(path)?);
    match unusable {
        0 => Ok(()),
        _ => Err(TlsError::File { path: path.to_owned(), what: "found a certificate that cannot be read".into() }),
    }
}

/// Whom a client trusts: the authorities of this file, or those of the system.
///
/// # Errors
/// The file is missing or wrong, or the system has none.
pub fn authorities(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = ca.map_or_else(|| Ok(rustls_native_certs::load_native_certs().certs), certificates)?;
    if found.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(found) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |what: String| TlsError::File { path: path.to_owned(), what };
    let pem = text(path).map_err(|e| failed(path, e))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(read) if read.is_empty() => Err(wrong("found no certificate, expected PEM with `-----BEGIN CERTIFICATE-----`".into())),
        Ok(read) => Ok(read),
        Err(e) => Err(wrong(format!("found no certificate in PEM: {e}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = text(path).map_err(|e| failed(path, e))?;
    let what = "found no private key, expected PEM with `-----BEGIN PRIVATE KEY-----`";
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| TlsError::File { path: path.to_owned(), what: what.into() })
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_PEM_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn failed(path: &Path, error: std::io::Error) -> TlsError {
    TlsError::File { path: path.to_owned(), what: format!("cannot be read: {error}") }
}

fn make_folder(folder: &Path, data: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
    let make = || {
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let (made, owner) = (folder.metadata()?, data.metadata()?);
        if (made.uid(), made.gid()) != (owner.uid(), owner.gid()) {
            chown(folder, Some(owner.uid()), Some(owner.gid()))?;
        }
        // Gateways know the server by what is in it: a power cut must not take it away.
        std::fs::File::open(data)?.sync_all()
    };
    make().map_err(|e| failed(folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(identity: Identity) -> Tls {
        Tls { listen: "127.0.0.1:0".parse().unwrap(), identity, client_ca: None }
    }

    #[test]
    fn the_own_authority_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let first = Own::open(data.path()).unwrap().pem;
        assert_eq!(Own::open(data.path()).unwrap().pem, first);
        let mode = |name: &str| data.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("tls"), mode("tls/ca.key"), mode("tls/ca.pem")), (0o700, 0o600, 0o600));
        std::fs::remove_file(data.path().join("tls/ca.key")).unwrap();
        assert_ne!(Own::open(data.path()).unwrap().pem, first, "without its key it is no authority");
        std::fs::remove_file(data.path().join("tls/ca.pem")).unwrap();
        assert!(Own::open(data.path()).is_err(), "a key whose certificate gateways have is not replaced in silence");
    }

    #[test]
    fn files_that_do_not_serve_are_named() {
        let data = tempfile::tempdir().unwrap();
        let path = |name: &str| data.path().join(name);
        let made = Own::open(data.path()).unwrap().authority.sign_server(&["localhost".into()]).unwrap();
        let other = Own::open(data.path()).unwrap().authority.sign_server(&["localhost".into()]).unwrap();
        std::fs::write(path("s.pem"), made.pem).unwrap();
        std::fs::write(path("s.key"), made.key_pem).unwrap();
        std::fs::write(path("other.key"), other.key_pem).unwrap();
        std::fs::write(path("empty"), "").unwrap();
        for (certificate, key, words) in [
            ("s.pem", "s.key", None),
            ("none", "s.key", Some("none: cannot be read")),
            ("empty", "s.key", Some("empty: found no certificate")),
            ("s.pem", "empty", Some("empty: found no private key")),
            ("s.key", "s.key", Some("s.key: found no certificate")),
            ("s.pem", "other.key", Some("s.pem: with its key")),
        ] {
            let made = server(&tls(Identity::Files { certificate: path(certificate), key: path(key) }), data.path());
            let error = made.err().map(|e| e.to_string());
            let told = words.is_none_or(|words| error.as_ref().is_some_and(|e| e.contains(words)));
            assert!(told && words.is_some() == error.is_some(), "{certificate} {key}: {error:?}");
            assert!(client(Some(&path("s.pem")), Some((&path(certificate), &path(key)))).is_ok() == words.is_none());
        }
        assert!(client(Some(&path("empty")), None).is_err());
    }

    #[test]
    fn nothing_but_tls_1_3_without_tickets() {
        let data = tempfile::tempdir().unwrap();
        let config = server(&tls(Identity::Own { names: vec!["ops.example".into()] }), data.path()).unwrap();
        assert_eq!(config.send_tls13_tickets, 0);
        assert!(!config.session_storage.can_cache() && config.max_early_data_size == 0);
    }
}
