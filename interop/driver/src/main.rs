//! One `h2ws::Client` under orders: `interop-driver CERT URL [SUBPROTOCOL]`.
//!
//! Each line of stdin is an order, and is answered by one line:
//! `open N` opens so many sockets at once and keeps them, `echo` sends a
//! message on each and waits for it, `close` closes them all, `row N` opens,
//! echoes on and closes one socket after another, and `ends` waits until the
//! peer has ended every open one. An answer is `done/asked connections
//! what-went-wrong`; for `ends` the last part tells how the sockets ended.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use h2ws::{Client, CloseCode, CloseFrame, HttpVersion, Message, Transport, WebSocket};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncBufReadExt, BufReader};

type Failure = Box<dyn std::error::Error>;

/// What carried the socket, or why it failed.
type Carried = Result<Transport, Failure>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (cert, url, subprotocol) = match args.as_slice() {
        [cert, url] => (cert, url.clone(), None),
        [cert, url, subprotocol] => (cert, url.clone(), Some(subprotocol.clone())),
        _ => return Err("wanted CERT URL [SUBPROTOCOL]".into()),
    };
    let client = Client::builder()
        .tls(trusting(cert)?)
        .version(HttpVersion::Http2)
        .build()?;
    let mut driver = Driver {
        client,
        url,
        subprotocol,
        sockets: Vec::new(),
    };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = lines.next_line().await? {
        println!("{}", driver.obey(&order).await?);
    }
    Ok(())
}

fn trusting(cert: &str) -> Result<rustls::ClientConfig, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    let provider = rustls::crypto::ring::default_provider();
    Ok(rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

struct Driver {
    client: Client,
    url: String,
    subprotocol: Option<String>,
    sockets: Vec<WebSocket>,
}

/// How an order went.
#[derive(Default)]
struct Outcome {
    done: usize,
    asked: usize,
    connections: HashSet<u64>,
    said: BTreeSet<String>,
}

impl Outcome {
    fn count(&mut self, result: Carried) {
        self.asked += 1;
        match result {
            Ok(transport) => {
                self.done += 1;
                if let Transport::Http2 { connection, .. } = transport {
                    self.connections.insert(connection);
                }
            }
            Err(error) => drop(self.said.insert(error.to_string())),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = self.said.iter().cloned().collect::<Vec<_>>().join("; ");
        write!(
            f,
            "{}/{} {} {said}",
            self.done,
            self.asked,
            self.connections.len()
        )
    }
}

impl Driver {
    async fn obey(&mut self, order: &str) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        match order.split_once(' ').unwrap_or((order, "0")) {
            ("open", count) => {
                let opening =
                    (0..count.parse()?).map(|_| open(&self.client, &self.url, &self.subprotocol));
                for result in join_all(opening).await {
                    outcome.count(result.map(|socket| {
                        let transport = socket.transport();
                        self.sockets.push(socket);
                        transport
                    }));
                }
            }
            ("echo", _) => {
                for result in join_all(self.sockets.iter_mut().map(echo)).await {
                    outcome.count(result);
                }
            }
            ("close", _) => {
                for result in join_all(self.sockets.drain(..).map(close)).await {
                    outcome.count(result);
                }
            }
            ("row", count) => {
                for _ in 0..count.parse()? {
                    let result = self.one().await;
                    let failed = result.is_err();
                    outcome.count(result);
                    if failed {
                        break;
                    }
                }
            }
            ("ends", _) => {
                for (transport, end) in join_all(self.sockets.drain(..).map(end)).await {
                    outcome.count(Ok(transport));
                    outcome.said.insert(end);
                }
            }
            _ => return Err(format!("no such order: {order}").into()),
        }
        Ok(outcome)
    }

    async fn one(&self) -> Carried {
        let mut socket = open(&self.client, &self.url, &self.subprotocol).await?;
        echo(&mut socket).await?;
        close(socket).await
    }
}

async fn open(
    client: &Client,
    url: &str,
    subprotocol: &Option<String>,
) -> Result<WebSocket, Failure> {
    let mut request = client.request(url);
    if let Some(name) = subprotocol {
        request = request.subprotocol(name);
    }
    Ok(request.connect().await?)
}

/// A message there and back; what else comes (a mirror's echo for others) is skipped.
async fn echo(socket: &mut WebSocket) -> Carried {
    let text = format!("over {}", socket.transport());
    socket.send(Message::text(text.clone())).await?;
    loop {
        match socket.next().await {
            Some(Ok(message)) if message.as_bytes() == text.as_bytes() => {
                return Ok(socket.transport());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err("closed before the answer came".into()),
        }
    }
}

async fn close(mut socket: WebSocket) -> Carried {
    socket.close(CloseFrame::from(CloseCode::NORMAL)).await?;
    Ok(socket.transport())
}

/// Reads to the end, and says what it was.
async fn end(mut socket: WebSocket) -> (Transport, String) {
    let how = loop {
        match socket.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) if error.is_abnormal_closure() => break format!("1006 {error}"),
            Some(Err(error)) => break format!("error {error}"),
            None => {
                break socket
                    .close_code()
                    .map_or_else(|| "no code".into(), |code| u16::from(code).to_string());
            }
        }
    };
    (socket.transport(), how)
}
