//! What a client shows to a server that asks for its certificate.

use std::sync::Arc;

use h2ws::tls::{self, Trust};
use h2ws::{Client, Error, WebSocket};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::tls::Authority;
use crate::support::{client, h2peer, with_causes, within};

/// The `h2` crate on a plain rustls server, which asks for a certificate of
/// `authority`, and a client of ours that has one or not. Gives what either
/// saw.
async fn asked(authority: &Authority, shows: bool) -> (Option<Vec<u8>>, Result<WebSocket, Error>) {
    let provider = tls::provider().unwrap();
    let roots = Arc::new(authority.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![made.cert.der().clone()], key.try_into().unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());

    let trust = Trust::Only(tls::roots_from_pem(made.cert.pem().as_bytes()).unwrap());
    let identity = shows.then(|| authority.sign(&["me"]));
    let expected = identity.as_ref().map(|identity| identity.chain().to_vec());
    let config_of_client = tls::client_config(trust, identity).unwrap();
    let ours = Client::builder().tls(config_of_client).build().unwrap();
    let served = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.ok()?;
        let chain = tls.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        assert_eq!(chain, expected);
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        tokio::spawn(h2peer::serve(tls, builder, |request, respond| {
            tokio::spawn(h2peer::echo(request, respond));
        }));
        Some(chain?[0].to_vec())
    };
    within(async { tokio::join!(served, ours.connect(&url)) }).await
}

/// The certificate is shown, and its chain is what was configured.
#[tokio::test]
async fn a_client_shows_its_certificate() {
    let (seen, socket) = asked(&Authority::new(), true).await;
    assert!(seen.is_some());
    let mut socket = socket.unwrap();
    client::echo(&mut socket, "in").await;
}

/// Without one the error says what was missing: in TLS 1.3 the server's alert
/// comes when the handshake is over for the client (RFC 8446 §4.4.2.4).
#[tokio::test]
async fn a_client_without_a_certificate_is_told_so() {
    let (seen, socket) = asked(&Authority::new(), false).await;
    assert_eq!(seen, None);
    let error = with_causes(&socket.expect_err("no socket"));
    assert!(error.contains("CertificateRequired"), "{error}");
}
