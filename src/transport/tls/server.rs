//! Configurations of servers, and their replacement under way.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{Certificates, H2, HTTP1, general, required_provider};

/// Whether a server asks clients for certificates, and whose it takes. What a
/// client showed is in [`TlsInfo`](super::TlsInfo).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientAuth {
    /// It does not ask.
    None,
    /// It asks; clients without are let in, clients whose certificate does not
    /// lead to one of these are not.
    Optional(RootCertStore),
    /// Only clients with a certificate that leads to one of these are let in.
    Required(RootCertStore),
}

/// A server's configuration with rustls' defaults for everything else, on the
/// [`provider`](super::provider)'s cryptography; for
/// [`ServerBuilder::tls`](crate::server::ServerBuilder::tls).
///
/// Revocation lists, session tickets, versions and the like are set in rustls'
/// own configuration. Keys are logged only after
/// `config.key_log = Arc::new(rustls::KeyLogFile::new())`.
///
/// # Errors
///
/// If there is no cryptography, or clients are to be asked and no root is
/// there.
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

/// The TLS configuration of a server, which can be replaced while it serves:
/// new certificates, new roots for clients, anything.
///
/// All clones share it. ALPN `h2` and `http/1.1` are offered unless a
/// configuration names its own.
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
/// // Later, such as on a signal; if the new files are bad, the old stay in use.
/// match config() {
///     Ok(config) => tls.replace(config),
///     Err(error) => eprintln!("certificates not reloaded: {error}"),
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Arc<ServerConfig>>>);

impl ServerTls {
    /// A configuration to begin with.
    #[must_use]
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(RwLock::new(with_alpn(config.into()))))
    }

    /// Takes `config` for the handshakes that begin from now on. Open
    /// connections and their sockets go on as they are. Sessions that were
    /// begun under the old configuration are not resumed, as each keeps its
    /// own: who is no longer trusted has to shake hands anew.
    pub fn replace(&self, config: impl Into<Arc<ServerConfig>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = with_alpn(config.into());
    }

    /// The configuration in use.
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
