//! `h2ws tunnel`: local TCP and Unix connections, or stdin and stdout, become WebSockets to a bridge's
//! `tcp://` upstream, all on one HTTP/2 connection.
//!
//! A local connection and its WebSocket share their fate with each other and with nothing else:
//!
//! | event | effect on the other end |
//! |---|---|
//! | one end finishes sending | the other sees the end of the data, and may continue to send |
//! | one end breaks, or the tunnel stops | the other is reset, so that it cannot take truncated data for complete |
//! | one end does not read | the other is not read |
//! | the route is refused | one line on stderr, and the local connection is reset |

mod listener;
mod pump;
mod stdio;

use std::io::Write;
use std::sync::Arc;

use h2ws::config::TcpConfig;
use h2ws::handshake::{Target, UrlError};
use h2ws::socket::{BinaryStream, HALF_CLOSE};
use h2ws::{Client, Error};

use self::listener::Listener;
use self::pump::{Broken, pump};
use self::stdio::Stdio;
use super::request::{build, connect_error, shutdown};
use crate::args::{RequestArgs, TunnelArgs};
use crate::error::{Failure, Stopped, Usage, with_causes};
use crate::{signals, terminal};

/// One route of a bridge, and how requests to it are made.
struct Route {
    client: Client,
    request: RequestArgs,
    url: String,
}

pub(crate) async fn run(args: TunnelArgs) -> Result<(), Failure> {
    let sockets = args.max_connections as usize * args.local.len().max(1);
    let builder = args.request.client(&args.url)?;
    let builder = builder
        .tcp(args.tcp.over(TcpConfig::default()))
        // Over HTTP/1.1 each socket has a connection of its own.
        .max_connections(sockets);
    let client = build(builder)?;
    let route = |path: Option<&str>| -> Result<Arc<Route>, Failure> {
        Ok(Arc::new(Route {
            client: client.clone(),
            request: args.request.clone(),
            url: path.map_or_else(|| Ok(args.url.clone()), |path| at(&args.url, path))?,
        }))
    };
    // Must come before the program announces itself: a signal may follow at once.
    let stop = signals::stop();
    let tunneling = async {
        if args.local.is_empty() {
            return through_stdio(&*route(None)?).await;
        }
        let mut listeners = Vec::new();
        for local in &args.local {
            let listener = Listener::bind(&local.at).await?;
            listeners.push((listener, route(local.path.as_deref())?));
        }
        let mut stdout = terminal::stdout();
        for (listener, _) in &listeners {
            writeln!(stdout, "listening on {}", listener.name())?;
        }
        stdout.flush()?;
        drop(stdout);
        let mut accepting = tokio::task::JoinSet::new();
        for (listener, route) in listeners {
            accepting.spawn(listener.serve(args.max_connections, route));
        }
        while accepting.join_next().await.is_some() {}
        Ok(())
    };
    let done = tokio::select! {
        done = tunneling => done,
        () = stop => Err(Stopped.into()),
    };
    shutdown(&client).await;
    done
}

/// Returns the URL of another path on the same server.
fn at(url: &str, path: &str) -> Result<String, Usage> {
    let invalid = |error: UrlError| Usage::option("--local", &error);
    let target: Target = url.parse().map_err(invalid)?;
    let colon = target.unix_path().map_or("", |_| ":");
    let url = format!("{}{colon}{path}", target.endpoint());
    url.parse::<Target>().map_err(invalid)?;
    Ok(url)
}

async fn through_stdio(route: &Route) -> Result<(), Failure> {
    let mut remote = route.open().await?;
    let mut stdio = Stdio::new();
    pump(&mut stdio, &mut remote)
        .await
        .map_err(|broken| match broken {
            Broken::Local(error) => format!("stdin or stdout: {error}"),
            Broken::Remote(error) => with_causes(&error),
        })?;
    Ok(())
}

impl Route {
    async fn open(&self) -> Result<BinaryStream, Failure> {
        let opened = self.try_open().await;
        opened.map_err(|error| connect_error(error, &self.url))
    }

    async fn try_open(&self) -> Result<BinaryStream, Error> {
        let mut request = self.request.request(&self.client, &self.url);
        // Servers such as websockify accept some clients only if they offer "binary".
        for name in [HALF_CLOSE, "binary"] {
            if !self
                .request
                .connection
                .subprotocol
                .iter()
                .any(|own| own == name)
            {
                request = request.subprotocol(name);
            }
        }
        let socket = request.connect().await?;
        tracing::debug!(
            url = %self.url,
            transport = %socket.transport(),
            subprotocol = socket.subprotocol(),
            "WebSocket open",
        );
        Ok(socket.into_binary_stream())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_replaces_path_and_query() {
        for (url, expected) in [
            ("wss://a", "wss://a:443/redis?x=1"),
            ("wss://a:1/b/c?d", "wss://a:1/redis?x=1"),
            ("ws://[::1]:1?d", "ws://[::1]:1/redis?x=1"),
            ("ws+unix:/run/a:/b", "ws+unix:/run/a:/redis?x=1"),
        ] {
            assert_eq!(at(url, "/redis?x=1").expect("a URL"), expected);
        }
        assert!(at("wss://a", "/ b").is_err());
    }
}
