//! Access control in the handler, which sees the whole request, including the client's certificate,
//! and may query other services (within `ServerBuilder::handler_timeout`) before it accepts or
//! rejects the request. Certificates are reloaded on SIGHUP.
//!
//! ```sh
//! for name in server me; do
//!     openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
//!         -subj /CN=$name -addext subjectAltName=DNS:localhost \
//!         -addext basicConstraints=critical,CA:FALSE -keyout $name.key -out $name.pem
//! done
//! cargo run --example authenticated_server -- 127.0.0.1:8443 server.pem server.key me.pem
//! h2ws connect --cacert server.pem wss://localhost:8443/ </dev/null    # 401
//! h2ws connect --cacert server.pem -H 'Authorization: Bearer sesame' wss://localhost:8443/
//! h2ws connect --cacert server.pem --cert me.pem --key me.key wss://localhost:8443/
//! ```

use std::fs;

use bytes::Bytes;
use h2ws::Server;
use h2ws::http::{Response, StatusCode, header};
use h2ws::server::WebSocketRequest;
use h2ws::tls::{self, Certificates, ClientAuth, Identity, ServerTls};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let expected = "expected LISTEN CERT KEY CLIENT_CA";
    let [listen, cert, key, client_ca] = args.try_into().map_err(|_| expected)?;
    let load = move || {
        let identity = Identity::from_pem(&fs::read(&cert)?, &fs::read(&key)?)?;
        let clients = ClientAuth::Optional(tls::roots_from_pem(&fs::read(&client_ca)?)?);
        Ok::<_, Failure>(tls::server_config(Certificates::new(identity)?, clients)?)
    };
    let tls = ServerTls::new(load()?);
    let builder = Server::builder().tls(tls.clone());
    let server = builder.bind(listen).await?;
    println!("listening on wss://{}", server.local_addr()?);
    let reloading = reload_on_sighup(move || match load() {
        Ok(config) => tls.replace(config),
        Err(error) => eprintln!("the old certificates stay in use: {error}"),
    });
    tokio::spawn(reloading);
    server.serve(admit).await?;
    Ok(())
}

/// Accepts requests from known users.
async fn admit(request: WebSocketRequest) -> Result<(), Failure> {
    let Some(user) = user(&request).await else {
        let response = Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"echo\"")
            .body(Bytes::from_static(
                b"a client certificate or a token, please\n",
            ))?;
        request.reject_with(response);
        return Ok(());
    };
    let mut socket = request.accept().await?;
    println!("{user}, over {}", socket.transport());
    socket.feed(format!("hello, {user}")).await?;
    while let Some(message) = socket.recv().await {
        socket.feed(message?).await?;
    }
    Ok(())
}

/// Returns the user. The TLS handshake has already verified the certificate; a token, or the
/// session in a cookie, has to be looked up.
async fn user(request: &WebSocketRequest) -> Option<String> {
    let certificates = request.tls()?.client_certificates();
    if let Some(certificate) = certificates.first() {
        return Some(format!(
            "bearer of a certificate of {} bytes",
            certificate.len()
        ));
    }
    let token = request
        .bearer_token()
        .or_else(|| request.cookie("session"))?;
    look_up(token).await
}

/// Stands in for a database query.
async fn look_up(token: &str) -> Option<String> {
    (token == "sesame").then(|| "bearer of the token".to_owned())
}

#[cfg(unix)]
async fn reload_on_sighup(reload: impl Fn()) {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        reload();
    }
}

#[cfg(not(unix))]
async fn reload_on_sighup(_: impl Fn()) {}
