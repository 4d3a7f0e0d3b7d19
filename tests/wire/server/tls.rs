//! Server and client certificates: which one the server presents, which ones it
//! requires of clients, and how they are replaced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use h2ws::server::{Body, Peer};
use h2ws::tls::{self, Certificates, ClientAuth, Identity, ServerTls, TlsInfo, Trust};
use h2ws::{Client, HttpVersion, Message, Server};
use http::{Request, Response};
use http_body_util::Full;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_service::Service;

use crate::support::server::{self, Running};
use crate::support::tls::{Authority, connect};
use crate::support::{h2peer, within};

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Describes a session: the server name, the protocol and the client certificate.
fn description(tls: &TlsInfo) -> String {
    let alpn = tls.alpn().map(String::from_utf8_lossy);
    let certificates = tls.client_certificates();
    format!(
        "{} {} {:02x?}",
        tls.server_name().unwrap_or("-"),
        alpn.unwrap_or_default(),
        certificates.first().map(AsRef::<[u8]>::as_ref)
    )
}

/// Starts an echo server that sends a description of the session as the first
/// message of each socket and as the response to each plain HTTP request.
async fn serve_description(config: impl Into<ServerTls>) -> Running {
    let pages = Pages(|request: &Request<Body>| {
        let peer = request.extensions().get::<Peer>().expect("a peer");
        assert!(peer.addr().ip().is_loopback());
        description(peer.tls().expect("TLS"))
    });
    let server = Server::builder().tls(config).bind("127.0.0.1:0");
    server::run(server.await.unwrap(), |server, ended| {
        server
            .serve(move |upgrade| {
                let ended = ended.clone();
                async move {
                    assert!(upgrade.is_secure());
                    let description = description(upgrade.tls().expect("TLS"));
                    let mut ws = upgrade.accept().await.unwrap();
                    ws.send(Message::text(description)).await.unwrap();
                    let _ = ended.send(server::echo_socket(ws, "/".to_owned()).await);
                }
            })
            .fallback(pages)
    })
}

/// A service that responds with a text made from the request.
#[derive(Clone)]
struct Pages<F>(F);

impl<F: Fn(&Request<Body>) -> String> Service<Request<Body>> for Pages<F> {
    type Response = Response<Full<Bytes>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(Full::from((self.0)(&request)))))
    }
}

fn client(trust: &Authority, identity: Option<Identity>) -> ClientConfig {
    tls::client_config(Trust::Only(trust.roots()), identity).unwrap()
}

fn server_config(certificates: Certificates, clients: ClientAuth) -> rustls::ServerConfig {
    tls::server_config(certificates, clients).unwrap()
}

/// Sends a plain HTTP request over HTTP/1.1 and returns the body of the response. A
/// response proves that the server accepted the client, because in TLS 1.3 the
/// client's handshake completes before the server verifies its certificate.
async fn page(addr: SocketAddr, name: &str, config: &ClientConfig) -> std::io::Result<String> {
    let mut io = connect(addr, name, HTTP1, config.clone()).await?;
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    within(io.write_all(request.as_bytes())).await?;
    let mut answer = String::new();
    within(io.read_to_string(&mut answer)).await?;
    Ok(answer
        .split("\r\n\r\n")
        .nth(1)
        .unwrap_or_default()
        .to_owned())
}

async fn is_rejected(addr: SocketAddr, config: &ClientConfig) -> bool {
    let error = page(addr, "one.test", config).await.err();
    // Either the alert, or the end of the connection if that arrives first.
    error.is_some()
}

/// Returns the certificate that the server presents for `name`.
async fn presented(addr: SocketAddr, name: &str) -> std::io::Result<CertificateDer<'static>> {
    let algorithms = tls::provider().unwrap().signature_verification_algorithms;
    presented_to(AnyCertificate(algorithms.supported_schemes()), addr, name).await
}

/// As [`presented`], to a client with this verifier.
async fn presented_to(
    verifier: AnyCertificate,
    addr: SocketAddr,
    name: &str,
) -> std::io::Result<CertificateDer<'static>> {
    let config = ClientConfig::builder_with_provider(tls::provider().unwrap())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let session = connect(addr, name, H2, config).await?;
    let chain = session.get_ref().1.peer_certificates();
    Ok(chain.unwrap()[0].clone().into_owned())
}

/// A verifier that accepts any certificate, because the test looks at which one the
/// server presents. It offers these signature schemes.
#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Handlers and services see the client's certificate, the requested server name and
/// the protocol, over HTTP/1.1 and HTTP/2.
#[tokio::test]
async fn a_client_certificate_reaches_the_application() {
    let authority = Authority::new();
    let (server, client_id) = (authority.sign(&["one.test"]), authority.sign(&["me"]));
    let certificates = Certificates::new(server).unwrap();
    let config = server_config(certificates, ClientAuth::Required(authority.roots()));
    let server = serve_description(config).await;
    let config = client(&authority, Some(client_id.clone()));
    let known = |alpn| format!("one.test {alpn} {:02x?}", Some(&*client_id.chain()[0]));

    let page = page(server.addr, "one.test", &config).await.unwrap();
    assert_eq!(page, known("http/1.1"));

    let io = connect(server.addr, "one.test", H2, config).await.unwrap();
    let peer = h2peer::over(io).await;
    let request = Request::builder()
        .uri("https://one.test/")
        .body(())
        .unwrap();
    let (response, _) = h2peer::ask(&peer, request, true).await;
    let body = h2peer::body(response.into_body()).await;
    assert_eq!(String::from_utf8(body).unwrap(), known("h2"));

    let request = h2peer::websocket("https://one.test/");
    let (response, _stream) = h2peer::ask(&peer, request, false).await;
    let mut recv = response.into_body();
    let mut parser = crate::support::frames::Parser::default();
    let first = loop {
        parser.push(&within(recv.data()).await.unwrap().unwrap());
        if let Some(frame) = parser.pop() {
            break frame;
        }
    };
    assert_eq!(String::from_utf8(first.payload).unwrap(), known("h2"));
}

/// `ClientAuth::Required` rejects clients without a certificate and those with one of
/// another authority. `ClientAuth::Optional` rejects only the latter.
#[tokio::test]
async fn clients_without_a_trusted_certificate_are_rejected() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (none, wrong) = (None, Some(other.sign(&["me"])));
    let right = Some(authority.sign(&["me"]));
    let certificates = Certificates::new(authority.sign(&["one.test"])).unwrap();
    let roots = authority.roots();
    for (auth, accepted) in [
        (ClientAuth::None, [true, true, true]),
        (ClientAuth::Optional(roots.clone()), [true, false, true]),
        (ClientAuth::Required(roots), [false, false, true]),
    ] {
        let server = serve_description(server_config(certificates.clone(), auth.clone())).await;
        for (identity, expected) in [&none, &wrong, &right].into_iter().zip(accepted) {
            let config = client(&authority, identity.clone());
            let rejected = is_rejected(server.addr, &config).await;
            assert_eq!(rejected, !expected, "{auth:?} {identity:?}");
        }
    }
}

/// RFC 6066 §3, RFC 9525 §6.3: the certificate is selected by server name, and a
/// wildcard covers one label. Unknown names get the first certificate, or fail the
/// handshake with `refuse_unknown`.
#[tokio::test]
async fn certificates_are_selected_by_name() {
    let authority = Authority::new();
    let first = authority.sign(&["one.test", "localhost"]);
    let second = authority.sign(&["Two.test", "*.two.test"]);
    let exact = authority.sign(&["exact.two.test"]);
    let certificates = Certificates::new(first.clone())
        .and_then(|certificates| certificates.with(second.clone()))
        .and_then(|certificates| certificates.with(exact.clone()))
        .unwrap();
    let strict = certificates.clone().refuse_unknown();
    let server = serve_description(server_config(certificates, ClientAuth::None)).await;
    let strict = serve_description(server_config(strict, ClientAuth::None)).await;
    for (name, expected, known) in [
        ("one.test", &first, true),
        ("ONE.test", &first, true),
        ("two.test", &second, true),
        ("a.two.test", &second, true),
        ("exact.two.test", &exact, true),
        ("a.b.two.test", &first, false),
        ("unknown.test", &first, false),
        ("127.0.0.1", &first, false),
    ] {
        let got = presented(server.addr, name).await.unwrap();
        assert_eq!(got, expected.chain()[0], "{name}");
        let got = presented(strict.addr, name).await.ok();
        assert_eq!(got, known.then(|| expected.chain()[0].clone()), "{name}");
    }
}

/// Of two certificates for one name, the server presents the one whose signature
/// scheme the client supports.
#[tokio::test]
async fn certificates_are_selected_by_signature_scheme() {
    let authority = Authority::new();
    let ecdsa = authority.sign(&["one.test"]);
    let ed25519 = authority.sign_as(&["one.test"], &rcgen::PKCS_ED25519);
    let certificates = Certificates::new(ecdsa.clone()).unwrap();
    let certificates = certificates.with(ed25519.clone()).unwrap();
    let server = serve_description(server_config(certificates, ClientAuth::None)).await;

    for (scheme, expected) in [
        (SignatureScheme::ED25519, &ed25519),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &ecdsa),
    ] {
        let verifier = AnyCertificate(vec![scheme]);
        let got = presented_to(verifier, server.addr, "one.test")
            .await
            .unwrap();
        assert_eq!(got, expected.chain()[0], "{scheme:?}");
    }
}

/// New handshakes get the new certificate, and open sockets are kept.
#[tokio::test]
async fn replacing_certificates_keeps_open_sockets() {
    let authority = Authority::new();
    let (old, new) = (
        authority.sign(&["localhost"]),
        authority.sign(&["localhost"]),
    );
    let config = |identity: &Identity| {
        let certificates = Certificates::new(identity.clone()).unwrap();
        server_config(certificates, ClientAuth::None)
    };
    let tls = ServerTls::new(config(&old));
    let server = serve_description(tls.clone()).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    for version in [HttpVersion::Http2, HttpVersion::Http1] {
        tls.replace(config(&old));
        let builder = Client::builder().tls(client(&authority, None));
        let client = builder.version(version).build().unwrap();
        let mut socket = within(client.connect(&url)).await.unwrap();
        within(socket.next()).await.unwrap().unwrap();
        assert_eq!(
            presented(server.addr, "localhost").await.unwrap(),
            old.chain()[0]
        );
        tls.replace(config(&new));
        assert_eq!(
            presented(server.addr, "localhost").await.unwrap(),
            new.chain()[0]
        );
        crate::support::client::echo(&mut socket, "still open").await;
        within(socket.close(None)).await.unwrap();
    }
}

/// A client that is no longer trusted cannot connect by resuming an earlier session
/// (RFC 8446 §2.2).
#[tokio::test]
async fn a_replaced_configuration_does_not_resume_sessions() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.sign(&["one.test"]);
    let config = |roots: &Authority| {
        let certificates = Certificates::new(identity.clone()).unwrap();
        server_config(certificates, ClientAuth::Required(roots.roots()))
    };
    let tls = ServerTls::new(config(&authority));
    let server = serve_description(tls.clone()).await;
    let client = client(&authority, Some(authority.sign(&["me"])));
    let resumed = async || {
        let session = connect(server.addr, "one.test", HTTP1, client.clone()).await;
        let mut session = session.unwrap();
        // Session tickets arrive after the handshake.
        within(session.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
            .await
            .unwrap();
        let answered = within(session.read_to_end(&mut Vec::new())).await.is_ok();
        (
            answered,
            session.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
        )
    };
    assert_eq!(resumed().await, (true, false));
    assert_eq!(
        resumed().await,
        (true, true),
        "expected the session to be resumed"
    );
    tls.replace(config(&other));
    assert_eq!(resumed().await, (false, false));
}

/// Invalid certificates and keys are reported when they are configured, not by
/// failing handshakes.
#[test]
fn invalid_identities_are_errors() {
    let authority = Authority::new();
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let read = |cert: &str, key: &str| Identity::from_pem(cert.as_bytes(), key.as_bytes());
    let both = cert.clone() + &key;
    assert!(read(&both, &both).is_ok(), "one file may have both");
    for (cert, key, says) in [
        ("", &*key, "no certificate"),
        (&key, &key, "no certificate"),
        (&cert, "", "no unencrypted private key"),
        (&cert, &cert, "no unencrypted private key"),
        (&cert[..cert.len() - 40], &key, "missing section end"),
    ] {
        let error = read(cert, key).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let mismatched = read(&cert, &other.signing_key.serialize_pem()).unwrap();
    assert!(Certificates::new(mismatched.clone()).is_err());
    assert!(tls::client_config(Trust::Only(authority.roots()), Some(mismatched)).is_err());
    let nameless = Certificates::new(authority.sign(&["127.0.0.1"])).unwrap();
    assert!(nameless.with(authority.sign(&["127.0.0.2"])).is_err());
    assert!(tls::roots_from_pem(b"").is_err());
    let none = ClientAuth::Required(rustls::RootCertStore::empty());
    let certificates = Certificates::new(authority.sign(&["a.test"])).unwrap();
    assert!(tls::server_config(certificates, none).is_err());
}

/// Keys are logged only if the application asks for it, whatever the value of
/// `SSLKEYLOGFILE`.
#[test]
fn keys_are_not_logged_by_default() {
    let authority = Authority::new();
    let certificates = Certificates::new(authority.sign(&["a.test"])).unwrap();
    let server = server_config(certificates, ClientAuth::None);
    assert!(!server.key_log.will_log("CLIENT_RANDOM"));
    assert!(!client(&authority, None).key_log.will_log("CLIENT_RANDOM"));
}
