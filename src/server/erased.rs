//! Hides the type of the application's service.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower_service::Service;

use super::body::Body;
use super::peer::Peer;
use super::service::{BoxError, Fallback};
use super::truncated_body::TruncatedBody;

/// Boxes a service. It is cloned for each request.
pub(super) fn service<S, B>(service: S) -> Fallback
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = Mutex::new(service);
    Arc::new(move |request| {
        let mut service = service
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(|body| TruncatedBody::new(body).boxed_unsync()))
        })
    })
}

/// Boxes a service that makes another service for the peer of each request.
pub(super) fn make_service<M, S, B>(make: M) -> Fallback
where
    M: Service<SocketAddr, Response = S, Error: Into<BoxError>> + Clone + Send + 'static,
    M::Future: Send,
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let made = move |request: Request<Body>| {
        let mut make = make.clone();
        async move {
            let peer = request.extensions().get::<Peer>().map(Peer::addr);
            let peer = peer.ok_or("the request has no `Peer` extension")?;
            poll_fn(|cx| make.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let mut service = make.call(peer).await.map_err(Into::into)?;
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            service.call(request).await.map_err(Into::into)
        }
    };
    service(ServiceFn(made))
}

/// A function as a service.
#[derive(Clone)]
struct ServiceFn<F>(F);

impl<F, Fut, T> Service<Request<Body>> for ServiceFn<F>
where
    F: Fn(Request<Body>) -> Fut,
    Fut: Future<Output = Result<T, BoxError>>,
{
    type Response = T;
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Fut {
        (self.0)(request)
    }
}
