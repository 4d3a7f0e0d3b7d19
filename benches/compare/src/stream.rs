//! One stream in either design.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use crate::owned::Handle;

/// A bidirectional stream of bytes.
#[derive(Debug)]
pub enum Stream {
    /// The socket's task calls h2.
    Direct {
        /// The sending side.
        send: SendStream<Bytes>,
        /// The receiving side.
        receive: RecvStream,
        /// Whether to receive all that is readable, instead of one DATA frame.
        pack: bool,
    },
    /// The connection's task calls h2.
    Owned(Handle),
}

impl Stream {
    /// Waits for data and appends it. Returns false at the end of the stream.
    ///
    /// # Errors
    ///
    /// If the stream was reset or its connection has ended.
    pub async fn receive(&mut self, into: &mut Vec<Bytes>) -> Result<bool, h2::Error> {
        match self {
            Self::Owned(handle) => Ok(handle.receive(into).await),
            Self::Direct { receive, pack, .. } => {
                let length = poll_fn(|cx| {
                    let (mut length, mut ended) = (0, false);
                    while let Poll::Ready(next) = receive.poll_data(cx) {
                        let Some(data) = next.transpose()? else {
                            ended = true;
                            break;
                        };
                        length += data.len();
                        into.push(data);
                        if !*pack {
                            break;
                        }
                    }
                    if length > 0 || ended {
                        Poll::Ready(Ok::<_, h2::Error>(length))
                    } else {
                        Poll::Pending
                    }
                })
                .await?;
                let _ = receive.flow_control().release_capacity(length);
                Ok(length > 0)
            }
        }
    }

    /// Queues data for one DATA frame. Returns false if the stream has ended.
    ///
    /// This does not wait for capacity, because the number of messages in flight limits the queue.
    pub fn send(&mut self, data: Bytes) -> bool {
        match self {
            Self::Owned(handle) => {
                handle.send(data);
                true
            }
            Self::Direct { send, .. } => send.send_data(data, false).is_ok(),
        }
    }

    /// Echoes all data until the end of the stream.
    pub async fn echo(mut self) {
        let mut chunks = Vec::new();
        while let Ok(true) = self.receive(&mut chunks).await {
            if !self.send(pack(&mut chunks)) {
                return;
            }
        }
    }
}

/// Joins several chunks into one. A single chunk is not copied.
pub fn pack(chunks: &mut Vec<Bytes>) -> Bytes {
    if chunks.len() == 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    for chunk in chunks.drain(..) {
        whole.extend_from_slice(&chunk);
    }
    whole.freeze()
}
