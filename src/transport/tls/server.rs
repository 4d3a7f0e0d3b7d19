//! TLS configurations of servers, and their replacement at run time.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{Certificates, H2, HTTP1, general, required_provider};

/// Whether a server requests client certificates, and which ones it accepts.
/// [`TlsInfo`](super::TlsInfo) has the certificate of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientAuth {
    /// Requests no certificate.
    None,
    /// Requests a certificate. Clients without one are accepted; clients whose
    /// certificate does not chain to one of these roots are rejected.
    Optional(RootCertStore),
    /// Accepts only clients with a certificate that chains to one of these
    /// roots.
    Required(RootCertStore),
}

/// Builds a server's configuration with the defaults of rustls and the
/// cryptography of [`provider`](super::provider), for
/// [`ServerBuilder::tls`](crate::server::ServerBuilder::tls).
///
/// Revocation lists, session tickets, protocol versions and the like are set on
/// the returned rustls configuration. Session keys are logged only after
/// `config.key_log = Arc::new(rustls::KeyLogFile::new())`.
///
/// # Errors
///
/// If there is no cryptography provider, or client certificates are requested
/// without any root.
pub fn server_config(
    certificates: Certificates,
    clients: ClientAuth,
) -> Result<ServerConfig, rustls::Error> {
    let provider = required_provider()?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let verifier = |roots| WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(roots) => {
            let verifier = verifier(roots).allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(general)?)
        }
        ClientAuth::Required(roots) => {
            let verifier = verifier(roots).build();
            builder.with_client_cert_verifier(verifier.map_err(general)?)
        }
    };
    Ok(builder.with_cert_resolver(Arc::new(certificates)))
}

/// The TLS configuration of a server, which can be replaced at run time, for
/// instance with new certificates or client roots.
///
/// Clones share the configuration. ALPN `h2` and `http/1.1` are offered unless
/// a configuration names its own protocols.
///
/// ```
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let read = || h2ws::tls::Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes());
/// use h2ws::Server;
/// use h2ws::tls::{self, Certificates, ClientAuth, ServerTls};
///
/// let config = || -> Result<_, rustls::Error> {
///     tls::server_config(Certificates::new(read()?)?, ClientAuth::None)
/// };
/// let tls = ServerTls::new(config()?);
/// let server = Server::builder().tls(tls.clone());
/// // Later, such as on a signal. If the new files are invalid, the old ones stay in use.
/// match config() {
///     Ok(config) => tls.replace(config),
///     Err(error) => eprintln!("certificates not reloaded: {error}"),
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Arc<ServerConfig>>>);

impl ServerTls {
    /// Creates a handle with an initial configuration.
    #[must_use]
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(RwLock::new(with_alpn(config.into()))))
    }

    /// Uses `config` for all handshakes that begin from now on. Open
    /// connections and their WebSockets are not affected. Sessions that were
    /// established under the old configuration are not resumed, because each
    /// configuration has its own session store; so a client that is no longer
    /// trusted cannot reconnect by resumption.
    pub fn replace(&self, config: impl Into<Arc<ServerConfig>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = with_alpn(config.into());
    }

    /// Returns the current configuration.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }
}

fn with_alpn(mut config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.alpn_protocols.is_empty() {
        Arc::make_mut(&mut config).alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    }
    config
}

impl From<ServerConfig> for ServerTls {
    fn from(config: ServerConfig) -> Self {
        Self::new(config)
    }
}

impl From<Arc<ServerConfig>> for ServerTls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self::new(config)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}
