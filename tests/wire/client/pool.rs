//! How a client's sockets share connections, and what happens to them when a server
//! refuses streams or sends GOAWAY.

use h2ws::Error;

use crate::support::client::{ClientFixture, accept, echo, http2, no_stream_is_left};
use crate::support::h2peer::EchoServer;
use crate::support::raw::{CANCEL, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM};
use crate::support::within;

/// RFC 9113 §8.7: a request reset with REFUSED_STREAM was not processed, so it is
/// retried.
#[tokio::test]
async fn a_refused_stream_is_retried() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (ws, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        peer.reset(3, REFUSED_STREAM).await;
        peer.take(5).await;
    });
    drop(ws.unwrap());
    fixture.peer.let_go(5).await;
    fixture.unharmed().await;
}

/// A server that refuses every stream (libwebsockets rejects a handshake that way)
/// receives a bounded number of requests.
#[tokio::test]
async fn refused_streams_are_not_retried_for_ever() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (failed, requests) = tokio::join!(fixture.client.connect(&fixture.url), async {
        let mut requests = 0;
        for stream in [3, 5, 7, 9] {
            peer.request(stream).await;
            peer.reset(stream, REFUSED_STREAM).await;
            requests += 1;
        }
        requests
    });
    assert!(
        matches!(failed, Err(Error::Reset { code, by_peer: true }) if code == REFUSED_STREAM),
        "{failed:?}"
    );
    assert_eq!(requests, 4);
    fixture.peer.barrier().await;
    assert_eq!(fixture.peer.pending(), 0, "retried once more");
    fixture.unharmed().await;
}

/// A request with any other reset may have had effects, so it is not retried.
#[tokio::test]
async fn other_resets_are_not_retried() {
    for code in [PROTOCOL_ERROR, CANCEL, NO_ERROR] {
        let mut fixture = ClientFixture::new().await;
        let peer = &mut fixture.peer;
        let (failed, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
            peer.request(3).await;
            peer.reset(3, code).await;
        });
        match failed {
            Err(Error::Reset {
                code: got,
                by_peer: true,
            }) => assert_eq!(got, code),
            other => panic!("{other:?}"),
        }
        fixture.peer.barrier().await;
        assert_eq!(fixture.peer.pending(), 0, "retried");
        fixture.unharmed().await;
    }
}

/// RFC 9113 §6.8: after GOAWAY the open sockets continue, and new ones use another
/// connection.
#[tokio::test]
async fn after_goaway_the_next_socket_uses_another_connection() {
    let mut fixture = ClientFixture::new().await;
    fixture.peer.goaway(1, NO_ERROR).await;
    fixture.peer.barrier().await;
    let (ws, mut second) = tokio::join!(fixture.client.connect(&fixture.url), async {
        let mut second = accept(&fixture.listener, &[]).await;
        second.take(1).await;
        second
    });
    let mut ws = ws.unwrap();
    tokio::join!(second.answer(1), echo(&mut ws, "on the new one"));
    let (peer, sibling) = (&mut fixture.peer, &mut fixture.sibling);
    tokio::join!(peer.answer(1), echo(sibling, "on the old one"));
    assert_ne!(ws.transport(), sibling.transport());
    let (closed, ()) = tokio::join!(
        sibling.close(h2ws::CloseFrame::from(h2ws::CloseCode::NORMAL)),
        peer.answer_close(1)
    );
    closed.unwrap();
    // No socket keeps the old connection open now.
    assert!(
        within(fixture.peer.read())
            .await
            .is_none_or(|f| f.stream == 0)
    );
}

/// RFC 9113 §6.8: streams above the last one in GOAWAY were not processed, so their
/// requests are retried on another connection.
#[tokio::test]
async fn a_request_above_the_last_stream_of_goaway_is_retried() {
    let mut fixture = ClientFixture::new().await;
    let (ws, _second) = tokio::join!(fixture.client.connect(&fixture.url), async {
        fixture.peer.request(3).await;
        fixture.peer.goaway(1, NO_ERROR).await;
        let mut second = accept(&fixture.listener, &[]).await;
        second.take(1).await;
        second
    });
    assert!(ws.unwrap().transport().is_http2());
    let (peer, sibling) = (&mut fixture.peer, &mut fixture.sibling);
    tokio::join!(peer.answer(1), echo(sibling, "on the old one"));
}

/// RFC 9113 §5.1.2: the client respects the server's limit of streams. Further sockets
/// use further connections, as few as possible.
#[tokio::test]
async fn a_limit_of_ten_streams_makes_ten_connections_for_a_hundred_sockets() {
    let server = EchoServer::start(|builder| {
        builder.max_concurrent_streams(10);
    })
    .await;
    let client = http2().build().unwrap();
    let url = server.url("/");
    let opens = (0..100).map(|_| client.connect(&url));
    let sockets = within(futures_util::future::join_all(opens)).await;
    let mut sockets: Vec<_> = sockets.into_iter().map(Result::unwrap).collect();
    assert_eq!(server.connections(), 10);
    for ws in &mut sockets {
        echo(ws, "one of a hundred").await;
    }
    for ws in &mut sockets {
        within(ws.close(None)).await.unwrap();
    }
    no_stream_is_left(&client).await;
    // Streams are free again.
    let mut ws = within(client.connect(&url)).await.unwrap();
    echo(&mut ws, "one more").await;
    assert_eq!(server.connections(), 10);
}

/// If no further connection is allowed, an attempt waits for the end of a socket.
#[tokio::test]
async fn an_attempt_waits_while_all_streams_are_in_use() {
    let server = EchoServer::start(|builder| {
        builder.max_concurrent_streams(1);
    })
    .await;
    let client = http2().max_connections(1).build().unwrap();
    let url = server.url("/");
    let mut first = within(client.connect(&url)).await.unwrap();
    let second = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move { client.connect(&url).await }
    });
    echo(&mut first, "before").await;
    assert!(!second.is_finished());
    within(first.close(None)).await.unwrap();
    let mut second = within(second).await.unwrap().unwrap();
    echo(&mut second, "after").await;
    assert_eq!(server.connections(), 1);
}

/// Sockets to one origin share a connection, also if they are all opened at once before
/// there is one.
#[tokio::test]
async fn sockets_of_one_origin_share_a_connection() {
    let server = EchoServer::start(|_| {}).await;
    let client = http2().build().unwrap();
    let url = server.url("/");
    let opens = (0..50).map(|_| client.connect(&url));
    let sockets = within(futures_util::future::join_all(opens)).await;
    let streams: std::collections::HashSet<_> = sockets
        .iter()
        .map(|ws| ws.as_ref().unwrap().transport())
        .collect();
    assert_eq!((server.connections(), streams.len()), (1, 50));
    assert_eq!(client.connections()[0].streams_opened, 50);
}
