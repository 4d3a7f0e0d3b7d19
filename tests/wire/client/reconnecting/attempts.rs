//! When another attempt follows, and which end is final.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_restarted_server_is_found_again_and_delays_double() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        assert_eq!(socket.send("zero").await.unwrap(), 0);
        assert_eq!(socket.send("one").await.unwrap(), 1);
        within(peer.recv()).await.unwrap().unwrap();
        site.stop();
        drop(peer);

        let lost = disconnected(&mut socket).await;
        assert!(matches!(lost.cause, DisconnectCause::Error(_)), "{lost:?}");
        assert_eq!(lost.unconfirmed, 0..2);
        assert!(!socket.is_connected());
        let mut delay = lost.retry_in.unwrap();
        for attempts in 1..5 {
            let upper = MIN * 2_u32.pow(attempts);
            assert!((MIN..=upper).contains(&delay), "{attempts}: {delay:?}");
            let before = Instant::now();
            let failed = attempt_failed(&mut socket).await;
            assert!(before.elapsed() >= delay, "{:?}", before.elapsed());
            assert_eq!(failed.attempts, attempts);
            assert!(
                matches!(failed.cause, DisconnectCause::Error(Error::Connect(_))),
                "{failed:?}"
            );
            delay = failed.retry_in.unwrap();
        }
        site.start();
        let mut peer = reconnects(&mut socket, &mut site).await;

        // Nothing was repeated, and numbers go on.
        assert_eq!(socket.send("two").await.unwrap(), 2);
        assert_eq!(
            within(peer.recv()).await.unwrap().unwrap(),
            Message::text("two")
        );
        peer.send("hello").await.unwrap();
        receives(&mut socket, "hello").await;
        drop(peer);
        assert_eq!(disconnected(&mut socket).await.unconfirmed, 2..3);
    }
}

/// A WebSocket that was open for a while starts again with the shortest delay; one that was closed
/// at once does not.
#[tokio::test(start_paused = true)]
async fn only_a_stable_websocket_resets_the_delay() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let builder = builder(client).max_attempts(3);
        let (mut socket, mut peer) = open(&mut site, builder).await;
        for _ in 0..3 {
            let restart = CloseCode::SERVICE_RESTART;
            let (lost, closed) = tokio::join!(disconnected(&mut socket), peer.close(restart));
            closed.unwrap();
            assert_eq!(lost.cause.close_code(), Some(restart));
            assert!(lost.retry_in.is_some());
            peer = reconnects(&mut socket, &mut site).await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        for attempt in 0..4 {
            let (lost, _) =
                tokio::join!(disconnected(&mut socket), peer.close(CloseCode::GOING_AWAY));
            assert_eq!(lost.retry_in.is_some(), attempt < 3, "{lost:?}");
            if attempt < 3 {
                peer = reconnects(&mut socket, &mut site).await;
            }
        }
        let error = socket.recv().await.unwrap().unwrap_err();
        let Error::GaveUp { attempts: 3, last } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(last.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(
            error.to_string(),
            "gave up after 3 attempts: the server closed the WebSocket with code 1001"
        );
        assert!(socket.recv().await.is_none());
        assert!(matches!(socket.send("x").await, Err(Error::GaveUp { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_code_decides_whether_another_websocket_follows() {
    for n in 0..2 {
        for (code, again) in [
            (Some(1000), false),
            (Some(1001), true),
            (Some(1002), false),
            (Some(1003), false),
            (None, false),
            (Some(1007), false),
            (Some(1008), false),
            (Some(1009), false),
            (Some(1011), true),
            (Some(1012), true),
            (Some(1013), true),
            (Some(1014), true),
            (Some(4000), false),
        ] {
            let mut site = Site::new();
            let client = &site.clients()[n];
            let (mut socket, mut peer) = open(&mut site, builder(client)).await;
            let frame = code.map(|code| CloseFrame::new(CloseCode::from(code), "why"));
            let (lost, closed) = tokio::join!(disconnected(&mut socket), peer.close(frame.clone()));
            closed.unwrap();
            assert_eq!(lost.retry_in.is_some(), again, "{code:?}");
            if again {
                reconnects(&mut socket, &mut site).await;
            } else {
                assert!(socket.recv().await.is_none());
                assert_eq!(socket.close_frame(), frame.as_ref());
                let code = code.map_or(CloseCode::NO_STATUS_RECEIVED, CloseCode::from);
                assert_eq!(socket.close_code(), Some(code));
                assert!(matches!(socket.send("x").await, Err(Error::Closed)));
            }
        }
    }
}

/// What the caller decides replaces the default.
#[tokio::test(start_paused = true)]
async fn the_caller_may_decide() {
    let mut site = Site::new();
    let [client, _] = site.clients();
    let decide = |cause: &DisconnectCause| cause.close_code() == Some(CloseCode::NORMAL);
    let (mut socket, mut peer) = open(&mut site, builder(&client).reconnect_if(decide)).await;
    let (lost, _) = tokio::join!(disconnected(&mut socket), peer.close(CloseCode::NORMAL));
    assert!(lost.retry_in.is_some());
    peer = reconnects(&mut socket, &mut site).await;
    let (lost, _) = tokio::join!(disconnected(&mut socket), peer.close(CloseCode::GOING_AWAY));
    assert!(lost.retry_in.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_stays_ends_it_and_another_is_repeated() {
    for n in 0..2 {
        for (status, again) in [
            (401, false),
            (403, false),
            (404, false),
            (429, true),
            (500, true),
        ] {
            let mut site = Site::new();
            let client = &site.clients()[n];
            let (mut socket, peer) = open(&mut site, builder(client)).await;
            drop(peer);
            disconnected(&mut socket).await;
            let (failed, ()) = tokio::join!(attempt_failed(&mut socket), site.reject(status, None));
            assert_eq!(failed.retry_in.is_some(), again, "{status}");
            if again {
                reconnects(&mut socket, &mut site).await;
                continue;
            }
            let error = socket.recv().await.unwrap().unwrap_err();
            let rejected = error.rejected_response().expect("the rejection");
            assert_eq!(rejected.status.as_u16(), status);
            assert!(socket.recv().await.is_none());
        }
        // The first attempt is the caller's to repeat, unless it is lazy.
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (first, ()) = tokio::join!(builder(client).connect(), site.reject(503, None));
        assert!(first.unwrap_err().rejected_response().is_some());
        let mut lazy = builder(client).connect_lazy().unwrap();
        tokio::join!(attempt_failed(&mut lazy), site.reject(503, None));
        reconnects(&mut lazy, &mut site).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let most = Duration::from_secs(600);
        let builder = builder(client).max_retry_after(most);
        let (mut socket, peer) = open(&mut site, builder).await;
        drop(peer);
        disconnected(&mut socket).await;
        for (status, value, seconds) in [
            (503, "120", 120),
            (429, "300", 300),
            (503, "Fri, 31 Dec 1999 23:59:59 GMT", 0),
            (503, "99999999999", 600),
        ] {
            let rejected = site.reject(status, Some(value));
            let (failed, ()) = tokio::join!(attempt_failed(&mut socket), rejected);
            let delay = failed.retry_in.unwrap();
            let least = Duration::from_secs(seconds) + MIN;
            let upper = least + MIN * 2_u32.pow(failed.attempts + 1);
            assert!((least..=upper).contains(&delay), "{value}: {delay:?}");
        }
        let before = Instant::now();
        reconnects(&mut socket, &mut site).await;
        assert!(before.elapsed() >= most);
    }
}

/// The WebSockets of one client lose their connection at once. They come back one by one, over one
/// new connection.
#[tokio::test(start_paused = true)]
async fn many_websockets_come_back_spread_over_one_connection() {
    const COUNT: usize = 50;
    let mut site = Site::new();
    let [_, client] = site.clients();
    let mut sockets = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        let (socket, peer) = open(&mut site, builder(&client)).await;
        sockets.push(socket);
        peers.push(peer);
    }
    site.stop();
    drop(peers);
    site.start();
    *site.dials.lock().unwrap() = 0;
    let lost = Instant::now();
    let mut returning: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            tokio::spawn(async move {
                disconnected(&mut socket).await;
                connected(&mut socket).await;
                (lost.elapsed(), socket)
            })
        })
        .collect();
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        peers.push(site.accept().await);
    }
    let mut times = Vec::new();
    let mut open = Vec::new();
    for returning in returning.drain(..) {
        let (time, socket) = within(returning).await.unwrap();
        times.push(time);
        open.push(socket);
    }
    assert_eq!(*site.dials.lock().unwrap(), 1);
    times.sort();
    assert!(times[0] >= MIN, "{times:?}");
    let spread = times[COUNT - 1] - times[0];
    assert!(spread >= MIN / 2, "all at once: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn settings_out_of_range_are_errors() {
    let [client, _] = Site::new().clients();
    let zero = Duration::ZERO;
    for wrong in [
        builder(&client).min_delay(zero),
        builder(&client).max_delay(MIN / 2),
        builder(&client).max_delay(Duration::MAX),
        builder(&client).max_retry_after(Duration::MAX),
        builder(&client).hook_timeout(zero),
    ] {
        let error = wrong.clone().connect_lazy().unwrap_err();
        assert!(matches!(error, Error::Setting(_)), "{wrong:?}: {error}");
    }
    let error = builder(&client)
        .max_delay(MIN / 2)
        .connect()
        .await
        .unwrap_err();
    let Error::Setting(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        error.to_string(),
        "ReconnectingBuilder::max_delay is 500ms; it must be from 1s to 100 years"
    );
}
