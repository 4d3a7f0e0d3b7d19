//! The client as a tower service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::client::Client;
use crate::error::Error;
use crate::socket::WebSocket;

/// Opens a WebSocket to a request's URI with the request's header fields; its method and
/// version are ignored. This allows layers of tower: timeouts, retries, rate limits, load
/// balancing.
///
/// # Example
///
/// ```no_run
/// use h2ws::{Client, WebSocket};
/// use h2ws::http::{Request, Response};
/// use tower_service::Service;
///
/// # async fn example() -> Result<(), h2ws::Error> {
/// let mut client = Client::new();
/// let request = Request::get("wss://example.com/chat")
///     .header("authorization", "Bearer secret")
///     .body(())
///     .expect("a valid request");
/// let (socket, response): (WebSocket, Response<()>) = client.call(request).await?;
/// # Ok(())
/// # }
/// ```
impl Service<Request<()>> for Client {
    type Response = (WebSocket, Response<()>);
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    /// Always ready, because a request itself waits for a connection.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let (parts, ()) = request.into_parts();
        let mut opening = self.request(&parts.uri);
        for (name, value) in &parts.headers {
            opening = opening.header(name, value);
        }
        Box::pin(opening.connect_with_response())
    }
}
