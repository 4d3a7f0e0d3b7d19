//! How a client's sockets share connections, and what becomes of them when a
//! server refuses streams or goes away.

use h2ws::Error;

use crate::support::client::{ClientFixture, accept, echo, http2, no_stream_is_left};
use crate::support::h2peer::EchoServer;
use crate::support::raw::{CANCEL, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM};
use crate::support::within;

/// RFC 9113 §8.7: REFUSED_STREAM was not processed, so it is asked again.
#[tokio::test]
async fn a_refused_stream_is_asked_for_again() {
    let mut beside = ClientFixture::new().await;
    let peer = &mut beside.peer;
    let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), async {
        peer.request(3).await;
        peer.reset(3, REFUSED_STREAM).await;
        peer.take(5).await;
    });
    drop(ws.unwrap());
    beside.peer.let_go(5).await;
    beside.unharmed().await;
}

/// As above, but a server that refuses for good (libwebsockets refuses a
/// handshake so) is not asked for ever.
#[tokio::test]
async fn refused_streams_are_not_repeated_for_ever() {
    let mut beside = ClientFixture::new().await;
    let peer = &mut beside.peer;
    let (failed, asked) = tokio::join!(beside.client.connect(&beside.url), async {
        let mut asked = 0;
        for stream in [3, 5, 7, 9] {
            peer.request(stream).await;
            peer.reset(stream, REFUSED_STREAM).await;
            asked += 1;
        }
        asked
    });
    assert!(
        matches!(failed, Err(Error::Reset { code, by_peer: true }) if code == REFUSED_STREAM),
        "{failed:?}"
    );
    assert_eq!(asked, 4);
    beside.peer.barrier().await;
    assert_eq!(beside.peer.pending(), 0, "asked once more");
    beside.unharmed().await;
}

/// Any other reset may have had effects: not repeated.
#[tokio::test]
async fn other_resets_are_not_repeated() {
    for code in [PROTOCOL_ERROR, CANCEL, NO_ERROR] {
        let mut beside = ClientFixture::new().await;
        let peer = &mut beside.peer;
        let (failed, ()) = tokio::join!(beside.client.connect(&beside.url), async {
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
        beside.peer.barrier().await;
        assert_eq!(beside.peer.pending(), 0, "asked again");
        beside.unharmed().await;
    }
}

/// RFC 9113 §6.8: after GOAWAY sockets go on, new ones go elsewhere.
#[tokio::test]
async fn after_goaway_the_next_socket_has_another_connection() {
    let mut beside = ClientFixture::new().await;
    beside.peer.goaway(1, NO_ERROR).await;
    beside.peer.barrier().await;
    let (ws, mut second) = tokio::join!(beside.client.connect(&beside.url), async {
        let mut second = accept(&beside.listener, &[]).await;
        second.take(1).await;
        second
    });
    let mut ws = ws.unwrap();
    tokio::join!(second.answer(1), echo(&mut ws, "on the new one"));
    let (peer, sibling) = (&mut beside.peer, &mut beside.sibling);
    tokio::join!(peer.answer(1), echo(sibling, "on the old one"));
    assert_ne!(ws.transport(), sibling.transport());
    let (closed, ()) = tokio::join!(
        sibling.close(h2ws::CloseFrame::from(h2ws::CloseCode::NORMAL)),
        peer.answer_close(1)
    );
    closed.unwrap();
    // Nothing keeps the old connection now.
    assert!(
        within(beside.peer.read())
            .await
            .is_none_or(|f| f.stream == 0)
    );
}

/// RFC 9113 §6.8: streams above GOAWAY's last were not processed, and are
/// asked for again on another connection.
#[tokio::test]
async fn a_request_above_goaways_last_stream_is_repeated() {
    let mut beside = ClientFixture::new().await;
    let (ws, _second) = tokio::join!(beside.client.connect(&beside.url), async {
        beside.peer.request(3).await;
        beside.peer.goaway(1, NO_ERROR).await;
        let mut second = accept(&beside.listener, &[]).await;
        second.take(1).await;
        second
    });
    assert!(ws.unwrap().transport().is_http2());
    let (peer, sibling) = (&mut beside.peer, &mut beside.sibling);
    tokio::join!(peer.answer(1), echo(sibling, "on the old one"));
}

/// RFC 9113 §5.1.2: the server's limit of streams is kept; further sockets
/// take further connections, as few as will do.
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
    // There is room again.
    let mut ws = within(client.connect(&url)).await.unwrap();
    echo(&mut ws, "one more").await;
    assert_eq!(server.connections(), 10);
}

/// With no further connection allowed, an open waits for a socket's end.
#[tokio::test]
async fn with_all_streams_taken_an_open_waits() {
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

/// Sockets to one origin share a connection, also those that are opened all
/// at once while there is none.
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
