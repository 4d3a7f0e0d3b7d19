//! TLS as rustls configures it: a server that speaks TLS 1.3 alone, and a client that trusts no
//! other certificate than the server's.
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
//!     -subj /CN=localhost -addext subjectAltName=DNS:localhost \
//!     -addext basicConstraints=critical,CA:FALSE -keyout localhost.key -out localhost.pem
//! cargo run --example custom_tls -- localhost.pem localhost.key
//! ```

use std::fs;

use h2ws::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use h2ws::rustls::{ServerConfig, version::TLS13};
use h2ws::server::WebSocketRequest;
use h2ws::tls::{self, Trust};
use h2ws::{Client, CloseCode, Error, Server};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let files: Vec<_> = std::env::args().skip(1).collect();
    let [cert, key] = files.as_slice() else {
        return Err("expected CERT KEY".into());
    };
    let (cert, key) = (fs::read(cert)?, fs::read(key)?);

    let provider = tls::provider().ok_or("no cryptography provider")?;
    let chain = CertificateDer::pem_slice_iter(&cert).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&key)?;
    // The server adds the names of both versions of HTTP (ALPN).
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let server = Server::builder().tls(config).bind("localhost:0").await?;
    let url = format!("wss://localhost:{}/", server.local_addr()?.port());
    tokio::spawn(server.serve(echo).into_future());

    let mut config = tls::client_config(Trust::Only(tls::roots_from_pem(&cert)?), None)?;
    // For Wireshark, to the file that SSLKEYLOGFILE names.
    config.key_log = std::sync::Arc::new(h2ws::rustls::KeyLogFile::new());
    let client = Client::builder().tls(config).build()?;
    let mut socket = client.connect(&url).await?;
    socket.send("hello").await?;
    let reply = socket.recv().await.ok_or("closed early")??;
    println!("{reply:?} over {}", socket.transport());
    socket.close(CloseCode::NORMAL).await?;

    // A client with the operating system's roots does not trust the certificate.
    match Client::new().connect(&url).await {
        Err(error) => println!("without the certificate: {error}"),
        Ok(_) => return Err("the operating system trusts the certificate".into()),
    }
    Ok(())
}

async fn echo(request: WebSocketRequest) -> Result<(), Error> {
    let mut socket = request.accept().await?;
    while let Some(message) = socket.recv().await {
        socket.feed(message?).await?;
    }
    Ok(())
}
