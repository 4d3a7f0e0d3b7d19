//! Code that both peers share: arguments, TLS, listening, and the reply to `?request`.

use std::future::Future;
use std::sync::Arc;

use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The I/O of a connection.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Serves on the ports of the command line, which is `TLS_PORT CLEAR_PORT CERT KEY`.
pub async fn listen<F>(alpn: &[&str], serve: impl Fn(Box<dyn Io>) -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [tls_port, clear_port, cert, key] = args.as_slice() else {
        panic!("expected TLS_PORT CLEAR_PORT CERT KEY");
    };
    let tls = acceptor(alpn, cert, key);
    let serve = Arc::new(serve);
    let secure = serve.clone();
    let secured = accept(tls_port, move |tcp| {
        let (tls, serve) = (tls.clone(), secure.clone());
        async move {
            match tls.accept(tcp).await {
                Ok(io) => serve(Box::new(io)).await,
                Err(error) => eprintln!("TLS: {error}"),
            }
        }
    });
    let clear = accept(clear_port, move |tcp| serve(Box::new(tcp)));
    tokio::join!(secured, clear);
}

async fn accept<F>(port: &str, serve: impl Fn(tokio::net::TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let port: u16 = port.parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("a free port");
    loop {
        let (tcp, _) = listener.accept().await.expect("accept");
        tcp.set_nodelay(true).ok();
        tokio::spawn(serve(tcp));
    }
}

fn acceptor(alpn: &[&str], cert: &str, key: &str) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(cert)
        .expect("certificate file")
        .collect::<Result<_, _>>()
        .expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("key");
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Returns a description of the request as JSON, which the harness reads.
pub fn facts(parts: &Parts, subprotocol: &str) -> String {
    let headers: serde_json::Map<_, _> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    serde_json::json!({
        "version": if parts.version == http::Version::HTTP_2 { "2" } else { "1.1" },
        "path": parts.uri.path(),
        "headers": headers,
        "subprotocol": subprotocol,
    })
    .to_string()
}

/// Returns the first offered subprotocol that begins with `echo`, or an empty string.
pub fn subprotocol(parts: &Parts) -> String {
    parts
        .headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find(|name| name.starts_with("echo"))
        .unwrap_or_default()
        .to_owned()
}
