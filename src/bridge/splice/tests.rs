//! Tests of the outcome of a splice, and of when it releases its limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::*;
use bytes::Bytes;
use std::io;

use super::flow::FlowState;
use crate::socket::WebSocketConfig;
use crate::transport::{BoxIo, IoStream, Transport};

const CLOSE_1008: [u8; 4] = [0x88, 2, 0x03, 0xf0];

/// A peer that has sent a Close frame and then closed the connection. The frame becomes readable
/// only on the second poll.
struct ClosedPeer {
    polls: usize,
}

impl AsyncRead for ClosedPeer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.polls += 1;
        match self.polls {
            1 => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            2 => buf.put_slice(&CLOSE_1008),
            _ => {}
        }
        Poll::Ready(Ok(()))
    }
}

fn stream(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Stream {
    let io: BoxIo = Box::new(io);
    let stream = IoStream::new(io, Bytes::new(), Transport::Io, 1024);
    Stream::Io(Box::new(stream))
}

fn times() -> Times {
    let second = Duration::from_secs(1);
    let config = WebSocketConfig {
        close_timeout: second,
        linger: Some(second),
        ..WebSocketConfig::default()
    };
    Times {
        idle: None,
        config: Arc::new(config),
    }
}

#[test]
fn is_small() {
    let size = size_of::<Splice>();
    assert!(size <= 384, "{size} bytes, once per bridged socket");
}

#[tokio::test]
async fn a_close_frame_is_read_even_if_a_write_to_its_sender_fails_first() {
    let (near, mut client) = tokio::io::duplex(1024);
    // "x", and the echo of the upstream's Close frame, both masked with zeros.
    let sent = b"\x82\x81\0\0\0\0x\x88\x82\0\0\0\0\x03\xf0";
    client.write_all(sent).await.unwrap();
    let (broken, _) = tokio::io::duplex(1);
    let upstream = tokio::io::join(ClosedPeer { polls: 0 }, broken);
    let (client, upstream) = (stream(near), stream(upstream));
    let meters = Meters::new(None, None);
    let mut splice = Splice::new(
        client,
        upstream,
        times(),
        Lifetime::default(),
        Pings::default(),
        meters,
        Box::new(()),
    );
    let (outcome, _) = poll_fn(|cx| splice.poll_over(cx)).await;
    assert_eq!(
        outcome,
        Outcome::By(Side::Client, CloseCode::POLICY_VIOLATION)
    );
    assert_eq!(splice.down.state, FlowState::Closed);
}

/// The client's connection. It records whether the splice was still counted against limits when
/// each write, or the end, was handed to it.
struct Watched {
    io: DuplexStream,
    admission: Weak<()>,
    counted: Arc<Mutex<Vec<bool>>>,
}

impl Watched {
    fn record(&self) {
        let counted = self.admission.strong_count() > 0;
        self.counted.lock().unwrap().push(counted);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.record();
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.record();
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Something that one side does: it sends bytes, or ends its stream.
enum Event {
    Sends(Side, &'static [u8]),
    Ends(Side),
}

/// Lets the events happen one after the other, and returns what [`Watched`] recorded of the writes.
async fn counted_at_writes(events: &[Event]) -> Vec<bool> {
    let (near, mut client) = tokio::io::duplex(1024);
    let (far, mut upstream) = tokio::io::duplex(1024);
    let admission = Arc::new(());
    let counted = Arc::default();
    let watched = Watched {
        io: near,
        admission: Arc::downgrade(&admission),
        counted: Arc::clone(&counted),
    };
    let streams = (stream(watched), stream(far));
    let meters = Meters::new(None, None);
    let mut splice = Splice::new(
        streams.0,
        streams.1,
        times(),
        Lifetime::default(),
        Pings::default(),
        meters,
        Box::new(admission),
    );
    let mut is_over = false;
    for event in events {
        assert!(!is_over, "over before the last event");
        let (side, bytes) = match event {
            Event::Sends(side, bytes) => (side, *bytes),
            Event::Ends(side) => (side, &b""[..]),
        };
        let end = match side {
            Side::Upstream => &mut upstream,
            _ => &mut client,
        };
        end.write_all(bytes).await.unwrap();
        if matches!(event, Event::Ends(_)) {
            end.shutdown().await.unwrap();
        }
        is_over = poll_fn(|cx| Poll::Ready(splice.poll_over(cx).is_ready())).await;
    }
    assert!(is_over, "not over after the last event");
    let counted = counted.lock().unwrap();
    counted.clone()
}

#[tokio::test]
async fn limits_are_released_before_the_client_is_sent_the_last_bytes_or_the_end() {
    use Event::{Ends, Sends};
    use Side::{Client, Upstream};

    const DATA: &[u8] = b"\x82\x01x";
    const MASKED_CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
    const CLOSE: &[u8] = b"\x88\x02\x03\xe8";
    // Whether the WebSocket was counted at each write to the client, or end of it.
    let cases: [(&str, &[Event], &[bool]); 4] = [
        ("the upstream ends", &[Ends(Upstream)], &[false]),
        (
            "it had sent data",
            &[Sends(Upstream, DATA), Ends(Upstream)],
            &[true, false],
        ),
        (
            "the upstream answers a Close",
            &[Sends(Client, MASKED_CLOSE), Sends(Upstream, CLOSE)],
            &[false],
        ),
        (
            "the client ends, then the upstream",
            &[Ends(Client), Sends(Upstream, CLOSE)],
            &[false],
        ),
    ];
    for (case, events, expected) in cases {
        assert_eq!(counted_at_writes(events).await, expected, "{case}");
    }
}
