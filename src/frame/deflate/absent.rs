//! Without the feature `deflate` no socket has a compressor: types without a value, so that the
//! code around them needs no `cfg`, and the compiler drops what would use one.

use bytes::Bytes;

use super::{Deflate, Work};
use crate::frame::ProtocolError;

#[derive(Debug)]
pub(in crate::frame) enum Compressor {}

#[derive(Debug)]
pub(in crate::frame) enum Inflater {}

impl Compressor {
    #[cfg(feature = "net")]
    pub(in crate::frame) const fn work(&mut self) -> &mut Work {
        match *self {}
    }

    pub(in crate::frame) const fn settings(&self) -> &Deflate {
        match *self {}
    }

    pub(in crate::frame) const fn forget(&mut self) {
        match *self {}
    }

    pub(in crate::frame) fn alone(&self, _payload: &[u8]) -> Option<Bytes> {
        match *self {}
    }

    pub(in crate::frame) fn step_aside(&mut self) {
        match *self {}
    }

    pub(in crate::frame) const fn window_for(&self, _len: usize) -> u8 {
        match *self {}
    }

    pub(in crate::frame) const fn wants(&self, _len: usize) -> bool {
        match *self {}
    }

    pub(in crate::frame) fn begin(&mut self, _piece: &[u8], _len: usize) -> Option<Bytes> {
        match *self {}
    }

    pub(in crate::frame) fn go_on(&mut self, _piece: &[u8], _last: bool) -> Bytes {
        match *self {}
    }
}

impl Inflater {
    pub(in crate::frame) const fn work(&mut self) -> &mut Work {
        match *self {}
    }

    pub(in crate::frame) const fn is_tired(&self) -> bool {
        match *self {}
    }

    pub(in crate::frame) fn push(
        &mut self,
        _input: &[u8],
        _sink: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        match *self {}
    }

    pub(in crate::frame) fn finish(
        &mut self,
        _sink: &mut impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        match *self {}
    }
}
