//! Several certificates on one port, selected by the server name that a client
//! requests.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::{Identity, general, required_provider};

/// The certificates of a server, selected by the name that the client requests
/// (SNI, RFC 6066 §3).
///
/// A certificate is used for the DNS names in it (subject alternative names,
/// where the `*` of `*.example.com` stands for one label, RFC 9525 §6.3); an
/// exact name takes precedence over a wildcard. Several certificates for one
/// name may have different kinds of keys: the first that the client supports
/// is used. Clients that request another name, or none, as for IP addresses,
/// get the [first](Self::new) certificate, unless
/// [`refuse_unknown`](Self::refuse_unknown) rejects them.
///
/// ```
/// # let made = rcgen::generate_simple_self_signed(["one.example".to_owned()])?;
/// # let one = h2ws::tls::Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())?;
/// # let two = one.clone();
/// use h2ws::Server;
/// use h2ws::tls::{self, Certificates, ClientAuth};
///
/// let certificates = Certificates::new(one)?.with(two)?;
/// let config = tls::server_config(certificates, ClientAuth::None)?;
/// let server = Server::builder().tls(config);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Certificates {
    /// By name, in lower case; wildcards begin with `*.`.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
    first: Arc<CertifiedKey>,
    refuse_unknown: bool,
}

impl Certificates {
    /// Creates a set of one certificate, which is also the default for clients
    /// that request an unknown name or none.
    ///
    /// # Errors
    ///
    /// If the key does not belong to the certificate or is of an unknown kind,
    /// or there is no cryptography [`provider`](super::provider).
    pub fn new(identity: Identity) -> Result<Self, rustls::Error> {
        let first = Arc::new(identity.certified(&*required_provider()?)?);
        let mut certificates = Self {
            named: HashMap::new(),
            first: first.clone(),
            refuse_unknown: false,
        };
        certificates.insert(&first)?;
        Ok(certificates)
    }

    /// Adds a certificate for the DNS names in it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); also if the certificate contains no DNS name,
    /// since it would never be used.
    pub fn with(mut self, identity: Identity) -> Result<Self, rustls::Error> {
        let key = identity.certified(&*required_provider()?)?;
        if self.insert(&Arc::new(key))? == 0 {
            return Err(general(
                "the certificate contains no DNS name and would never be used",
            ));
        }
        Ok(self)
    }

    /// Rejects the TLS handshake of clients that request a name that no
    /// certificate covers, or no name at all.
    #[must_use]
    pub fn refuse_unknown(mut self) -> Self {
        self.refuse_unknown = true;
        self
    }

    /// Adds a certificate under its DNS names and returns their number.
    fn insert(&mut self, key: &Arc<CertifiedKey>) -> Result<usize, rustls::Error> {
        let certificate = EndEntityCert::try_from(key.end_entity_cert()?).map_err(general)?;
        let mut names = 0;
        for name in certificate.valid_dns_names() {
            let keys = self.named.entry(name.to_ascii_lowercase()).or_default();
            keys.push(key.clone());
            names += 1;
        }
        Ok(names)
    }

    /// Returns the certificates for a name.
    fn of(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let exact = self.named.get(&name);
        let keys = exact.or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.named.get(&format!("*.{parent}"))
        });
        keys.map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(keys) = hello.server_name().and_then(|name| self.of(name)) else {
            return (!self.refuse_unknown).then(|| self.first.clone());
        };
        let schemes = hello.signature_schemes();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        keys.iter().find(fits).or(keys.first()).cloned()
    }
}
