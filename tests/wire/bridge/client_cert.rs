//! What upstreams learn of the client's certificate (RFC 9440).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use h2ws::bridge::{Bridge, ClientCert};
use h2ws::tls::{self, Certificates, ClientAuth, ServerTls, Trust};
use h2ws::{HttpVersion, Server};

use crate::support::bridge::{Bridging, to};
use crate::support::tls::{Authority, connect};
use crate::support::ways::{WAYS, dump};

/// What a client sends to appear to have presented a certificate.
const FORGED: [(&str, &str); 3] = [
    ("client-cert", ":AQID:"),
    ("client_cert", ":AQID:"),
    ("client-cert-chain", ":AQID:"),
];

/// Runs a bridge that asks its clients for certificates.
async fn bridging(bridge: &Bridge, authority: &Authority) -> Bridging {
    let certificates = Certificates::new(authority.sign(&["a.test"])).unwrap();
    let clients = ClientAuth::Optional(authority.roots());
    let config = tls::server_config(certificates, clients).unwrap();
    let server = Server::builder().tls(ServerTls::new(config));
    Bridging::behind(server, bridge, Duration::from_secs(600)).await
}

#[tokio::test]
async fn the_upstream_gets_the_presented_certificate_and_never_a_forged_one() {
    let authority = Authority::new();
    let client_id = authority.sign_with_chain(&["me"]);
    let byte_sequence = |at: usize| format!(":{}:", STANDARD.encode(&client_id.chain()[at]));
    let addr = dump().await;
    for (reported, has_leaf, has_chain) in [
        (ClientCert::Off, false, false),
        (ClientCert::Leaf, true, false),
        (ClientCert::Chain, true, true),
    ] {
        for upstream in [HttpVersion::Http1, HttpVersion::Http2] {
            // Unlike forwarding fields, a load balancer may not send these.
            let builder = to("ws", addr, upstream).trust_forwarded(true);
            let bridge = builder.client_cert(reported).build().unwrap();
            let bridging = bridging(&bridge, &authority).await;
            for way in WAYS {
                let alpn: &[u8] = match way.version {
                    HttpVersion::Http2 => b"h2",
                    _ => b"http/1.1",
                };
                for identity in [None, Some(client_id.clone())] {
                    let presents = identity.is_some();
                    let trust = Trust::Only(authority.roots());
                    let config = tls::client_config(trust, identity).unwrap();
                    let io = connect(bridging.addr, "a.test", alpn, config)
                        .await
                        .unwrap();
                    let answer = way.ask_over(io, "/", &FORGED).await;
                    let leaf = (presents && has_leaf).then(|| byte_sequence(0));
                    let chain = (presents && has_chain).then(|| byte_sequence(1));
                    let case = format!("{way:?} {reported:?} {presents}");
                    assert_eq!(answer.received("client-cert"), leaf.as_deref(), "{case}");
                    let received = answer.received("client-cert-chain");
                    assert_eq!(received, chain.as_deref(), "{case}");
                    assert_eq!(answer.received("client_cert"), None, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn forged_certificates_are_dropped_without_tls() {
    let addr = dump().await;
    for reported in [ClientCert::Off, ClientCert::Chain] {
        let builder = to("ws", addr, HttpVersion::Http1).client_cert(reported);
        let bridging = Bridging::start(builder).await;
        for way in WAYS {
            let answer = way.ask(bridging.addr, "/", &FORGED).await;
            for (name, _) in FORGED {
                assert_eq!(answer.received(name), None, "{way:?}");
            }
        }
    }
}
