//! A model of a piece that `h2` releases while the driver services its stream.

use super::*;
use crate::sync::model::{check, join, spawn};
use crate::transport::buffer::Payload;
use crate::transport::h2::Http2Config;
use crate::transport::h2::models::{connected, orderly, run_to_the_end, send};

#[test]
fn a_piece_that_is_released_lets_its_stream_send_and_end() {
    check(3, || {
        let (mut stream, connection) = connected(&Http2Config::default());
        let payload = Payload::Shared("piece".into());
        let held = payload.held() as u32;
        stream.shared.queued.fetch_add(held, Ordering::AcqRel);
        let piece = SendBuf::new(payload, stream.shared.clone());
        send(&mut stream, "next");
        stream.finish(orderly());
        let releasing = spawn(move || drop(piece));
        assert_eq!(run_to_the_end(connection), "next");
        join(releasing);
    });
}
