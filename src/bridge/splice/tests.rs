//! Tests of the outcome of a splice when a peer has closed its connection.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::*;
use bytes::Bytes;
use std::io;

use super::flow::FlowState;
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

#[tokio::test]
async fn a_close_frame_is_read_even_if_a_write_to_its_sender_fails_first() {
    let stream = |io: BoxIo| {
        let stream = IoStream::new(io, Bytes::new(), Transport::Io, 1024);
        Stream::Io(Box::new(stream))
    };
    let (near, mut client) = tokio::io::duplex(1024);
    // "x", and the echo of the upstream's Close frame, both masked with zeros.
    let sent = b"\x82\x81\0\0\0\0x\x88\x82\0\0\0\0\x03\xf0";
    client.write_all(sent).await.unwrap();
    let second = Duration::from_secs(1);
    let linger = Linger {
        unsent: second,
        peer: second,
    };
    let times = Times {
        idle: None,
        close: second,
        client_linger: linger,
        upstream_linger: linger,
    };
    let (broken, _) = tokio::io::duplex(1);
    let upstream = tokio::io::join(ClosedPeer { polls: 0 }, broken);
    let (client, upstream) = (stream(Box::new(near)), stream(Box::new(upstream)));
    let mut splice = Splice::new(client, upstream, times, Meters::new(None, None));
    let (outcome, _) = poll_fn(|cx| splice.poll_over(cx)).await;
    assert_eq!(
        outcome,
        Outcome::By(Side::Client, CloseCode::POLICY_VIOLATION)
    );
    assert_eq!(splice.down.state, FlowState::Closed);
}
