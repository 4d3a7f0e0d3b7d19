//! The line of a record in the log.

use http::Method;

use super::{AccessRecord, Moment};
use crate::server::version_name;
use crate::transport::Transport;

impl AccessRecord {
    pub(super) fn log(&self) {
        let Some(closed) = self.closed else {
            return;
        };
        let (version, connection, stream) = match self.transport {
            Transport::Http2 { connection, stream } => ("HTTP/2", Some(connection), Some(stream)),
            Transport::Http1 { connection } => ("HTTP/1.1", Some(connection), None),
            _ => ("none", None, None),
        };
        tracing::info!(
            target: "h2ws::access",
            peer = %self.peer,
            client = %self.client,
            version,
            connection,
            stream,
            method = self.method.as_ref().map(Method::as_str),
            authority = &*self.authority,
            path = &*self.path,
            origin = self.origin.as_deref(),
            user_agent = self.user_agent.as_deref(),
            request_id = self.ids.request_id().map(tracing::field::display),
            trace_id = self.ids.trace_id().map(tracing::field::display),
            span_id = self.ids.span_id().map(tracing::field::display),
            route = self.route.as_deref(),
            upstream = self.upstream.as_deref(),
            address = self.address.map(tracing::field::display),
            upstream_version = self.upstream_version.map(version_name),
            status = self.status.map(|status| status.as_u16()),
            subprotocol = self.subprotocol(),
            extensions = self.extensions(),
            messages_up = self.messages.up,
            messages_down = self.messages.down,
            bytes_up = self.bytes.up,
            bytes_down = self.bytes.down,
            answer_ms = self.answered_at.map(Moment::milliseconds),
            first_byte_ms = self.first_byte_at.map(Moment::milliseconds),
            duration_ms = self.began.elapsed().as_millis() as u64,
            closed_by = %closed.by(),
            closed = closed.how(),
            code = closed.code().filter(|_| self.method.is_none()),
            reason = self.reason(),
            "{}",
            if self.method.is_some() { "request" } else { "socket" },
        );
    }
}
