//! `h2ws health`: asks a bridge whether it is alive or ready, for service managers and containers
//! that have no HTTP client.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::args::HealthArgs;
use crate::error::{Failure, with_causes};
use crate::listener::{AddressKind, ListenAddress};
use crate::terminal;

/// Maximum size of an answer's body, in bytes.
const MAX_BODY: usize = 64 * 1024;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) async fn run(args: HealthArgs) -> Result<(), Failure> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let limit = Duration::from_secs_f64(args.timeout);
    let answer = tokio::time::timeout(limit, ask(&args.address, path)).await;
    let answer = answer.map_err(|_| format!("{}: no answer within {limit:?}", args.address))??;
    writeln!(terminal::stdout(), "{answer}")?;
    Ok(())
}

/// Returns the text of a 200; any other answer is an error.
async fn ask(address: &ListenAddress, path: &str) -> Result<String, Failure> {
    let io = connect(address).await;
    let io = io.map_err(|error| format!("cannot connect to {address}: {error}"))?;
    let strange = |error: hyper::Error| {
        let why = with_causes(&error);
        format!("{address} does not answer as HTTP; is it the address of --metrics? ({why})")
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(strange)?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.map_err(strange)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect();
    let body = body.await?.to_bytes();
    let body = String::from_utf8_lossy(&body);
    let text = terminal::quoted(body.trim()).into_owned();
    if status == http::StatusCode::OK {
        return Ok(text);
    }
    let hint = match status {
        http::StatusCode::SERVICE_UNAVAILABLE => "",
        _ => "; is it the address of --metrics?",
    };
    Err(format!("{address}{path}: {status}: {text}{hint}").into())
}

async fn connect(address: &ListenAddress) -> io::Result<Box<dyn Io>> {
    match &address.kind {
        AddressKind::Tcp(addresses) => {
            let tcp = TcpStream::connect(&addresses[..]).await?;
            Ok(Box::new(tcp))
        }
        #[cfg(unix)]
        AddressKind::Unix(path) => {
            let unix = tokio::net::UnixStream::connect(path).await?;
            Ok(Box::new(unix))
        }
        _ => Err(io::Error::other("expected an address or unix:PATH")),
    }
}
