//! Passes plain HTTP requests to the application's service.

use http::{Request, Response, StatusCode};

use super::body::Body;
use super::response::status;
use super::service::{Fallback, ResponseBody};
use crate::error::Chain;
use crate::handshake::headers;
use crate::transport::h2::{H2Incoming, H2Responder};

/// Calls the service. If it fails, the response is 500.
pub(super) async fn call(fallback: &Fallback, request: Request<Body>) -> Response<ResponseBody> {
    fallback(request).await.unwrap_or_else(|error| {
        tracing::warn!(error = %Chain(&*error), "the service failed");
        status(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

/// Answers a request over HTTP/2 with the service's response.
pub(super) async fn answer(incoming: H2Incoming, fallback: Fallback) {
    let service =
        async |request: Request<_>| for_http2(call(&fallback, request.map(Body::h2)).await);
    incoming.answer(service).await;
}

/// Answers a request over HTTP/2 without calling the service.
pub(super) fn respond(incoming: H2Incoming, response: Response<ResponseBody>) {
    incoming.respond(for_http2(response));
}

/// Answers a WebSocket request over HTTP/2 with a response that opens no WebSocket.
pub(super) fn reject(responder: H2Responder, response: Response<ResponseBody>) {
    responder.reject(for_http2(response));
}

/// Removes the header fields that HTTP/2 forbids.
fn for_http2(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    headers::remove_forbidden_in_http2(response.headers_mut());
    response
}
