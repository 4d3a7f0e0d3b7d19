//! Stands in for `codec` without the feature `deflate`: types without values.
//!
//! No connection can have a compressor then. The code that would use one needs no `cfg`, and the
//! compiler removes it.

use bytes::Bytes;

use super::Deflate;
use crate::frame::ProtocolError;

#[derive(Debug)]
pub(in crate::frame) enum Compressor {}

#[derive(Debug)]
pub(in crate::frame) enum Inflater {}

#[derive(Debug)]
pub(in crate::frame) enum Work {}

impl Work {
    pub(in crate::frame) const fn get(&self) -> usize {
        match *self {}
    }

    pub(in crate::frame) const fn deduct(&mut self, _work: usize) -> usize {
        match *self {}
    }
}

impl Compressor {
    pub(in crate::frame) const fn work(&mut self) -> &mut Work {
        match *self {}
    }

    pub(in crate::frame) const fn settings(&self) -> &Deflate {
        match *self {}
    }

    pub(in crate::frame) const fn release(&mut self) {
        match *self {}
    }

    pub(in crate::frame) fn compress_alone(&self, _payload: &[u8]) -> Option<Bytes> {
        match *self {}
    }

    pub(in crate::frame) fn restart(&mut self) {
        match *self {}
    }

    pub(in crate::frame) const fn window_for(&self, _len: usize) -> u8 {
        match *self {}
    }

    pub(in crate::frame) const fn wants(&self, _len: usize) -> bool {
        match *self {}
    }

    pub(in crate::frame) fn compress_first(&mut self, _piece: &[u8], _len: usize) -> Option<Bytes> {
        match *self {}
    }

    pub(in crate::frame) fn compress_next(&mut self, _piece: &[u8], _last: bool) -> Bytes {
        match *self {}
    }
}

impl Inflater {
    pub(in crate::frame) const fn work(&mut self) -> &mut Work {
        match *self {}
    }

    pub(in crate::frame) const fn must_pause(&self) -> bool {
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
