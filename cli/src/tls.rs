//! Certificates and TLS configurations of the program.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, KeyLogFile, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::Failure;

/// A certificate chain and its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From PEM files.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, Failure> {
        let named = |path: &Path, error: rustls_pki_types::pem::Error| {
            Failure::from(format!("{}: {error}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| named(cert, error))?;
        if chain.is_empty() {
            return Err(format!("{}: no certificate in it", cert.display()).into());
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, error))?;
        Ok(Self { chain, key })
    }

    /// A new one for this machine's own names, that nobody trusts.
    pub(crate) fn self_signed() -> Result<Self, Failure> {
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
        let made = rcgen::generate_simple_self_signed(names)?;
        Ok(Self {
            chain: vec![made.cert.der().clone()],
            key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
        })
    }

    /// Checked: the key is the certificate's.
    pub(crate) fn certified(&self) -> Result<Arc<CertifiedKey>, Failure> {
        let key = self.key.clone_key();
        let certified = CertifiedKey::from_der(self.chain.clone(), key, &provider())?;
        Ok(Arc::new(certified))
    }

    pub(crate) fn server_config(&self) -> Result<ServerConfig, Failure> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.key_log = Arc::new(KeyLogFile::new());
        Ok(config)
    }

    /// For a client that trusts this identity and nothing else.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Failure> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.chain {
            roots.add(certificate.clone())?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(logged(config))
    }
}

/// A certificate that can be replaced while connections are made.
#[derive(Debug)]
pub(crate) struct Certificate(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    pub(crate) fn new(identity: &Identity) -> Result<Self, Failure> {
        Ok(Self(RwLock::new(identity.certified()?)))
    }

    pub(crate) fn replace(&self, identity: &Identity) -> Result<(), Failure> {
        let certified = identity.certified()?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }

    pub(crate) fn server_config(self: Arc<Self>) -> Result<ServerConfig, Failure> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.key_log = Arc::new(KeyLogFile::new());
        Ok(config)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certified = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(certified.clone())
    }
}

/// For a client that trusts what the operating system trusts.
pub(crate) fn platform() -> Result<ClientConfig, Failure> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(logged(config))
}

/// For a client that accepts any certificate.
pub(crate) fn insecure() -> Result<ClientConfig, Failure> {
    let verifier = Arc::new(AnyCertificate(provider()));
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(logged(config))
}

/// Honours `SSLKEYLOGFILE`.
fn logged(mut config: ClientConfig) -> ClientConfig {
    config.key_log = Arc::new(KeyLogFile::new());
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What `--insecure` stands for. Signatures are still checked, so that a
/// broken server is not taken for a working one.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
