//! TLS on rustls: the cryptography provider, configurations and ALPN (RFC
//! 7301).

mod certificates;
mod client;
mod identity;
mod info;
mod server;

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

pub use self::certificates::Certificates;
pub use self::client::{Trust, client_config};
pub use self::identity::{Identity, roots_from_pem};
pub use self::info::TlsInfo;
pub use self::server::{ClientAuth, ServerTls, server_config};
use super::BoxIo;
use super::prefix::PROXY_HEADER_BYTES;

/// ALPN of HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const H2: &[u8] = b"h2";
/// ALPN of HTTP/1.1.
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// Returns the cryptography provider that this crate uses unless it is given a
/// complete rustls configuration: the process-wide default if one was
/// installed, else that of the feature `aws-lc-rs`, else that of `ring`. `None`
/// without any of these.
///
/// Also of use for building configurations with rustls directly: its
/// `builder()` panics in a program in which both features are enabled, which
/// any dependency may cause; `builder_with_provider` with this provider does
/// not.
#[must_use]
pub fn provider() -> Option<Arc<CryptoProvider>> {
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

fn required_provider() -> Result<Arc<CryptoProvider>, rustls::Error> {
    provider().ok_or_else(no_provider)
}

pub(crate) fn no_provider() -> rustls::Error {
    general(
        "no cryptography provider: enable the feature `ring` or `aws-lc-rs`, or install a default CryptoProvider",
    )
}

#[expect(clippy::needless_pass_by_value, reason = "passed to `map_err`")]
fn general(text: impl ToString) -> rustls::Error {
    rustls::Error::General(text.to_string())
}

/// An established TLS session and the protocol it negotiated.
pub(crate) struct Connected {
    pub(crate) io: BoxIo,
    pub(crate) is_http2: bool,
}

/// Performs the TLS handshake with a server, offering `alpn`.
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

/// A connection to a port with TLS.
pub(crate) enum Accepted {
    Tls(TlsInfo, BoxIo),
    /// The client sends HTTP without TLS, of which this byte was read.
    Cleartext(u8, BoxIo),
}

/// Performs the TLS handshake with a client, unless the first byte is one of HTTP.
///
/// It is read by itself, because rustls would answer a request with an alert. The session gets it
/// before it reads, so that nothing stays between it and the connection.
pub(crate) async fn accept(
    config: Arc<rustls::ServerConfig>,
    mut io: BoxIo,
) -> io::Result<Accepted> {
    let first = io.read_u8().await?;
    // A method, or the header of a load balancer; TLS begins with the number of a content type, 22.
    if first.is_ascii_alphabetic() || PROXY_HEADER_BYTES.contains(&first) {
        return Ok(Accepted::Cleartext(first, io));
    }
    let feed = |session: &mut rustls::ServerConnection| {
        // A new session has room for it.
        let _ = session.read_tls(&mut &[first][..]);
    };
    let accepting = tokio_rustls::TlsAcceptor::from(config).accept_with(io, feed);
    let tls = accepting.await?;
    let info = TlsInfo::of(tls.get_ref().1);
    Ok(Accepted::Tls(info, Box::new(tls)))
}
