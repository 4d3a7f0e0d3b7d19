//! TLS configurations with certificates generated for the test.

use std::net::SocketAddr;
use std::sync::Arc;

use h2ws::tls::Identity;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::within;

/// Returns a server configuration without ALPN for `localhost`, and a client
/// configuration that trusts its certificate.
pub(crate) fn pair() -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key))
        .unwrap();
    (server, trusting(roots))
}

/// Returns a client configuration without trusted roots, for
/// connections without TLS.
pub(crate) fn none() -> ClientConfig {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn provider() -> Arc<CryptoProvider> {
    h2ws::tls::provider().expect("a crypto provider")
}

/// A certificate authority.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        h2ws::tls::roots_from_pem(self.certificate.pem().as_bytes()).unwrap()
    }

    /// Issues a certificate for these names.
    pub(crate) fn sign(&self, names: &[&str]) -> Identity {
        self.sign_as(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// As [`sign`](Self::sign), with the authority's certificate in the chain.
    pub(crate) fn sign_with_chain(&self, names: &[&str]) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = certificate.pem() + &self.certificate.pem();
        Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    /// As [`sign`](Self::sign), with a key for this signature algorithm.
    pub(crate) fn sign_as(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
    ) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }
}

/// Connects with a plain rustls client that sends `name` as SNI and offers `alpn`.
pub(crate) async fn connect(
    addr: SocketAddr,
    name: &str,
    alpn: &[u8],
    mut config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = within(TcpStream::connect(addr)).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}
