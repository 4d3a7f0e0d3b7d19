//! Reads identities and trusted roots from PEM files.

use std::fmt;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::general;

/// A certificate chain with the private key of its first certificate, presented
/// by a server, or by a client if the server requests it.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Creates an identity from DER: the certificate first, then its
    /// intermediates.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// Reads an identity from the contents of PEM files; both may be the same
    /// file. Keys are accepted in PKCS #8, PKCS #1 or SEC 1 form, unencrypted.
    ///
    /// # Errors
    ///
    /// If there is no certificate or no key, or the PEM is invalid. Whether the
    /// key belongs to the certificate is checked when the identity is used.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, rustls::Error> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => general("the PEM file contains no unencrypted private key"),
            error => general(error),
        })?;
        Ok(Self {
            chain: certificates(chain)?,
            key,
        })
    }

    /// Returns the certificates: the end-entity certificate first, then its
    /// intermediates.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(super) fn into_parts(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain, self.key)
    }

    pub(super) fn certified(
        self,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, rustls::Error> {
        CertifiedKey::from_der(self.chain, self.key, provider)
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Reads trusted roots from the contents of a PEM file with one certificate or
/// more.
///
/// # Errors
///
/// If there is no certificate, or one of them cannot be used as a root.
pub fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(general)?;
    if chain.is_empty() {
        return Err(general("the PEM file contains no certificate"));
    }
    Ok(chain)
}
