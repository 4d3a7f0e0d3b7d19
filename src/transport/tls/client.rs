//! Configurations of clients.

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::{Identity, required_provider};

/// Which servers a client trusts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// Those that the operating system trusts.
    Platform,
    /// Those with a certificate that leads to one of these, and no others.
    Only(RootCertStore),
}

/// A client's configuration with rustls' defaults for everything else, on the
/// [`provider`](super::provider)'s cryptography; for
/// [`ClientBuilder::tls`](crate::client::ClientBuilder::tls). The `identity` is shown to
/// servers that ask for a certificate.
///
/// What it does not offer is rustls' own: keys are written to the file that
/// `SSLKEYLOGFILE` names, for one, after
/// `config.key_log = Arc::new(rustls::KeyLogFile::new())` and not before.
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
/// If there is no cryptography, the operating system trusts nobody, or the
/// identity's key is not that of its certificate.
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
