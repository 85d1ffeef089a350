//! Notes when the certificate ends that the other side shows. Decides nothing: what is believed is what rustls believes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pattoo_wire::certificate::ends_ms;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// When the certificate ends that the other side showed last and that was believed.
#[derive(Debug, Clone, Default)]
pub struct Shown(Arc<AtomicI64>);

impl Shown {
    /// In ms since 1970; none before one was shown.
    #[must_use]
    pub fn ends_ms(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ms| *ms != 0)
    }
}

/// rustls's own verifier, which is asked all there is to ask.
#[derive(Debug)]
pub(super) struct Noting {
    asked: Arc<WebPkiServerVerifier>,
    shown: Shown,
}

impl Noting {
    pub(super) fn new(roots: RootCertStore, provider: Arc<CryptoProvider>, shown: &Shown) -> Result<Self, Error> {
        let asked = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { asked: asked.map_err(|error| Error::General(error.to_string()))?, shown: shown.clone() })
    }
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.asked.verify_server_cert(own, between, name, ocsp, now)?;
        self.shown.0.store(ends_ms(own).unwrap_or_default(), Ordering::Relaxed);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.asked.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.asked.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.asked.supported_verify_schemes()
    }
}
