//! An authority that is not the server's, and what it signs.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};

/// Certificate and key, as files.
pub type Files = (PathBuf, PathBuf);

/// An authority.
pub struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// A new one; its certificate is `<name>.pem` in that folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key)?.pem())?;
        Ok(Self(Issuer::new(params, key)))
    }

    /// A certificate for a client of this common name, good until that year.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn client(&self, folder: &Path, name: &str, until_year: i32) -> Result<Files> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(until_year, 1, 1);
        self.sign(params, folder, "gateway")
    }

    /// A certificate for a server on this machine.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn server(&self, folder: &Path) -> Result<Files> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, folder, "server")
    }

    fn sign(&self, params: CertificateParams, folder: &Path, name: &str) -> Result<Files> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        std::fs::create_dir_all(folder)?;
        let (pem, key_pem) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&pem, certificate.pem())?;
        std::fs::write(&key_pem, key.serialize_pem())?;
        Ok((pem, key_pem))
    }
}
