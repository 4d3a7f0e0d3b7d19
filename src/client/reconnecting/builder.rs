//! [`ReconnectingBuilder`]: configures a WebSocket that reconnects.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::ReconnectingWebSocket;
use super::policy::Policy;
use crate::client::request::RequestBuilder;
use crate::error::{DisconnectCause, Error};
use crate::socket::WebSocket;

/// Configures a [`ReconnectingWebSocket`]; see [`RequestBuilder::reconnecting`].
#[derive(Clone)]
#[must_use = "nothing is sent before `connect`"]
pub struct ReconnectingBuilder(Policy);

impl RequestBuilder {
    /// Opens a WebSocket with this request, and another one whenever it is lost.
    ///
    /// Each attempt sends the same request, [early messages](Self::early_message) included, after
    /// [`before_connect`](ReconnectingBuilder::before_connect).
    pub fn reconnecting(self) -> ReconnectingBuilder {
        ReconnectingBuilder(Policy::new(self))
    }
}

impl ReconnectingBuilder {
    /// Minimum time before an attempt to reconnect. Default 1 s.
    ///
    /// The delay of the nth attempt in a row is random: at least `min_delay`, and at most
    /// `min_delay` × 2ⁿ or [`max_delay`](Self::max_delay). So the many clients that lose a server
    /// at once do not return at once. A failed first attempt counts, and so does a WebSocket that
    /// was lost within [`reset_after`](Self::reset_after): 1 s to 4 s follow.
    pub fn min_delay(mut self, delay: Duration) -> Self {
        self.0.backoff.min = delay;
        self
    }

    /// Maximum time before an attempt to reconnect, unless the server asks for more by
    /// `Retry-After`. Default 60 s.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.0.backoff.max = delay;
        self
    }

    /// Maximum time that a `Retry-After` of the server or a proxy (RFC 9110 §10.2.3) adds to the
    /// delay. Default 1 h.
    pub fn max_retry_after(mut self, delay: Duration) -> Self {
        self.0.backoff.max_retry_after = delay;
        self
    }

    /// Time for which a WebSocket must have been open to count as a success, after which delays
    /// and attempts start again. Default 10 s.
    ///
    /// A server that accepts WebSockets only to close them is thus not reconnected to in a loop
    /// without delay.
    pub fn reset_after(mut self, duration: Duration) -> Self {
        self.0.reset_after = duration;
        self
    }

    /// Maximum number of attempts in a row, after which it ends with
    /// [`Error::GaveUp`]. Default `None`, no maximum.
    pub fn max_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.0.max_attempts = attempts.into();
        self
    }

    /// Maximum duration of each call of a hook. Default 20 s. An attempt whose hook takes longer
    /// fails with [`Timeout::Hook`](crate::Timeout::Hook).
    pub fn hook_timeout(mut self, timeout: Duration) -> Self {
        self.0.hook_timeout = timeout;
        self
    }

    /// Calls a function before each attempt, which returns the request to send: for an access
    /// token that expires, or the number of the last message received.
    ///
    /// It gets a copy of the original request, so a header field that it adds is sent once. If it
    /// fails, the attempt fails with its error.
    ///
    /// ```no_run
    /// # async fn token() -> Result<String, h2ws::Error> { Ok(String::new()) }
    /// # async fn example(client: h2ws::Client) -> Result<(), h2ws::Error> {
    /// let socket = client
    ///     .request("wss://example.com/news")
    ///     .reconnecting()
    ///     .before_connect(|request| async {
    ///         Ok(request.header("authorization", format!("Bearer {}", token().await?)))
    ///     })
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn before_connect<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(RequestBuilder) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<RequestBuilder, Error>> + Send + 'static,
    {
        self.0.before_connect = Some(Arc::new(move |request| Box::pin(hook(request))));
        self
    }

    /// Calls a function with each new WebSocket before anything else is sent on it: to log in, or
    /// to subscribe again. What it receives is not received by
    /// [`recv`](ReconnectingWebSocket::recv).
    ///
    /// If it fails, the attempt fails with its error, or if the server has closed the WebSocket,
    /// with that close code.
    ///
    /// ```no_run
    /// # async fn example(client: h2ws::Client, channel: String) -> Result<(), h2ws::Error> {
    /// let socket = client
    ///     .request("wss://example.com/news")
    ///     .reconnecting()
    ///     .after_connect(move |socket| {
    ///         let channel = channel.clone();
    ///         Box::pin(async move { socket.send(format!("subscribe {channel}")).await })
    ///     })
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(
                &'a mut WebSocket,
            ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        self.0.after_connect = Some(Arc::new(hook));
        self
    }

    /// Decides after which ends and failures to reconnect. Default
    /// [`DisconnectCause::is_retryable`].
    ///
    /// ```no_run
    /// # fn example(client: h2ws::Client) {
    /// // This server closes with 4000 before it restarts, and without a code after an hour.
    /// let builder = client.request("wss://example.com/").reconnecting().reconnect_if(|cause| {
    ///     let code = cause.close_code().map(u16::from);
    ///     matches!(code, Some(1005 | 4000)) || cause.is_retryable()
    /// });
    /// # }
    /// ```
    pub fn reconnect_if<F>(mut self, decide: F) -> Self
    where
        F: Fn(&DisconnectCause) -> bool + Send + Sync + 'static,
    {
        self.0.reconnect_if = Some(Arc::new(decide));
        self
    }

    /// Opens the first WebSocket, in one attempt, so that a wrong URL or password is reported at
    /// once. To also retry the first attempt, use [`connect_lazy`](Self::connect_lazy).
    ///
    /// # Errors
    ///
    /// As [`RequestBuilder::connect`]; [`Error::Setting`] if a setting is out of range; the error
    /// of a hook, or [`Error::GaveUp`] if the server closes the WebSocket during
    /// [`after_connect`](Self::after_connect).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt.
    pub async fn connect(self) -> Result<ReconnectingWebSocket, Error> {
        self.0.validate()?;
        let policy = Arc::new(self.0);
        // Boxed as later attempts are, because the future is large.
        match Box::pin(policy.clone().attempt()).await {
            Ok(socket) => Ok(ReconnectingWebSocket::open(policy, socket)),
            Err(DisconnectCause::Error(error)) => Err(error),
            Err(last) => Err(Error::GaveUp {
                attempts: 1,
                last: Box::new(last),
            }),
        }
    }

    /// Returns at once. The first call of [`recv`](ReconnectingWebSocket::recv) or
    /// [`send`](ReconnectingWebSocket::send) makes the first attempt, and failed attempts are
    /// repeated as after a disconnect.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a setting is out of range.
    pub fn connect_lazy(self) -> Result<ReconnectingWebSocket, Error> {
        self.0.validate()?;
        Ok(ReconnectingWebSocket::lazy(Arc::new(self.0)))
    }
}

impl fmt::Debug for ReconnectingBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
