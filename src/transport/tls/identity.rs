//! What is read from PEM files: identities, and whom to trust.

use std::fmt;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::general;

/// A certificate chain with the private key of its first certificate: what a
/// server shows, or a client that is asked.
///
/// ```
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
/// use h2ws::tls::Identity;
///
/// let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes())?;
/// assert_eq!(identity.chain().len(), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From DER: the certificate first, then those that lead to a root.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// From the contents of PEM files, which may be the same one. Keys are in
    /// PKCS #8, PKCS #1 or SEC 1 form, and not encrypted.
    ///
    /// # Errors
    ///
    /// If there is no certificate or no key, or something is no PEM. That they
    /// belong together is checked where they are put to use.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, rustls::Error> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => general("no private key in it"),
            error => general(error),
        })?;
        Ok(Self {
            chain: certificates(chain)?,
            key,
        })
    }

    /// The certificates, the own one first.
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

/// Whom to trust, from the contents of a PEM file with one certificate or
/// more.
///
/// # Errors
///
/// If there is none, or one cannot be used as a root.
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
        return Err(general("no certificate in it"));
    }
    Ok(chain)
}
