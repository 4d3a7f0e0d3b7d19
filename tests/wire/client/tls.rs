//! The certificate that a client presents to a server that requests one.

use std::sync::Arc;

use h2ws::tls::{self, Trust};
use h2ws::{Client, Error, WebSocket};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::tls::Authority;
use crate::support::{client, h2peer, with_causes, within};

/// Connects an h2ws client, with a certificate or without, to the `h2` crate on a plain
/// rustls server that requests a certificate issued by `authority`. Returns the
/// certificate that the server received, and the client's result.
async fn connect(
    authority: &Authority,
    presents: bool,
) -> (Option<Vec<u8>>, Result<WebSocket, Error>) {
    let provider = tls::provider().unwrap();
    let roots = Arc::new(authority.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let server_identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = server_identity.signing_key.serialize_der();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![server_identity.cert.der().clone()],
            key.try_into().unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());

    let trust = Trust::Only(tls::roots_from_pem(server_identity.cert.pem().as_bytes()).unwrap());
    let identity = presents.then(|| authority.sign(&["me"]));
    let expected = identity.as_ref().map(|identity| identity.chain().to_vec());
    let client_tls = tls::client_config(trust, identity).unwrap();
    let ours = Client::builder().tls(client_tls).build().unwrap();
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

/// The server receives the certificate with the configured chain.
#[tokio::test]
async fn a_client_presents_its_certificate() {
    let (seen, socket) = connect(&Authority::new(), true).await;
    assert!(seen.is_some());
    let mut socket = socket.unwrap();
    client::echo(&mut socket, "in").await;
}

/// Without a certificate, the error says what was missing: in TLS 1.3 the server's alert
/// arrives after the client has completed the handshake (RFC 8446 §4.4.2.4).
#[tokio::test]
async fn a_missing_client_certificate_is_reported() {
    let (seen, socket) = connect(&Authority::new(), false).await;
    assert_eq!(seen, None);
    let error = with_causes(&socket.expect_err("no socket"));
    assert!(error.contains("CertificateRequired"), "{error}");
}
