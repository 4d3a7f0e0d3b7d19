//! TLS on rustls: which configuration, which ALPN (RFC 7301).

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
#[cfg(feature = "client")]
use rustls::pki_types::ServerName;
#[cfg(feature = "client")]
use tokio_rustls::TlsConnector;

use super::BoxIo;

/// ALPN of HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const H2: &[u8] = b"h2";
/// ALPN of HTTP/1.1.
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// The cryptography that the features chose, or the process's own choice.
pub(crate) fn provider() -> Option<Arc<CryptoProvider>> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Some(provider.clone());
    }
    #[cfg(feature = "aws-lc-rs")]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    None
}

/// A client configuration that trusts what the operating system trusts.
#[cfg(feature = "client")]
pub(crate) fn platform() -> Result<rustls::ClientConfig, rustls::Error> {
    use rustls_platform_verifier::BuilderVerifierExt;

    let provider = provider().ok_or_else(no_provider)?;
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth())
}

#[cfg(feature = "client")]
pub(crate) fn no_provider() -> rustls::Error {
    rustls::Error::General(
        "no cryptography: enable the feature `ring` or `aws-lc-rs`, or install a CryptoProvider"
            .into(),
    )
}

/// A TLS session and what it settled on.
#[cfg(feature = "client")]
pub(crate) struct Connected {
    pub(crate) io: BoxIo,
    pub(crate) is_http2: bool,
}

/// Shakes hands with a server, offering `alpn`.
#[cfg(feature = "client")]
pub(crate) async fn connect(
    config: &Arc<rustls::ClientConfig>,
    alpn: &[&[u8]],
    host: &str,
    io: BoxIo,
) -> io::Result<Connected> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut config = rustls::ClientConfig::clone(config);
    config.alpn_protocols = alpn.iter().map(|alpn| alpn.to_vec()).collect();
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, io)
        .await?;
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(H2);
    Ok(Connected {
        io: Box::new(tls),
        is_http2,
    })
}

/// Shakes hands with a client. Returns whether it chose HTTP/2.
#[cfg(feature = "server")]
pub(crate) async fn accept(
    config: Arc<rustls::ServerConfig>,
    io: BoxIo,
) -> io::Result<(bool, BoxIo)> {
    let tls = tokio_rustls::TlsAcceptor::from(config).accept(io).await?;
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(H2);
    Ok((is_http2, Box::new(tls)))
}
