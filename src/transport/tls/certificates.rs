//! Several certificates on one port, by the name that a client asks for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::{Identity, general, required_provider};

/// The certificates of a server, chosen by the name that the client asks for
/// (SNI, RFC 6066 §3).
///
/// A certificate is shown for the DNS names in it (subject alternative names,
/// where `*.example.com` stands for one label, RFC 9525 §6.3), an exact name
/// before a wildcard. Two of the same name may differ in the kind of their
/// keys: the first that the client can check is shown. Clients that ask for
/// another name, or for none as they do for addresses, see the
/// [first](Self::new) certificate, unless they are
/// [refused](Self::refuse_unknown).
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
    /// Lower case; `*.` in front of those that stand for one label more.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
    first: Arc<CertifiedKey>,
    refuse_unknown: bool,
}

impl Certificates {
    /// One certificate; it is also for those who ask for no name that is
    /// known.
    ///
    /// # Errors
    ///
    /// If the key is not that of the certificate or of an unknown kind, or
    /// there is no cryptography (see [`provider`](super::provider)).
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

    /// Adds a certificate for its names.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); also if there is no DNS name in it, as it would
    /// never be shown.
    pub fn with(mut self, identity: Identity) -> Result<Self, rustls::Error> {
        let key = identity.certified(&*required_provider()?)?;
        if self.insert(&Arc::new(key))? == 0 {
            return Err(general("the certificate has no DNS name to be shown for"));
        }
        Ok(self)
    }

    /// Fails the handshake of clients that ask for a name that is in no
    /// certificate, or for none.
    #[must_use]
    pub fn refuse_unknown(mut self) -> Self {
        self.refuse_unknown = true;
        self
    }

    /// Returns how many names it has.
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

    /// Those for a name.
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
