//! Settings that would panic, hang or spin are rejected when a client, a server or a
//! route is built, and the error states the allowed range. Values at the ends of the
//! ranges work.

use std::time::Duration;

use h2ws::bridge::{InvalidRoute, Route, Timeouts};
use h2ws::client::ClientBuilder;
use h2ws::config::InvalidSetting;
use h2ws::frame::Role;
use h2ws::server::ServerBuilder;
use h2ws::{Client, Error, Http2Config, HttpVersion, Message, Server, WebSocket, WebSocketConfig};

use crate::support::client::{echo, http1, http2};
use crate::support::{server, within};

const ZERO: Duration = Duration::ZERO;

/// Invalid for clients and servers, each with its setting and a part of the error
/// message.
fn invalid_http2_configs() -> Vec<(Http2Config, &'static str, &'static str)> {
    let config = Http2Config::default;
    let nonzero = "1 or more";
    let windows = "from 65535 to 2147483647";
    let frames = "from 16384 to 16777215";
    vec![
        (
            config().stream_window(0),
            "stream_window",
            "from 1 to 2147483647",
        ),
        (
            config().stream_window(1 << 31),
            "stream_window",
            "2147483648",
        ),
        (config().connection_window(0), "connection_window", windows),
        (
            config().connection_window(65_534),
            "connection_window",
            windows,
        ),
        (
            config().connection_window(1 << 31),
            "connection_window",
            windows,
        ),
        (
            config().connection_window(u32::MAX),
            "connection_window",
            "4294967295",
        ),
        (config().connection_buffer(0), "connection_buffer", nonzero),
        (config().max_frame_size(0), "max_frame_size", frames),
        (config().max_frame_size(1024), "max_frame_size", "1024"),
        (config().max_frame_size(1 << 24), "max_frame_size", frames),
        (
            config().max_concurrent_streams(0),
            "max_concurrent_streams",
            "from 1",
        ),
        (
            config().max_header_list_size(0),
            "max_header_list_size",
            "from 1",
        ),
        (config().write_buffer(0), "write_buffer", nonzero),
        (
            config().keep_alive_interval(ZERO),
            "keep_alive_interval",
            "1 ms",
        ),
        (
            config().keep_alive_interval(Duration::MAX),
            "keep_alive_interval",
            "100 years",
        ),
        (
            config().keep_alive_timeout(ZERO),
            "keep_alive_timeout",
            "1 ms",
        ),
    ]
}

fn invalid_socket_configs() -> Vec<(WebSocketConfig, &'static str, &'static str)> {
    let config = WebSocketConfig::default;
    vec![
        (config().write_buffer(0), "write_buffer", "1 or more"),
        (config().ping_interval(ZERO), "ping_interval", "1 ms"),
        (config().ping_timeout(ZERO), "ping_timeout", "1 ms"),
    ]
}

fn assert_message(error: &InvalidSetting, name: &str, part: &str) {
    let text = error.to_string();
    assert!(error.name().ends_with(&format!("::{name}")), "{text}");
    assert!(text.contains(name) && text.contains(part), "{text}");
}

#[test]
fn a_client_rejects_invalid_settings() {
    let assert_rejected = |builder: ClientBuilder, name: &str, part: &str| match builder.build() {
        Err(Error::Setting(error)) => assert_message(&error, name, part),
        other => panic!("{name}: {other:?}"),
    };
    for (config, name, part) in invalid_http2_configs() {
        assert_rejected(http2().http2(config), name, part);
    }
    for (config, name, part) in invalid_socket_configs() {
        assert_rejected(http2().socket(config), name, part);
    }
    assert_rejected(http2().max_connections(0), "max_connections", "1 or more");
    assert_rejected(http2().max_origins(0), "max_origins", "1 or more");
    assert_rejected(http2().connect_timeout(ZERO), "connect_timeout", "1 ms");
    assert_rejected(http2().handshake_timeout(ZERO), "handshake_timeout", "1 ms");
}

#[tokio::test]
async fn a_server_rejects_invalid_settings() {
    async fn assert_rejected(builder: ServerBuilder, name: &str, part: &str) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = builder.clone().bind("127.0.0.1:0").await.err();
        let given = builder.listener(listener).err();
        for error in [bound, given] {
            let error = error.unwrap_or_else(|| panic!("{name} was accepted"));
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            let error = error.get_ref().and_then(|error| error.downcast_ref());
            assert_message(error.expect("an InvalidSetting"), name, part);
        }
    }
    let server = Server::builder;
    for (config, name, part) in invalid_http2_configs() {
        assert_rejected(server().http2(config), name, part).await;
    }
    for (config, name, part) in invalid_socket_configs() {
        assert_rejected(server().socket(config), name, part).await;
    }
    assert_rejected(server().max_connections(0), "max_connections", "1 or more").await;
    assert_rejected(
        server().handshake_timeout(ZERO),
        "handshake_timeout",
        "1 ms",
    )
    .await;
    let unlimited = server().handshake_timeout(Duration::MAX);
    assert_rejected(unlimited, "handshake_timeout", "100 years").await;
    assert_rejected(server().handler_timeout(ZERO), "handler_timeout", "1 ms").await;
}

#[test]
fn a_route_rejects_invalid_timeouts() {
    let timeouts = Timeouts::default;
    for (timeouts, name) in [
        (timeouts().connect(ZERO), "connect"),
        (timeouts().handshake(ZERO), "handshake"),
        (timeouts().idle(ZERO), "idle"),
    ] {
        let route = Route::builder("*", "/*").unwrap().timeouts(timeouts);
        let route = route.upstream("ws://127.0.0.1:1".parse().unwrap());
        match route.build() {
            Err(InvalidRoute::Setting(error)) => assert_message(&error, name, "1 ms or more"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// The least and the greatest allowed values, on either side of a connection.
#[tokio::test]
async fn values_at_the_ends_of_the_ranges_work() {
    let least = Http2Config::default()
        .stream_window(1)
        .connection_window(65_535)
        .max_frame_size(16_384)
        .write_buffer(1);
    let most = Http2Config::default()
        .stream_window((1 << 31) - 1)
        .connection_window((1 << 31) - 1)
        .connection_buffer(usize::MAX)
        .max_frame_size((1 << 24) - 1)
        .max_concurrent_streams(u32::MAX)
        .max_header_list_size(u32::MAX)
        .write_buffer(usize::MAX);
    for (ours, theirs) in [(&least, &most), (&most, &least), (&least, &least)] {
        let server = server::echo(Server::builder().http2(theirs.clone())).await;
        let client = http2().http2(ours.clone()).build().unwrap();
        let mut socket = within(client.connect(&server.url("/"))).await.unwrap();
        echo(&mut socket, "a message of some length").await;
    }
    let config = WebSocketConfig::default().write_buffer(1);
    let server = server::echo(Server::builder().socket(config.clone())).await;
    let client = http1().socket(config).build().unwrap();
    let mut socket = within(client.connect(&server.url("/"))).await.unwrap();
    echo(&mut socket, "over HTTP/1.1").await;
}

/// `from_stream` cannot return an error, so zero counts as one.
#[tokio::test]
async fn from_stream_treats_a_write_buffer_of_zero_as_one() {
    let config = WebSocketConfig::default().write_buffer(0);
    let (near, _far) = tokio::io::duplex(1024);
    let mut socket = WebSocket::from_stream(near, Role::Client, config);
    within(socket.send(Message::text("sent"))).await.unwrap();
}

/// Zero, or the greatest value, is valid for each of these settings.
#[test]
fn a_client_with_extreme_valid_settings_is_built() {
    let builder = Client::builder().tls(crate::support::tls::none());
    let builder = builder
        .version(HttpVersion::Auto)
        .http1_cache_ttl(ZERO)
        .idle_timeout(ZERO)
        .max_rejection_body(0)
        .max_connections(usize::MAX)
        .connect_timeout(Duration::MAX)
        .handshake_timeout(Duration::MAX);
    builder.build().unwrap();
}
