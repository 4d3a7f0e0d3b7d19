//! The client's certificate, which the upstream learns from `Client-Cert` and
//! `Client-Cert-Chain` (RFC 9440).
//!
//! **The rule.** An upstream that reads these fields believes them like a TLS
//! handshake of its own. So those of clients are always removed, however they are
//! spelled (RFC 9440 §4): from every request, whether or not the route writes them,
//! also if the route trusts forwarding fields, because few proxies remove these. The
//! fields in a request to an upstream are from the TLS handshake of this bridge.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;

use super::spellings::remove_spellings;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// What a bridge reports to an upstream of the certificate that the client presented
/// in TLS (RFC 9440).
///
/// The server in front must request certificates
/// ([`ClientAuth`](crate::tls::ClientAuth)); without one the upstream gets no field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCert {
    /// Nothing.
    #[default]
    Off,
    /// The certificate, in `Client-Cert`.
    Leaf,
    /// Also the other certificates that the client sent, in `Client-Cert-Chain`. They
    /// are not verified as far as they are not part of the path to the authority.
    Chain,
}

/// What a client presented, and what is reported of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presented<'a> {
    pub(super) reported: ClientCert,
    pub(super) certificates: &'a [CertificateDer<'static>],
}

/// Removes the client's fields, and writes what is reported.
pub(super) fn rewrite(fields: &mut HeaderMap, presented: Presented<'_>) {
    remove_spellings(fields, &[&CLIENT_CERT, &CLIENT_CERT_CHAIN]);
    let Some((leaf, others)) = presented.certificates.split_first() else {
        return;
    };
    if presented.reported == ClientCert::Off {
        return;
    }
    let mut write = |name, value: String| {
        if let Ok(mut value) = HeaderValue::try_from(value) {
            // Each client has another one, which would only displace other fields from
            // the HPACK table of a shared connection.
            value.set_sensitive(true);
            fields.insert(name, value);
        }
    };
    write(CLIENT_CERT, byte_sequence(leaf));
    if presented.reported == ClientCert::Chain && !others.is_empty() {
        let others: Vec<_> = others.iter().map(byte_sequence).collect();
        write(CLIENT_CERT_CHAIN, others.join(", "));
    }
}

/// Formats a byte sequence of structured fields (RFC 8941 §3.3.5).
fn byte_sequence(certificate: &CertificateDer<'static>) -> String {
    format!(":{}:", STANDARD.encode(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged() -> HeaderMap {
        let names = ["client-cert", "client_cert", "client-cert-chain", "x-other"];
        let field = |name| (HeaderName::from_static(name), "forged".parse().unwrap());
        names.into_iter().map(field).collect()
    }

    #[test]
    fn only_what_the_client_presented_is_reported() {
        let certificates = [&[1, 2, 3][..], &[4], &[0xfb, 0xff]].map(CertificateDer::from);
        let presented = |reported, certificates| Presented {
            reported,
            certificates,
        };
        for (presented, leaf, chain) in [
            (presented(ClientCert::Off, &certificates[..]), None, None),
            (presented(ClientCert::Leaf, &[]), None, None),
            (presented(ClientCert::Chain, &[]), None, None),
            (
                presented(ClientCert::Leaf, &certificates),
                Some(":AQID:"),
                None,
            ),
            (
                presented(ClientCert::Chain, &certificates),
                Some(":AQID:"),
                Some(":BA==:, :+/8=:"),
            ),
            (
                presented(ClientCert::Chain, &certificates[..1]),
                Some(":AQID:"),
                None,
            ),
        ] {
            let mut fields = forged();
            fields.append("client-cert", HeaderValue::from_static("forged again"));
            rewrite(&mut fields, presented);
            let field = |name| fields.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(field("client-cert"), leaf, "{presented:?}");
            assert_eq!(field("client-cert-chain"), chain, "{presented:?}");
            assert_eq!(field("client_cert"), None);
            assert_eq!(field("x-other"), Some("forged"));
        }
    }
}
