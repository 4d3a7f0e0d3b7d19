//! Active health checks.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::health::Thresholds;
use super::{Member, Pool};
use crate::bridge::upstream::Upstream;
use crate::client::{Client, HttpVersion};
use crate::error::{Chain, Error};
use crate::handshake::{HandshakeError, HostPort, Target};
use crate::transport::{dial, h1};

/// Maximum number of concurrent checks per pool.
const MAX_CONCURRENT: usize = 64;

/// An active health check: every server of a route is checked at an interval. A
/// server that fails gets no requests until it passes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    kind: Kind,
    interval: Duration,
    timeout: Duration,
    thresholds: Thresholds,
    /// `Host` of an HTTP check.
    host: Option<HostPort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http {
        path: String,
        expect: RangeInclusive<u16>,
    },
}

impl Check {
    /// Considers a server healthy if it accepts a connection, over TCP or to its Unix socket.
    #[must_use]
    pub fn tcp() -> Self {
        Self {
            kind: Kind::Tcp,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds {
                healthy: 2,
                unhealthy: 3,
            },
            host: None,
        }
    }

    /// Considers a server healthy if it responds to GET for `path` with a status of
    /// 200 to 299. The request uses HTTP/1.1, with TLS if the upstream is `wss`. The
    /// path of the upstream's URL is not prepended.
    ///
    /// # Errors
    ///
    /// If `path` is not a valid path.
    pub fn http(path: &str) -> Result<Self, InvalidCheck> {
        let valid = path.starts_with('/') && PathAndQuery::try_from(path).is_ok();
        if !valid || path.contains('#') {
            return Err(InvalidCheck(path.to_owned()));
        }
        Ok(Self {
            kind: Kind::Http {
                path: path.to_owned(),
                expect: 200..=299,
            },
            ..Self::tcp()
        })
    }

    /// Sets the statuses of a healthy server in an HTTP check. Default 200 to 299.
    #[must_use]
    pub fn expect(mut self, statuses: RangeInclusive<u16>) -> Self {
        if let Kind::Http { expect, .. } = &mut self.kind {
            *expect = statuses;
        }
        self
    }

    /// Sets `Host` of an HTTP check, for servers that reject unknown names. Default
    /// the host of the upstream's URL, or its [name in
    /// TLS](crate::bridge::RouteBuilder::server_name).
    #[must_use]
    pub fn host(mut self, host: impl Into<Option<HostPort>>) -> Self {
        self.host = host.into();
        self
    }

    /// Sets the time from one check to the next. Default 10 s.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        Self { interval, ..self }
    }

    /// Sets how long a check may take. Default 5 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets how many checks in a row an unhealthy server must pass to become
    /// healthy. Default 2. The first check of a server takes effect at once.
    #[must_use]
    pub fn healthy_after(mut self, checks: u32) -> Self {
        self.thresholds.healthy = checks.max(1);
        self
    }

    /// Sets how many checks in a row a healthy server must fail to become unhealthy.
    /// Default 3.
    #[must_use]
    pub fn unhealthy_after(mut self, checks: u32) -> Self {
        self.thresholds.unhealthy = checks.max(1);
        self
    }

    /// Checks a server; the error is why it fails. Returns `None` if the check failed for a reason of
    /// this machine, which says nothing about the server.
    async fn result(&self, client: &Client, upstream: &Upstream) -> Option<Result<(), String>> {
        match timeout(self.timeout, self.run(client, upstream)).await {
            Ok(Ok(result)) => Some(result),
            Ok(Err(Error::Connect(error))) if dial::is_local_failure(&error) => {
                let error = Error::Connect(error);
                tracing::warn!(%upstream, error = %Chain(&error), "cannot check an upstream");
                None
            }
            Ok(Err(error)) => Some(Err(Chain(&error).to_string())),
            Err(_) => Some(Err(format!("no answer within {:?}", self.timeout))),
        }
    }

    async fn run(&self, client: &Client, upstream: &Upstream) -> Result<Result<(), String>, Error> {
        let (path, expect) = match &self.kind {
            Kind::Tcp => return upstream.dial(client.tcp()).await.map(|_| Ok(())),
            Kind::Http { path, expect } => (path, expect),
        };
        let status = status(client, upstream, path, self.host.as_ref()).await?;
        if expect.contains(&status.as_u16()) {
            return Ok(Ok(()));
        }
        Ok(Err(format!("the status is {status}")))
    }

    pub(crate) fn is_http(&self) -> bool {
        matches!(self.kind, Kind::Http { .. })
    }
}

async fn status(
    client: &Client,
    upstream: &Upstream,
    path: &str,
    host: Option<&HostPort>,
) -> Result<StatusCode, Error> {
    let url = format!("{}{path}", upstream.origin());
    let target: Target = url.parse().map_err(HandshakeError::Url)?;
    let target = match host {
        Some(host) => target.with_authority(host),
        None => target,
    };
    let version = HttpVersion::Http1;
    let (_, io) = client
        .reach(&target, upstream.known_address(), version)
        .await?;
    let request = Request::get(target.path_and_query())
        .header(HOST, target.authority())
        .body(())
        .map_err(|error| Error::Header(Arc::new(error)))?;
    Ok(h1::status(io, request).await?)
}

impl Pool {
    /// Checks all servers until the future is dropped.
    pub(crate) async fn check(self: Arc<Self>, client: Client) {
        let Some(check) = self.settings.check.clone().map(Arc::new) else {
            return;
        };
        let mut ticks = interval(check.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.check_once(&check, &client).await;
        }
    }

    async fn check_once(&self, check: &Arc<Check>, client: &Client) {
        let members = self.members().all.clone();
        let mut checks = JoinSet::new();
        for member in members {
            if checks.len() >= MAX_CONCURRENT {
                checks.join_next().await;
            }
            let (check, client, route) = (check.clone(), client.clone(), self.route.clone());
            checks.spawn(async move {
                if let Some(result) = check.result(&client, &member.upstream).await {
                    record(&route, &member, &result, check.thresholds);
                }
            });
        }
        while checks.join_next().await.is_some() {}
    }
}

fn record(route: &str, member: &Member, result: &Result<(), String>, thresholds: Thresholds) {
    let error = result.as_ref().err().map(String::as_str);
    if let Some(error) = error {
        tracing::debug!(upstream = %member.upstream, error, "check failed");
    }
    let change = member.health().checked(result.is_ok(), thresholds);
    if let Some(change) = change {
        Pool::log_change(route, member, change, error);
    }
}

/// An invalid path for an HTTP check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCheck(String);

impl fmt::Display for InvalidCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid path {:?}; expected e.g. /health", self.0)
    }
}

impl std::error::Error for InvalidCheck {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A test that takes longer has failed.
    const HANGS: Duration = Duration::from_secs(60);

    /// Responds to each request for the checked path with `answer`.
    async fn server(answer: &'static str) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/prefix", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = tcp.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let answer = match head.starts_with("GET /health?deep HTTP/1.1\r\n") {
                        true => answer,
                        false => "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
                    };
                    let _ = tcp.write_all(answer.as_bytes()).await;
                });
            }
        });
        url.parse().unwrap()
    }

    async fn result(check: &Check, upstream: &Upstream) -> Result<(), String> {
        let client = Client::builder().build().unwrap();
        let result = check.result(&client, upstream).await;
        result.expect("nothing is wrong with this machine")
    }

    async fn passes(check: &Check, upstream: &Upstream) -> bool {
        result(check, upstream).await.is_ok()
    }

    /// Such as for an application with a list of allowed hosts.
    #[tokio::test]
    async fn a_check_sends_the_configured_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let upstream: Upstream = url.parse().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tcp.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                let answer = match head.contains("\r\nhost: site.test\r\n") {
                    true => OK,
                    false => "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n",
                };
                let _ = tcp.write_all(answer.as_bytes()).await;
            }
        });
        let check = Check::http("/").unwrap();
        assert!(!passes(&check, &upstream).await);
        let named = check.host("site.test".parse::<HostPort>().ok());
        assert!(passes(&named, &upstream).await);
    }

    const OK: &str = "HTTP/1.1 204 Fine\r\n\r\n";
    const BROKEN: &str = "HTTP/1.1 503 Broken\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn the_status_determines_the_result() {
        let check = Check::http("/health?deep").unwrap();
        let (up, down) = (server(OK).await, server(BROKEN).await);
        assert!(passes(&check, &up).await);
        let expected = "the status is 503 Service Unavailable".to_owned();
        assert_eq!(result(&check, &down).await, Err(expected));
        assert!(passes(&check.clone().expect(500..=599), &down).await);
        assert!(!passes(&Check::http("/other").unwrap(), &up).await);
        assert!(!passes(&check, &server("nonsense\r\n\r\n").await).await);
        assert!(passes(&Check::tcp(), &down).await, "it listens");
    }

    #[tokio::test]
    async fn a_server_that_does_not_respond_fails() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", silent.local_addr().unwrap());
        let upstream: Upstream = url.parse().unwrap();
        let check = Check::http("/").unwrap().timeout(Duration::from_millis(20));
        let silence = result(&check, &upstream).await;
        assert_eq!(silence, Err("no answer within 20ms".to_owned()));
        drop(silent);
        let refused = result(&Check::tcp(), &upstream).await.unwrap_err();
        assert!(refused.contains("refused"), "{refused}");
    }

    #[tokio::test]
    async fn servers_that_fail_the_check_are_not_picked() {
        let (up, down) = (server(OK).await, server(BROKEN).await);
        let check = Check::http("/health?deep").unwrap();
        let settings = crate::bridge::pool::Settings {
            check: Some(check.interval(Duration::from_millis(5))),
            ..Default::default()
        };
        let pool = Arc::new(Pool::new("route".into(), vec![up.clone(), down], settings));
        let task = tokio::spawn(pool.clone().check(Client::builder().build().unwrap()));
        let marked = async {
            while pool.statuses().iter().all(|status| status.is_healthy) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(HANGS, marked).await.expect("it is marked down");
        let headers = http::HeaderMap::new();
        for _ in 0..4 {
            let source = crate::bridge::pool::KeySource {
                path_and_query: "/",
                fields: &headers,
                client: [127, 0, 0, 1].into(),
            };
            let lease = pool.pick(source, &[]).unwrap();
            assert_eq!(*lease.upstream(), up);
        }
        task.abort();
    }

    #[test]
    fn invalid_paths_are_rejected() {
        for path in ["", "health", "http://a/", "/a b", "/a#b"] {
            assert!(Check::http(path).is_err(), "{path}");
        }
    }
}
