//! The closing handshake (RFC 6455 §7), as one endpoint sees it:
//!
//! ```text
//!             close()                        write(), once the pending
//!   open ───────────────► our Close queued ───────────────────────────► our Close sent
//!    │                          │             fragments are out               │
//!    │ peer's Close             │ peer's Close                                │ peer's Close
//!    ▼                          ▼                                             ▼
//!   echo due  ◄─────────────────┘             write()                      closed
//!    └──────────────────────────────────────────────────────────────────────►
//! ```
//!
//! A violation of the protocol by the peer makes a Close frame with the matching code due in any
//! state, unless ours was sent already. Nothing is received after it.

use bytes::Bytes;

use super::Protocol;
use crate::frame::close::CloseFrame;
use crate::frame::encoder::{Frame, Output};
use crate::frame::error::{ProtocolError, SendError};
use crate::frame::header::OpCode;

/// The state of a connection that is closing.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Whether our Close frame has been written.
    pub(super) sent: bool,
    /// The content of our Close frame, until it is sent.
    ours: Option<CloseFrame>,
    /// The peer's Close frame, once received.
    pub(super) theirs: Option<Option<CloseFrame>>,
    /// The peer's violation of the protocol.
    pub(super) error: Option<ProtocolError>,
}

impl Protocol {
    /// Returns whether our Close frame has been written.
    #[must_use]
    pub fn close_sent(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.sent)
    }

    /// Returns the peer's Close frame: `None` if it has not been received, `Some(None)` if it was
    /// empty.
    #[must_use]
    pub fn received_close(&self) -> Option<Option<&CloseFrame>> {
        Some(self.closing.as_ref()?.theirs.as_ref()?.as_ref())
    }

    /// Returns whether Close frames have been exchanged: the transport may be closed now (RFC 6455
    /// §7.1.1).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.close_sent() && self.received_close().is_some()
    }

    /// Returns the peer's violation of the protocol, if there was one.
    #[must_use]
    pub fn failed(&self) -> Option<&ProtocolError> {
        self.closing.as_ref()?.error.as_ref()
    }

    /// Begins the closing handshake. No message can be sent afterwards. The Close frame is written
    /// at once or, if fragments of a message are pending, by the [`write`](Self::write) that writes
    /// the last of them.
    ///
    /// # Errors
    /// [`SendError::InvalidCloseFrame`] if `frame` cannot be sent, and [`SendError::Closed`] if a
    /// Close frame was sent or is due already. Nothing changes then.
    pub fn close(
        &mut self,
        frame: Option<CloseFrame>,
        mut key: impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) -> Result<(), SendError> {
        if self.closing.is_some() {
            return Err(SendError::Closed);
        }
        frame.as_ref().map_or(Ok(()), CloseFrame::check)?;
        self.closing = Some(Box::new(Closing {
            ours: frame,
            ..Closing::default()
        }));
        if self.pending.is_none() {
            self.write(&mut key, out);
        }
        Ok(())
    }

    pub(super) fn write_close(
        &mut self,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) -> bool {
        let role = self.role();
        let Some(closing) = self.closing.as_mut().filter(|closing| !closing.sent) else {
            return false;
        };
        closing.sent = true;
        let payload = closing
            .ours
            .take()
            .map_or_else(Bytes::new, |frame| frame.payload());
        Frame::whole(OpCode::Close, payload).write(role, key, out);
        true
    }

    pub(super) fn received_close_frame(&mut self, frame: &Option<CloseFrame>) {
        let closing = self.closing.get_or_insert_default();
        if !closing.sent {
            closing.ours = frame.as_ref().map(|frame| frame.code.into());
        }
        closing.theirs = Some(frame.clone());
        self.pending = None;
    }

    pub(super) fn fail(&mut self, error: &ProtocolError) {
        let closing = self.closing.get_or_insert_default();
        if !closing.sent {
            closing.ours = Some(CloseFrame::new(error.close_code(), error.to_string()));
        }
        closing.error = Some(error.clone());
        self.pending = None;
    }
}
