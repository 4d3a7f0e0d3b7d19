//! Models of the answer to a request, of the slots of connections, and of a drain that meets a new
//! WebSocket.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use tokio::sync::oneshot;

use super::connection_slots::{ConnectionSlot, ConnectionSlots};
use super::pending::{Pending, Responder, Settled};
use super::registry::{Registry, UpgradedFrom};
use super::response::status;
use super::service::ResponseBody;
use crate::frame::Role;
use crate::metrics::{Observed, OpenConnection};
use crate::sync::model::{block_on, check, join, spawn};
use crate::transport::{IoStream, Transport};

fn ip() -> std::net::IpAddr {
    [192, 0, 2, 1].into()
}

fn take(slots: &Arc<ConnectionSlots>) -> Arc<ConnectionSlot> {
    let Ok(slot) = block_on(slots.take(ip())) else {
        unreachable!("no limit per client");
    };
    slot
}

fn upgraded_from(slot: &Arc<ConnectionSlot>) -> UpgradedFrom {
    let span = tracing::Span::none();
    let observed = Observed::new(1, Role::Server, Version::HTTP_11, Default::default(), span);
    UpgradedFrom {
        connection: Arc::new(OpenConnection::new(observed)),
        _in_use: slot.begin(),
    }
}

/// A request, and the client that waits for the response.
fn pending(
    slot: &Arc<ConnectionSlot>,
) -> (
    Arc<Pending>,
    oneshot::Receiver<http::Response<ResponseBody>>,
) {
    let (respond, client) = oneshot::channel();
    let responder = Responder::Http1 {
        respond,
        on: hyper::upgrade::on(Request::new(())),
        registry: Registry::new(),
        from: upgraded_from(slot),
    };
    (Pending::new(responder, Duration::from_secs(10)), client)
}

#[test]
fn a_handler_that_waits_is_woken_by_the_answer() {
    check(3, || {
        let slot = take(&ConnectionSlots::new(1, None));
        let (request, client) = pending(&slot);
        let answering = spawn({
            let request = request.clone();
            move || request.reject(status(StatusCode::FORBIDDEN))
        });
        let settled = block_on(poll_fn(|cx| request.poll_settled(cx)));
        assert_eq!(settled, Settled::Answered);
        join(answering);
        assert_eq!(block_on(client).unwrap().status(), StatusCode::FORBIDDEN);
        drop(request);
        assert!(!slot.is_in_use());
    });
}

#[test]
fn a_client_that_leaves_settles_its_request_once() {
    check(3, || {
        let slot = take(&ConnectionSlots::new(1, None));
        let (request, client) = pending(&slot);
        let leaving = spawn(move || drop(client));
        let answering = spawn({
            let request = request.clone();
            move || request.take().is_some()
        });
        let settled = block_on(poll_fn(|cx| request.poll_settled(cx)));
        join(leaving);
        assert_eq!(join(answering), settled == Settled::Answered);
        drop(request);
        assert!(!slot.is_in_use());
    });
}

#[test]
fn a_connection_that_waits_gets_the_slot_of_one_that_ends() {
    check(3, || {
        let slots = ConnectionSlots::new(1, None);
        let first = take(&slots);
        let ending = spawn(move || drop(first));
        drop(take(&slots));
        join(ending);
    });
}

#[test]
fn a_connection_that_waits_evicts_an_unused_one() {
    check(3, || {
        let slots = ConnectionSlots::new(1, None);
        let first = take(&slots);
        let ending = spawn(move || {
            block_on(first.evicted());
            drop(first);
        });
        let other = spawn({
            let slots = slots.clone();
            move || drop(take(&slots))
        });
        drop(take(&slots));
        join(ending);
        join(other);
    });
}

#[test]
fn a_drain_reaches_a_websocket_that_is_opened_meanwhile() {
    check(3, || {
        let slot = take(&ConnectionSlots::new(1, None));
        let registry = Registry::new();
        let draining = spawn({
            let registry = registry.clone();
            move || registry.drain()
        });
        let io = Box::new(tokio::io::empty());
        let transport = Transport::Http1 { connection: 1 };
        let mut stream = IoStream::new(io, Bytes::new(), transport, 1);
        registry.upgraded(&mut stream, upgraded_from(&slot));
        join(draining);
        assert!(stream.is_draining());
        let closing = spawn(move || drop(stream));
        block_on(registry.closed());
        join(closing);
        assert!(!slot.is_in_use());
    });
}
