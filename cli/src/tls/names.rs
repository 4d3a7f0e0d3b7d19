//! The names that a certificate is for.

use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The subject alternative names of a certificate. Clients ignore the common name.
#[derive(Debug)]
pub(crate) struct Names {
    /// In lower case; the first label may be `*`.
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// Returns the names of the first certificate in a PEM file, which is the server's.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        Self::of_der(&CertificateDer::from_pem_file(file).ok()?)
    }

    fn of_der(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = Self {
            hosts: Vec::new(),
            addresses: Vec::new(),
        };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return Some(names);
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(host) => names.hosts.push(host.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => {
                    let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    let address = address.or(<[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                    names.addresses.extend(address.ok());
                }
                _ => {}
            }
        }
        Some(names)
    }

    /// Whether the certificate is for a host, or for one of the hosts of a pattern such as
    /// `*.example.com`.
    pub(crate) fn cover(&self, host: &str) -> bool {
        let address = host.trim_matches(['[', ']']).parse();
        if let Ok(address) = address {
            return self.addresses.contains(&address);
        }
        let host = host.to_ascii_lowercase();
        self.hosts.iter().any(|name| {
            if *name == host {
                return true;
            }
            match (name.strip_prefix("*."), host.strip_prefix("*.")) {
                // A `*` stands for one label (RFC 9525 §6.3).
                (Some(name), None) => host.split_once('.').is_some_and(|(_, rest)| rest == name),
                (_, Some(pattern)) => {
                    let label = name.strip_suffix(pattern);
                    label.is_some_and(|label| label.ends_with('.'))
                }
                (None, None) => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_covers_its_names_and_those_of_its_wildcards() {
        let names = ["A.example", "*.b.example", "192.0.2.1", "::1"];
        let made = rcgen::generate_simple_self_signed(names.map(str::to_owned));
        let names = Names::of_der(made.expect("a pair").cert.der()).expect("parsed");
        for (host, expected) in [
            ("a.example", true),
            ("A.EXAMPLE", true),
            ("x.a.example", false),
            ("b.example", false),
            ("x.b.example", true),
            ("x.y.b.example", false),
            ("*.b.example", true),
            ("*.a.example", false),
            // Some of the hosts.
            ("*.example", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("[::1]", true),
        ] {
            assert_eq!(names.cover(host), expected, "{host}");
        }
    }
}
