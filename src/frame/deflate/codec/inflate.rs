//! Inflates received messages.

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{Deflate, INPUT, QUANTUM, STEP, TAIL, Work};
use crate::frame::ProtocolError;

/// [`TAIL`] and another empty block. A valid message ends at the end of the first.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 0, 0, 0, 0xff, 0xff];

/// Inflates the messages of one connection, piece by piece as they arrive.
pub(in crate::frame) struct Inflater {
    window_bits: u8,
    takeover: bool,
    /// Absent until a message needs it, and between messages without context takeover.
    stream: Option<Inflate>,
    at: At,
    /// Work that has not been deducted yet.
    work: Work,
}

/// The position within a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before its first byte.
    Start,
    Within,
    /// After a block with BFINAL set: what follows, if anything, is a new stream (RFC 7692
    /// §7.2.3.4).
    Final,
}

/// The result of a step.
struct Step {
    read: usize,
    written: usize,
    status: Status,
}

impl Inflater {
    pub(in crate::frame) fn new(settings: &Deflate) -> Self {
        Self {
            // Peers that announce 8 may compress with 9, as zlib does.
            window_bits: settings.receive_window_bits.clamp(9, 15),
            takeover: settings.receive_context_takeover,
            stream: None,
            at: At::Start,
            work: Work::default(),
        }
    }

    pub(in crate::frame) const fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    /// Returns whether nothing more is inflated until work has been [deducted](Work::deduct).
    pub(in crate::frame) const fn must_pause(&self) -> bool {
        self.work.is_enough()
    }

    /// Inflates the next piece of a message into `sink` until it [must pause](Self::must_pause), in
    /// steps small enough for the sink to stop it before much memory is used. Returns how many
    /// bytes of the piece were inflated.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidDeflate`], or the sink's error. The inflater must not be used again.
    pub(in crate::frame) fn push(
        &mut self,
        input: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        let mut rest = input;
        let mut full = false;
        // A full step may have left output behind even if all input was read. It comes from a few
        // bits of input, so it is little, and not worth a pause.
        while full && rest.is_empty() || !rest.is_empty() && !self.must_pause() {
            let some = &rest[..rest.len().min(QUANTUM / INPUT)];
            let step = self.step(some, InflateFlush::NoFlush, sink)?;
            self.work.inflated(step.read, step.written);
            rest = &rest[step.read..];
            full = step.written == STEP;
            if step.status == Status::StreamEnd {
                self.at = At::Final;
                full = false;
            } else if step.read == 0 && step.written == 0 {
                break;
            }
        }
        Ok(input.len() - rest.len())
    }

    /// Ends the message by inflating the tail that the sender left out (RFC 7692 §7.2.2).
    ///
    /// # Errors
    /// As for [`push`](Self::push), and if the data does not end here.
    pub(in crate::frame) fn finish(
        &mut self,
        sink: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        // Some peers send an empty message without any data.
        if self.at == At::Within {
            let mut end = &END[..];
            loop {
                let step = self.step(end, InflateFlush::Block, sink)?;
                end = &end[step.read..];
                if step.status == Status::StreamEnd {
                    return Err(ProtocolError::InvalidDeflate);
                }
                if step.written < STEP {
                    break;
                }
            }
            if end.len() != END.len() - TAIL.len() {
                return Err(ProtocolError::InvalidDeflate);
            }
            // If the last byte has bits of another block, this one is not a valid empty block.
            let step = self.step(end, InflateFlush::NoFlush, sink)?;
            if step.written > 0 || step.status == Status::StreamEnd {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
        if !self.takeover || self.at == At::Final {
            self.stream = None;
        }
        self.at = At::Start;
        Ok(())
    }

    #[cfg(test)]
    pub(super) const fn is_idle(&self) -> bool {
        self.stream.is_none()
    }

    #[inline]
    fn step(
        &mut self,
        input: &[u8],
        flush: InflateFlush,
        sink: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<Step, ProtocolError> {
        let bits = self.window_bits;
        let stream = self.stream.get_or_insert_with(|| Inflate::new(false, bits));
        if self.at == At::Final {
            stream.reset(false);
        }
        self.at = At::Within;
        let mut out = [0; STEP];
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(input, &mut out, flush)
            .map_err(|_| ProtocolError::InvalidDeflate)?;
        let step = Step {
            read: (stream.total_in() - read) as usize,
            written: (stream.total_out() - written) as usize,
            status,
        };
        if step.written > 0 {
            sink(&out[..step.written])?;
        }
        Ok(step)
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("window_bits", &self.window_bits)
            .field("takeover", &self.takeover)
            .field("in_memory", &self.stream.is_some())
            .field("at", &self.at)
            .finish()
    }
}
