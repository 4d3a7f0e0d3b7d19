//! The closing handshake (RFC 6455 §7), seen from one end:
//!
//! ```text
//!             close()                        write(), once the pending
//!   open ───────────────► our Close queued ───────────────────────────► our Close sent
//!    │                          │             fragments are out               │
//!    │ peer's Close             │ peer's Close                                │ peer's Close
//!    ▼                          ▼                                             ▼
//!   echo owed ◄─────────────────┘             write()                      closed
//!    └──────────────────────────────────────────────────────────────────────►
//! ```
//!
//! The peer's breach of the protocol leads from anywhere to a Close that says so being owed,
//! unless ours was sent already; nothing is received after it.

use bytes::Bytes;

use super::Protocol;
use crate::frame::close::CloseFrame;
use crate::frame::encoder::{Frame, Output};
use crate::frame::error::{ProtocolError, SendError};
use crate::frame::header::OpCode;

/// What there is to know from the first sign of the end on.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Our Close frame is written.
    pub(super) sent: bool,
    /// What our Close frame says, while it is not sent.
    ours: Option<CloseFrame>,
    /// The peer's Close frame.
    pub(super) theirs: Option<Option<CloseFrame>>,
    pub(super) error: Option<ProtocolError>,
}

impl Protocol {
    /// Whether our Close frame is written.
    #[must_use]
    pub fn close_sent(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.sent)
    }

    /// The peer's Close frame: `None` when there was none yet, `Some(None)` when it was empty.
    #[must_use]
    pub fn received_close(&self) -> Option<Option<&CloseFrame>> {
        Some(self.closing.as_ref()?.theirs.as_ref()?.as_ref())
    }

    /// Whether both Close frames have passed: the end of the transport may follow (RFC 6455
    /// §7.1.1).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.close_sent() && self.received_close().is_some()
    }

    /// How the peer broke the protocol, if it did.
    #[must_use]
    pub fn failed(&self) -> Option<&ProtocolError> {
        self.closing.as_ref()?.error.as_ref()
    }

    /// Begins the closing handshake; no message can be sent after it. The Close frame is written
    /// at once, or, when fragments of a message are pending, by the [`write`](Self::write) that
    /// writes the last of them.
    ///
    /// # Errors
    /// [`SendError::InvalidCloseFrame`]: nothing has happened. [`SendError::Closed`]: a Close
    /// frame is sent or owed already, which stands.
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
