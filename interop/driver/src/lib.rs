//! Code that the programs of the interoperability tests share.

use std::path::Path;
use std::sync::Arc;

use h2ws::handshake::DeflateConfig;
use h2ws::handshake::deflate::WindowBits;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub mod echo;
pub mod messages;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Parses parameters of permessage-deflate (RFC 7692 §7.1) as `NAME&NAME=VALUE`, from a query or an
/// argument. The name `deflate` stands for the default parameters.
pub fn deflate(text: &str) -> Result<DeflateConfig, Failure> {
    let mut config = DeflateConfig::default();
    for parameter in text.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let bits = || {
            let bits = value.parse().ok().and_then(WindowBits::new);
            bits.ok_or_else(|| format!("invalid window bits: {parameter}"))
        };
        match name {
            "server_no_context_takeover" => config.server_no_context_takeover = true,
            "client_no_context_takeover" => config.client_no_context_takeover = true,
            "server_max_window_bits" => config.server_max_window_bits = bits()?,
            "client_max_window_bits" => config.client_max_window_bits = bits()?,
            "deflate" => {}
            _ => {
                return Err(format!("unknown parameter of permessage-deflate: {parameter}").into());
            }
        }
    }
    Ok(config)
}

/// Returns the configuration of a client that trusts only this certificate.
pub fn trusting(cert: &Path) -> Result<rustls::ClientConfig, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    Ok(rustls::ClientConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Returns the configuration of a server with this certificate and key.
pub fn identity(cert: &Path, key: &Path) -> Result<rustls::ServerConfig, Failure> {
    let chain = vec![CertificateDer::from_pem_file(cert)?];
    Ok(rustls::ServerConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?)
}

fn ring() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
