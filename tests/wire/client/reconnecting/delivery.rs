//! What becomes of messages, and the hooks around them.

use super::*;

/// The hook sees each WebSocket before the messages of `send`, also of one that waits.
#[tokio::test(start_paused = true)]
async fn the_hook_runs_before_messages_each_time() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let builder = client.request(URL).early_message("early").reconnecting();
        let builder = builder
            .before_connect(|request| async { Ok(request.header("x-token", "fresh")) })
            .after_connect(|socket| {
                Box::pin(async move {
                    socket.send("subscribe").await?;
                    socket.recv().await.transpose()?;
                    Ok(())
                })
            });
        let mut socket = builder.connect_lazy().unwrap();
        for round in 0..3 {
            let serve = async {
                let request = within(site.requests.recv()).await.unwrap();
                let tokens: Vec<_> = request.headers().get_all("x-token").iter().collect();
                assert_eq!(tokens, ["fresh"]);
                let mut peer = within(request.accept()).await.unwrap();
                let mut received = Vec::new();
                for _ in 0..3 {
                    let message = within(peer.recv()).await.unwrap().unwrap();
                    received.push(message.into_data());
                    if received.len() == 2 {
                        peer.send("welcome").await.unwrap();
                    }
                }
                assert_eq!(received, ["early", "subscribe", "message"]);
                peer
            };
            let (number, mut peer) = tokio::join!(socket.send("message"), serve);
            assert_eq!(number.unwrap(), round);
            connected(&mut socket).await;
            peer.send("answer").await.unwrap();
            receives(&mut socket, "answer").await;
            drop(peer);
            assert_eq!(
                disconnected(&mut socket).await.unconfirmed,
                round..round + 1
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_fails_the_attempt() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        // The server closes it during the hook: its code decides.
        let hook = builder(client).after_connect(|socket| {
            Box::pin(async move {
                while let Some(message) = socket.recv().await {
                    message?;
                }
                socket.send("too late").await
            })
        });
        let mut socket = hook.connect_lazy().unwrap();
        for (code, again) in [(1013, true), (1008, false)] {
            let close = async {
                let mut peer = site.accept().await;
                peer.close(CloseCode::from(code)).await.unwrap();
            };
            let (failed, ()) = tokio::join!(attempt_failed(&mut socket), close);
            assert_eq!(failed.cause.close_code(), Some(CloseCode::from(code)));
            assert_eq!(failed.retry_in.is_some(), again);
        }
        assert!(socket.recv().await.is_none());

        // It never ends.
        let limit = Duration::from_secs(5);
        let forever = builder(client)
            .hook_timeout(limit)
            .after_connect(|_| Box::pin(std::future::pending::<Result<(), Error>>()));
        let (error, _peer) = tokio::join!(forever.connect(), site.accept());
        assert!(
            matches!(error, Err(Error::Timeout(Timeout::Hook))),
            "{error:?}"
        );
        let failing = builder(client).before_connect(|_| async { Err(Error::Closed) });
        assert!(matches!(failing.connect().await, Err(Error::Closed)));
    }
}

/// Messages that arrived before the end are received, also if `send` found the end, and whatever
/// futures are dropped.
#[tokio::test(start_paused = true)]
async fn dropped_futures_lose_nothing() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        for number in 0..20 {
            peer.send(number.to_string()).await.unwrap();
        }
        tokio::spawn(async move { peer.close(CloseCode::GOING_AWAY).await });
        let (mut events, mut peers) = (Vec::new(), Vec::new());
        let mut turns = 0;
        while !matches!(events.last(), Some(ReconnectEvent::Connected)) {
            turns += 1;
            assert!(turns < 10_000, "{events:?}");
            // Each future is polled once.
            let _: Option<_> = socket.send("once").now_or_never();
            if let Some(event) = socket.recv().now_or_never() {
                events.push(event.unwrap().unwrap());
            }
            if let Some(request) = site.requests.recv().now_or_never() {
                let request = request.unwrap();
                peers.push(tokio::spawn(async { request.accept().await }));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(peers.len(), 1, "one attempt, however often it was dropped");
        let mut events = events.into_iter();
        for number in 0..20 {
            let message = events.next().unwrap().into_message();
            assert_eq!(message, Some(Message::text(number.to_string())));
        }
        let lost = events.next().unwrap();
        let ReconnectEvent::Disconnected(lost) = lost else {
            panic!("{lost:?}");
        };
        assert_eq!(lost.cause.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(events.len(), 1);
    }
}

/// A program that sends and does not receive keeps what one WebSocket received, not what all did.
#[tokio::test(start_paused = true)]
async fn send_goes_on_after_one_unreported_end() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        peer.send("unread").await.unwrap();
        let close = |mut peer: WebSocket| {
            tokio::spawn(async move { peer.close(CloseCode::GOING_AWAY).await });
        };
        close(peer);
        let send = async {
            loop {
                socket.send("more").await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = send => {}
            second = site.accept() => close(second),
        }
        let mut turns = 0;
        while let Ok(number) = socket.send("more").await {
            turns += 1;
            assert!(turns < 10_000, "{number}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        receives(&mut socket, "unread").await;
        let first = disconnected(&mut socket).await;
        let event = event(&mut socket).await;
        assert!(matches!(event, ReconnectEvent::Connected), "{event:?}");
        let second = disconnected(&mut socket).await;
        assert_eq!(first.unconfirmed.start, 0);
        assert_eq!(first.unconfirmed.end, second.unconfirmed.start);
        assert_eq!(second.unconfirmed.end, socket.sent());
        reconnects(&mut socket, &mut site).await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_ends_it_for_good() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        socket.send("last").await.unwrap();
        let serve = async {
            assert_eq!(
                within(peer.recv()).await.unwrap().unwrap(),
                Message::text("last")
            );
            assert!(within(peer.recv()).await.is_none());
        };
        let (closed, ()) = tokio::join!(socket.close(CloseCode::GOING_AWAY), serve);
        closed.unwrap();
        assert!(!socket.is_connected());
        let answer = socket.close_frame().map(|frame| frame.code);
        assert_eq!(answer, Some(CloseCode::GOING_AWAY));
        assert!(socket.recv().await.is_none());
        assert!(matches!(socket.send("x").await, Err(Error::Closed)));

        // A Close frame that cannot be sent closes nothing, and none is a message.
        let (mut socket, peer) = open(&mut site, builder(client)).await;
        let long = CloseFrame::new(CloseCode::NORMAL, "a".repeat(124));
        for frame in [CloseCode::ABNORMAL.into(), long] {
            let error = socket.close(frame).await.unwrap_err();
            assert!(matches!(error, Error::Send(_)), "{error:?}");
        }
        let error = socket.send(Message::Close(None)).await.unwrap_err();
        assert!(matches!(error, Error::Send(SendError::NotAMessage)));
        drop(peer);
        disconnected(&mut socket).await;

        // While it waits, there is nothing to close.
        socket.close(None).await.unwrap();
        assert!(socket.recv().await.is_none());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(site.requests.recv().now_or_never().is_none());
    }
}
