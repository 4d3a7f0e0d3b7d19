//! The types by which a server calls the application's service.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

use super::body::Body;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The body of any response.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// Answers a plain HTTP request.
pub(super) type Fallback =
    Arc<dyn Fn(Request<Body>) -> BoxFuture<Result<Response<ResponseBody>, BoxError>> + Send + Sync>;
