//! The server's own certificate authority: makes certificates for the server and for gateways. PEM in, PEM out.
//!
//! Opens no file (`tls`). Certificates begin in 1970, so that a gateway whose clock has no battery can verify the server before
//! it knows the time; what ends a gateway's certificate early is `gateway revoke`, at once.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber, date_time_ymd,
};
use thiserror::Error;

/// Common name of the authority.
pub const NAME: &str = "Pattoo server authority";
/// Common name of the server; its addresses are in the alternative names.
const SERVER_NAME: &str = "Pattoo server";
/// 9999-12-31T23:59:59Z, which RFC 5280 has for "no end": the authority ends when its files are deleted, and with it what
/// the server makes for itself at each start.
const NO_END_MS: i64 = 253_402_300_799_000;

/// A certificate could not be made.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct AuthorityError(String);

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

/// An authority, ready to sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    key_pem: String,
}

/// A certificate and its key.
pub struct Made {
    /// Certificate, DER.
    pub der: Vec<u8>,
    /// Certificate, PEM.
    pub pem: String,
    /// Private key, PEM.
    pub key_pem: String,
}

impl Authority {
    /// A new one, and its certificate in PEM.
    ///
    /// # Errors
    /// No randomness.
    pub fn new() -> Result<(Self, String), AuthorityError> {
        let key = KeyPair::generate()?;
        let pem = own_params()?.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok((Self { issuer: Issuer::new(own_params()?, key), key_pem }, pem))
    }

    /// The one with this key.
    ///
    /// # Errors
    /// Not a key in PEM.
    pub fn from_key(key_pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self { issuer: Issuer::new(own_params()?, key), key_pem: key_pem.to_owned() })
    }

    /// Its private key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A certificate for the server under these host names and addresses.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn sign_server(&self, names: &[String]) -> Result<Made, AuthorityError> {
        self.sign_server_for(names, 0, NO_END_MS)
    }

    /// The same, good from one time to another, ms since 1970.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn sign_server_for(&self, names: &[String], from_ms: i64, until_ms: i64) -> Result<Made, AuthorityError> {
        let mut params = params(SERVER_NAME, until_ms)?;
        params.not_before += Duration::from_millis(u64::try_from(from_ms.clamp(0, NO_END_MS)).unwrap_or(0));
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A certificate for the gateway of this name, until `expires_ms`.
    ///
    /// # Errors
    /// No randomness.
    pub fn sign_client(&self, gateway: &str, expires_ms: i64) -> Result<Made, AuthorityError> {
        let mut params = params(gateway, expires_ms)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Made, AuthorityError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Made { der: certificate.der().to_vec(), pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn own_params() -> Result<CertificateParams, AuthorityError> {
    let mut params = params(NAME, NO_END_MS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(name: &str, expires_ms: i64) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|e| AuthorityError(format!("no random numbers from the system: {e}")))?;
    // Positive and as long as any other.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch;
    params.not_after = epoch + Duration::from_millis(u64::try_from(expires_ms.clamp(0, NO_END_MS)).unwrap_or(0));
    Ok(params)
}

fn alternative(name: &str) -> Result<SanType, AuthorityError> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into()?),
    })
}
