//! Certificates and TLS configurations of the program.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use h2ws::tls::{self, Certificates, ClientAuth, Identity, Trust};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, KeyLogFile,
    RootCertStore, ServerConfig,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::Failure;

/// A certificate chain and its key, from PEM files.
pub(crate) fn identity(cert: &Path, key: &Path) -> Result<Identity, Failure> {
    identity_of(cert, key, [&read(cert)?, &read(key)?])
}

/// By what was read from the files.
fn identity_of(cert: &Path, key: &Path, [chain, pem]: [&[u8]; 2]) -> Result<Identity, Failure> {
    Identity::from_pem(chain, pem).map_err(|error| of_pair(cert, key, &error))
}

/// As [`identity`], if the key is the certificate's.
pub(crate) fn pair(cert: &Path, key: &Path) -> Result<Certificates, Failure> {
    let identity = identity(cert, key)?;
    Certificates::new(identity).map_err(|error| of_pair(cert, key, &error))
}

fn of_pair(cert: &Path, key: &Path, error: &rustls::Error) -> Failure {
    let said = said(error);
    format!("{} and {}: {said}", cert.display(), key.display()).into()
}

/// Without rustls' "unexpected error": what is wrong with a file is expected.
fn said(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(said) => said.clone(),
        error => error.to_string(),
    }
}

/// A new one for this machine's own names, that nobody trusts.
pub(crate) fn self_signed() -> Result<Identity, Failure> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok(Identity::new(vec![made.cert.der().clone()], key))
}

/// Whom to trust, from a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, Failure> {
    roots_of(path, &read(path)?)
}

/// By what was read from the file.
fn roots_of(path: &Path, pem: &[u8]) -> Result<RootCertStore, Failure> {
    tls::roots_from_pem(pem).map_err(|error| format!("{}: {}", path.display(), said(&error)).into())
}

/// What is held against a server's certificate.
pub(crate) fn certificate_error(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its issuer is unknown here".into(),
        // What `openssl req -x509` makes unless it is told otherwise.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "it is an authority's (CA:TRUE) and not a server's".into()
        }
        error => error.to_string(),
    }
}

/// What is wrong, in one sentence, where a TLS handshake failed so, and what to
/// try.
pub(crate) fn advice(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(error) => {
            let why = certificate_error(error);
            Some(format!(
                "the server's certificate is not good: {why} (--insecure goes on all the same)"
            ))
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some("the server does not speak TLS there: is it a ws:// URL?".into())
        }
        _ => None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The files that a server's TLS is made of.
#[derive(Clone, Debug)]
pub(crate) struct ServerFiles {
    /// Certificates with their keys, the default one first.
    pub(crate) pairs: Vec<(PathBuf, PathBuf)>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_cert_optional: bool,
}

impl ServerFiles {
    /// As the files are now.
    pub(crate) fn load(&self) -> Result<ServerConfig, Failure> {
        let mut certificates: Option<Certificates> = None;
        for (cert, key) in &self.pairs {
            certificates = Some(match certificates.take() {
                None => pair(cert, key)?,
                Some(certificates) => certificates
                    .with(identity(cert, key)?)
                    .map_err(|error| of_pair(cert, key, &error))?,
            });
        }
        let certificates = match certificates {
            Some(certificates) => certificates,
            None => Certificates::new(self_signed()?)?,
        };
        let clients = match &self.client_ca {
            None => ClientAuth::None,
            Some(path) if self.client_cert_optional => ClientAuth::Optional(roots(path)?),
            Some(path) => ClientAuth::Required(roots(path)?),
        };
        server_config(certificates, clients)
    }

    /// Whether there is something that may change.
    pub(crate) fn is_any(&self) -> bool {
        !self.pairs.is_empty() || self.client_ca.is_some()
    }
}

/// The files that a client's TLS is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ClientFiles {
    /// Whom to trust instead of those whom the operating system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// A certificate with its key, for servers that ask.
    pub(crate) pair: Option<(PathBuf, PathBuf)>,
    /// Any certificate of the server will do.
    pub(crate) insecure: bool,
}

impl ClientFiles {
    /// As the files are now.
    pub(crate) fn load(&self) -> Result<ClientConfig, Failure> {
        self.read()?.config()
    }

    /// What is in the files now.
    pub(crate) fn read(&self) -> Result<ClientContents, Failure> {
        let pair = self.pair.as_ref();
        Ok(ClientContents {
            ca: self.ca.as_deref().map(read).transpose()?,
            pair: pair
                .map(|(cert, key)| Ok::<_, Failure>([read(cert)?, read(key)?]))
                .transpose()?,
            files: self.clone(),
        })
    }
}

/// The files of a client and what was in them. What is equal makes equal
/// configurations.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientContents {
    files: ClientFiles,
    ca: Option<Vec<u8>>,
    pair: Option<[Vec<u8>; 2]>,
}

impl ClientContents {
    pub(crate) fn config(&self) -> Result<ClientConfig, Failure> {
        let ca = self.files.ca.as_ref().zip(self.ca.as_ref());
        let roots = ca.map(|(path, pem)| roots_of(path, pem)).transpose()?;
        let pair = self.files.pair.as_ref().zip(self.pair.as_ref());
        let identity = pair
            .map(|((cert, key), [chain, pem])| identity_of(cert, key, [chain, pem]))
            .transpose()?;
        verified_by(verifying(self.files.insecure, roots)?, identity)
    }
}

pub(crate) fn server_config(
    certificates: Certificates,
    clients: ClientAuth,
) -> Result<ServerConfig, Failure> {
    let mut config = tls::server_config(certificates, clients)?;
    config.key_log = Arc::new(KeyLogFile::new());
    Ok(config)
}

/// For a client that trusts this identity and nothing else.
pub(crate) fn trusting(identity: &Identity) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in identity.chain() {
        roots.add(certificate.clone())?;
    }
    Ok(logged(tls::client_config(Trust::Only(roots), None)?))
}

/// Who says whether a certificate is good: nobody, the certificates of this
/// file, or the operating system.
pub(crate) fn verifier(
    insecure: bool,
    cacert: Option<&Path>,
) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    // Without a look at the file where nobody asks it.
    let cacert = cacert.filter(|_| !insecure);
    verifying(insecure, cacert.map(roots).transpose()?)
}

fn verifying(
    insecure: bool,
    roots: Option<RootCertStore>,
) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    let provider = tls::provider().ok_or("no cryptography was built in")?;
    Ok(match roots {
        _ if insecure => Arc::new(AnyCertificate(provider)),
        Some(roots) => {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?
        }
        None => Arc::new(rustls_platform_verifier::Verifier::new(provider)?),
    })
}

/// For a client that leaves certificates to `verifier`, and shows its own if
/// it is asked.
pub(crate) fn verified_by(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Identity>,
) -> Result<ClientConfig, Failure> {
    let mut config = tls::client_config(Trust::Only(RootCertStore::empty()), identity)?;
    config.dangerous().set_certificate_verifier(verifier);
    Ok(logged(config))
}

/// Honours `SSLKEYLOGFILE`.
fn logged(mut config: ClientConfig) -> ClientConfig {
    config.key_log = Arc::new(KeyLogFile::new());
    config
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
