//! TLS configurations of the program, made from the files that options name.

mod names;
mod validity;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use h2ws::tls::{self, Certificates, ClientAuth, Identity, Trust};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, KeyLogFile,
    RootCertStore, ServerConfig,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::error::Failure;
use crate::log;

pub(crate) use self::names::Names;
use self::validity::Date;
pub(crate) use self::validity::{Concern, Validity};

/// Reads a certificate chain and its key from PEM files.
pub(crate) fn identity(cert: &Path, key: &Path) -> Result<Identity, Failure> {
    parse_identity(cert, key, [&read(cert)?, &read(key)?])
}

/// As [`identity`], from the contents of the files.
fn parse_identity(cert: &Path, key: &Path, [chain, pem]: [&[u8]; 2]) -> Result<Identity, Failure> {
    Identity::from_pem(chain, pem).map_err(|error| pair_error(cert, key, &error))
}

/// As [`identity`], and checks that the key belongs to the certificate.
pub(crate) fn pair(cert: &Path, key: &Path) -> Result<Certificates, Failure> {
    let identity = identity(cert, key)?;
    Certificates::new(identity).map_err(|error| pair_error(cert, key, &error))
}

fn pair_error(cert: &Path, key: &Path, error: &rustls::Error) -> Failure {
    let why = plain(error);
    format!("{} and {}: {why}", cert.display(), key.display()).into()
}

/// Returns the error's text in plain words: without "unexpected error: ", which rustls puts before errors
/// of files.
fn plain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(text) => text.clone(),
        rustls::Error::InconsistentKeys(_) => {
            "the private key does not belong to the certificate".to_owned()
        }
        error => error.to_string(),
    }
}

/// Makes a self-signed certificate for `localhost` and the loopback addresses.
pub(crate) fn self_signed() -> Result<Identity, Failure> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok(Identity::new(vec![made.cert.der().clone()], key))
}

/// Returns the certificate of listeners without files: the same for all of them, so that a browser
/// has to be told only once to accept it.
fn shared_self_signed() -> Result<Identity, Failure> {
    static MADE: Mutex<Option<Identity>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*made {
        Some(identity) => Ok(identity.clone()),
        None => Ok(made.insert(self_signed()?).clone()),
    }
}

/// Reads trusted certificates from a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, Failure> {
    parse_roots(path, &read(path)?)
}

/// As [`roots`], from the contents of the file.
fn parse_roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, Failure> {
    tls::roots_from_pem(pem)
        .map_err(|error| format!("{}: {}", path.display(), plain(&error)).into())
}

/// Says in a sentence why a server's certificate was rejected.
pub(crate) fn certificate_error(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its issuer is not trusted".into(),
        // What `openssl req -x509` makes by default.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "it is a CA certificate (CA:TRUE), not a server's".into()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired on {}", Date::of(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is not valid before {}", Date::of(*not_before))
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
            format!(
                "it is for {}, not for {}",
                names.join(", "),
                expected.to_str()
            )
        }
        error => error.to_string(),
    }
}

/// Returns the name in what rustls says of it, such as `DnsName("example.com")`.
fn plain_name(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

/// What a server without TLS may do when a TLS handshake begins.
const CLOSED: [io::ErrorKind; 4] = [
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::UnexpectedEof,
];

/// Says in a sentence why a TLS handshake failed and what to try, for common causes.
pub(crate) fn advice(error: &io::Error) -> Option<String> {
    if CLOSED.contains(&error.kind()) {
        let text = "the server closed the connection; if it does not use TLS on this port, write a \
                    ws:// URL (wss:// is the default)";
        return Some(text.into());
    }
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(error) => {
            let why = certificate_error(error);
            Some(invalid_certificate(&why))
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            let text = "the server does not use TLS on this port; write a ws:// URL (wss:// is the \
                        default)";
            Some(text.into())
        }
        _ => None,
    }
}

/// Says that a server's certificate was rejected, and what to try.
pub(crate) fn invalid_certificate(why: &str) -> String {
    format!("invalid server certificate: {why} (use --insecure to skip verification)")
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Warns about the certificates in these files that clients reject now or soon.
pub(crate) fn warn_of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) {
    for file in files {
        if let Some(concern) = Concern::about(file) {
            log::notice(format_args!("{}: {concern}", file.display()));
        }
    }
}

/// A server's TLS configuration, and the validity of the certificate in each of its files.
pub(crate) struct Loaded {
    pub(crate) config: ServerConfig,
    pub(crate) valid: Vec<(PathBuf, Validity)>,
}

/// The files of a server's TLS configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerFiles {
    /// Certificates with their keys, the default one first.
    pub(crate) pairs: Vec<(PathBuf, PathBuf)>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_cert_optional: bool,
    /// Offers HTTP/1.1 alone.
    pub(crate) http1_only: bool,
}

impl ServerFiles {
    /// Makes a configuration from the current contents of the files.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let mut certificates: Option<Certificates> = None;
        let mut valid = Vec::new();
        for (cert, key) in &self.pairs {
            let identity = identity(cert, key)?;
            valid.extend(Validity::of(identity.chain()).map(|one| (cert.clone(), one)));
            let added = match certificates.take() {
                None => Certificates::new(identity),
                Some(certificates) => certificates.with(identity),
            };
            certificates = Some(added.map_err(|error| pair_error(cert, key, &error))?);
        }
        let certificates = match certificates {
            Some(certificates) => certificates,
            None => Certificates::new(shared_self_signed()?)?,
        };
        let clients = match &self.client_ca {
            None => ClientAuth::None,
            Some(path) if self.client_cert_optional => ClientAuth::Optional(roots(path)?),
            Some(path) => ClientAuth::Required(roots(path)?),
        };
        let mut config = server_config(certificates, clients)?;
        if self.http1_only {
            http1_only(&mut config);
        }
        Ok(Loaded { config, valid })
    }

    /// Whether any file is named, so that a reload makes sense.
    pub(crate) fn is_any(&self) -> bool {
        !self.pairs.is_empty() || self.client_ca.is_some()
    }
}

/// The files and options of a client's TLS configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ClientFiles {
    /// Trusted certificates, instead of those that the operating system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// A certificate with its key, for servers that ask for one.
    pub(crate) pair: Option<(PathBuf, PathBuf)>,
    /// Whether any server certificate is accepted.
    pub(crate) insecure: bool,
}

impl ClientFiles {
    /// Makes a configuration from the current contents of the files.
    pub(crate) fn load(&self) -> Result<ClientConfig, Failure> {
        self.read()?.config()
    }

    /// Reads the files.
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

/// The files of a client with their contents. Equal values make equal configurations.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientContents {
    files: ClientFiles,
    ca: Option<Vec<u8>>,
    pair: Option<[Vec<u8>; 2]>,
}

impl ClientContents {
    pub(crate) fn config(&self) -> Result<ClientConfig, Failure> {
        let ca = self.files.ca.as_ref().zip(self.ca.as_ref());
        let roots = ca.map(|(path, pem)| parse_roots(path, pem)).transpose()?;
        let pair = self.files.pair.as_ref().zip(self.pair.as_ref());
        let identity = pair
            .map(|((cert, key), [chain, pem])| parse_identity(cert, key, [chain, pem]))
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

/// Offers HTTP/1.1 alone by ALPN, so that a client that asks for HTTP/2 gets HTTP/1.1, or none.
pub(crate) fn http1_only(config: &mut ServerConfig) {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
}

/// Returns a client configuration that trusts this identity only.
pub(crate) fn trusting(identity: &Identity) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in identity.chain() {
        roots.add(certificate.clone())?;
    }
    Ok(logged(tls::client_config(Trust::Only(roots), None)?))
}

/// Returns the verifier of server certificates: one that accepts any, one that trusts the
/// certificates of a file, or the operating system's.
pub(crate) fn verifier(
    insecure: bool,
    cacert: Option<&Path>,
) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    // With `insecure` the file is not needed, so it need not be valid.
    let cacert = cacert.filter(|_| !insecure);
    verifying(insecure, cacert.map(roots).transpose()?)
}

fn verifying(
    insecure: bool,
    roots: Option<RootCertStore>,
) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    let provider = tls::provider().ok_or("this build has no TLS cryptography provider")?;
    Ok(match roots {
        _ if insecure => Arc::new(AnyCertificate(provider)),
        Some(roots) => {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?
        }
        None => Arc::new(rustls_platform_verifier::Verifier::new(provider)?),
    })
}

/// Returns a client configuration with this verifier, and an identity for servers that ask for one.
pub(crate) fn verified_by(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Identity>,
) -> Result<ClientConfig, Failure> {
    let mut config = tls::client_config(Trust::Only(RootCertStore::empty()), identity)?;
    config.dangerous().set_certificate_verifier(verifier);
    Ok(logged(config))
}

/// Writes TLS secrets to the file that `SSLKEYLOGFILE` names.
fn logged(mut config: ClientConfig) -> ClientConfig {
    config.key_log = Arc::new(KeyLogFile::new());
    config
}

/// The verifier for `--insecure`. It still checks signatures, so that a broken server is not
/// mistaken for a working one.
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

#[cfg(test)]
mod tests {
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    #[tokio::test]
    async fn all_listeners_without_files_have_the_same_certificate() {
        let own = shared_self_signed().expect("a certificate");
        let client = TlsConnector::from(Arc::new(trusting(&own).expect("a configuration")));
        for _ in 0..2 {
            let loaded = ServerFiles::default().load().expect("a configuration");
            let server = TlsAcceptor::from(Arc::new(loaded.config));
            let name = ServerName::try_from("localhost").expect("a name");
            let (near, far) = tokio::io::duplex(16 * 1024);
            let (connected, _) = tokio::join!(client.connect(name, near), server.accept(far));
            connected.expect("the trusted certificate");
        }
    }
}
