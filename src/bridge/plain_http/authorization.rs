//! Asks the server of [`ForwardAuth`] about a request, over pooled connections.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::connections::{Connection, PoolKey, Requirements};
use super::upload::Upload;
use crate::bridge::access::AccessRecord;
use crate::bridge::connection_auth::authenticates_connection;
use crate::bridge::forward_auth::{Authorizing, ForwardAuth};
use crate::bridge::{Inner, Route, Timeouts, headers, rejection};
use crate::error::{Chain, Error};
use crate::handshake::HandshakeError;

/// Maximum size of an answer's body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Why the server did not decide.
enum Undecided {
    /// Too many requests wait for it, of this client or of all.
    Busy(&'static str),
    TimedOut,
    TooLarge,
    Failed(Error),
}

/// Asks the route's server, if it has one, whether the request may pass, and adds the
/// fields that it grants. Fails with the response to the client.
///
/// # Cancel safety
///
/// Dropping the future cancels the request to the server.
pub(in crate::bridge) async fn authorize(
    bridge: &Inner,
    route: &Route,
    request: Authorizing<'_>,
    access: &mut AccessRecord,
) -> Result<(), Box<Response<Bytes>>> {
    let Some(auth) = route.forward_auth() else {
        return Ok(());
    };
    auth.strip(request.fields);
    let client = access.client();
    let mut waits = Some("too many requests of this client wait for it");
    let asking = async {
        let turn = auth.places.turn(client);
        // They are never closed.
        let _of_client = match &turn {
            Some(turn) => turn.take().await.ok(),
            None => None,
        };
        waits = Some("too many requests wait for it");
        let _place = auth.places.take().await;
        waits = None;
        ask(bridge, auth, auth.fields(&request)).await
    };
    // Boxed: it is large, and must not add to the memory of requests without it.
    let asked = timeout(auth.timeout, Box::pin(asking)).await;
    let undecided = match asked {
        Ok(Ok(answer)) if answer.status().is_success() => {
            auth.grant(request.fields, answer.headers());
            return Ok(());
        }
        Ok(Ok(mut answer)) => {
            let status = answer.status().as_u16();
            access.set_reason(format_args!("forward authentication answered {status}"));
            let fields = std::mem::take(answer.headers_mut());
            *answer.headers_mut() = headers::response(fields);
            route.response_headers().apply(answer.headers_mut());
            return Err(Box::new(answer));
        }
        Ok(Err(undecided)) => undecided,
        Err(_) => waits.map_or(Undecided::TimedOut, Undecided::Busy),
    };
    let (status, reason) = match undecided {
        Undecided::Busy(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_owned()),
        Undecided::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timed out".to_owned()),
        Undecided::TooLarge => (
            StatusCode::BAD_GATEWAY,
            format!("the answer exceeds {MAX_BODY} bytes"),
        ),
        Undecided::Failed(error) => (StatusCode::BAD_GATEWAY, Chain(&error).to_string()),
    };
    tracing::warn!(
        route = route.name(),
        url = auth.url(),
        error = reason,
        "forward authentication failed"
    );
    access.set_reason(format_args!("forward authentication failed: {reason}"));
    let mut response = rejection::plain(status, "cannot authorize the request");
    route.response_headers().apply(response.headers_mut());
    Err(Box::new(response))
}

/// Sends the request; a second time, on a new connection, if the first one had been
/// closed by the server.
async fn ask(
    bridge: &Inner,
    auth: &ForwardAuth,
    fields: HeaderMap,
) -> Result<Response<Bytes>, Undecided> {
    let target = auth.target();
    let key = PoolKey::of_target(&bridge.client, target);
    let requirements = Requirements {
        client: None,
        authenticates: authenticates_connection(&fields),
        is_repeatable: true,
        keep: Timeouts::default().pool_idle,
    };
    let mut is_new = false;
    loop {
        let connections = &bridge.connections;
        let connecting = connections.get(&key, target, &requirements, is_new);
        let mut connection = connecting.await.map_err(Undecided::Failed)?;
        let mut request = Request::new(Upload::empty(std::sync::Arc::default()));
        *request.headers_mut() = fields.clone();
        if connection.is_http2() {
            *request.uri_mut() = target.http_uri();
        } else {
            *request.uri_mut() = target.path_and_query().parse().unwrap_or_default();
            if let Ok(host) = HeaderValue::from_str(target.authority()) {
                request.headers_mut().insert(HOST, host);
            }
            request.headers_mut().remove(CONNECTION);
        }
        match connection.send(request, &requirements).await {
            Ok(response) => return read(response, connection).await,
            Err(_) if connection.is_reused && !is_new => is_new = true,
            Err(failure) => return Err(Undecided::Failed(failure.error)),
        }
    }
}

/// Reads an answer to its end, and keeps the connection for the next request. What
/// follows the head of an answer with 2xx is of no interest.
async fn read(
    response: Response<Incoming>,
    connection: Connection,
) -> Result<Response<Bytes>, Undecided> {
    let (parts, mut body) = response.into_parts();
    if parts.status.is_informational() {
        let error = HandshakeError::Status(parts.status);
        return Err(Undecided::Failed(error.into()));
    }
    let mut read = BytesMut::new();
    let complete = loop {
        match body.frame().await {
            None => break Ok(()),
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                if read.len() + data.len() > MAX_BODY {
                    break Err(Undecided::TooLarge);
                }
                read.extend_from_slice(&data);
            }
            Some(Err(error)) => {
                let error = crate::transport::StreamError::from(error);
                break Err(Undecided::Failed(error.into()));
            }
        }
    };
    match complete {
        Ok(()) => connection.release(),
        // Such a connection is not used again.
        Err(_) if parts.status.is_success() => {}
        Err(undecided) => return Err(undecided),
    }
    Ok(Response::from_parts(parts, read.freeze()))
}
