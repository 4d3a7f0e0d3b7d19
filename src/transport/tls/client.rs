//! TLS configurations of clients.

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::{Identity, required_provider};

/// Which servers a client trusts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// Servers that the operating system trusts.
    Platform,
    /// Only servers whose certificate chains to one of these roots.
    Only(RootCertStore),
}

/// Builds a client's configuration with the defaults of rustls and the
/// cryptography of [`provider`](super::provider), for
/// [`ClientBuilder::tls`](crate::client::ClientBuilder::tls). The `identity` is
/// presented to servers that request a certificate.
///
/// Everything else is set on the returned rustls configuration. For instance,
/// session keys are written to the file that `SSLKEYLOGFILE` names only after
/// `config.key_log = Arc::new(rustls::KeyLogFile::new())`.
///
/// ```
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let pem = made.cert.pem();
/// use h2ws::Client;
/// use h2ws::tls::{self, Trust};
///
/// let roots = tls::roots_from_pem(pem.as_bytes())?;
/// let config = tls::client_config(Trust::Only(roots), None)?;
/// let client = Client::builder().tls(config).build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If there is no cryptography provider, the operating system has no trusted
/// roots, or the identity's key does not belong to its certificate.
pub fn client_config(
    trust: Trust,
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(required_provider()?)
        .with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Platform => builder.with_platform_verifier()?,
        Trust::Only(roots) => builder.with_root_certificates(roots),
    };
    match identity {
        Some(identity) => {
            let (chain, key) = identity.into_parts();
            builder.with_client_auth_cert(chain, key)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}
