//! How large a header list may be (RFC 9113 §6.5.2, §10.5.1).
//!
//! **The rule.** A peer may answer a header list that is too large for it by
//! ending the connection, with everybody's streams on it: those built on the
//! `h2` crate do so at four times of what they announce. So nothing larger than
//! what the peer announced, or than is [`PRUDENT`] where a server announced
//! nothing, is sent: this side fails the one request by itself. In the other
//! direction this side reads far larger lists than it announced, up to [`TAKEN`]
//! as a client and [`taken`] as a server, and then refuses what is larger than
//! announced, for the one request alone. One user behind a proxy must not end
//! the sockets of all others that the proxy sends on the same connection.

use bytes::{Buf, BufMut, BytesMut};
use http::{HeaderMap, Method, Request, Response, Uri, request};

/// What a server takes that announces nothing, in bytes. A server need not
/// announce its limit; 16 KiB is that of hyper, and less than other servers
/// are known for.
pub(crate) const PRUDENT: u32 = 16 * 1024;

/// Bytes of an answer's header list that do not end the connection: `h2` gives
/// the one stream up beyond it, and the connection beyond four times of it.
pub(crate) const TAKEN: u32 = 4 * 1024 * 1024;

/// As [`TAKEN`], of a request's header list at a server that announces `limit`.
/// Less, for anybody may open connections to a server, and each may hold a list
/// of this size until the handshake's time is over.
pub(super) fn taken(limit: u32) -> u32 {
    const LEAST: u32 = 1024 * 1024;
    limit.saturating_mul(4).max(LEAST)
}

/// What a field counts beside its name and value (RFC 9113 §6.5.2).
const FIELD: usize = 32;

/// A header list is larger than its receiver allows, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) size: usize,
    pub(crate) limit: u32,
}

impl TooLarge {
    pub(crate) fn check(size: usize, limit: u32) -> Result<(), Self> {
        if size as u64 > u64::from(limit) {
            return Err(Self { size, limit });
        }
        Ok(())
    }
}

fn field(name: usize, value: usize) -> usize {
    name + value + FIELD
}

/// The size of these fields.
pub(crate) fn of_fields(fields: &HeaderMap) -> usize {
    let sizes = fields
        .iter()
        .map(|(name, value)| field(name.as_str().len(), value.len()));
    sizes.sum()
}

/// The size of a request, with `protocol` for an extended CONNECT.
pub(crate) fn of_request<B>(request: &Request<B>, protocol: Option<&str>) -> usize {
    of_head(request.method(), request.uri(), request.headers(), protocol)
}

/// As [`of_request`], where the body was split off.
pub(super) fn of_parts(parts: &request::Parts, protocol: Option<&str>) -> usize {
    of_head(&parts.method, &parts.uri, &parts.headers, protocol)
}

fn of_head(method: &Method, uri: &Uri, fields: &HeaderMap, protocol: Option<&str>) -> usize {
    let protocol = protocol.map_or(0, |protocol| field(":protocol".len(), protocol.len()));
    pseudo(method, uri) + protocol + of_fields(fields)
}

fn pseudo(method: &Method, uri: &Uri) -> usize {
    let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let scheme = uri.scheme_str().map_or(0, str::len);
    field(":method".len(), method.as_str().len())
        + field(":scheme".len(), scheme)
        + field(":path".len(), path)
        + field(":authority".len(), authority)
}

/// The size of an answer.
pub(crate) fn of_response<B>(response: &Response<B>) -> usize {
    field(":status".len(), "200".len()) + of_fields(response.headers())
}

/// The header of a frame, in bytes (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Announces another limit than the one that `h2` keeps to, which `h2` has one
/// setting for: changes SETTINGS_MAX_HEADER_LIST_SIZE in the first SETTINGS
/// frame on its way out.
#[derive(Debug)]
pub(super) struct Announce {
    /// Bytes before the frame: a client's preface (RFC 9113 §3.4).
    preface: usize,
    limit: u32,
    /// The preface and the frame, as far as they were written.
    written: BytesMut,
}

impl Announce {
    pub(super) fn new(preface: usize, limit: u32) -> Self {
        Self {
            preface,
            limit,
            written: BytesMut::new(),
        }
    }

    /// Takes what is written. Returns all that was, changed, once the frame is
    /// complete.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Option<BytesMut> {
        self.written.extend_from_slice(bytes);
        let start = self.preface + HEADER;
        let mut head = self.written.get(self.preface..start)?;
        let length = head.get_uint(3) as usize;
        let payload = self.written.get_mut(start..start + length)?;
        for setting in payload.chunks_exact_mut(6) {
            if setting[..2] == [0, 6] {
                (&mut setting[2..]).put_u32(self.limit);
            }
        }
        Some(std::mem::take(&mut self.written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn sizes_are_those_of_rfc9113_6_5_2() {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "https://a.example/chat?x".parse().unwrap();
        let value = HeaderValue::from_static("12345");
        request.headers_mut().append("x-a", value.clone());
        request.headers_mut().append("x-a", value.clone());
        let expected = [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", "a.example"),
            (":path", "/chat?x"),
            (":protocol", "websocket"),
            ("x-a", "12345"),
            ("x-a", "12345"),
        ];
        let expected: usize = expected.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
        assert_eq!(of_request(&request, Some("websocket")), expected);
        let mut response = Response::new(());
        response.headers_mut().append("x-a", value);
        assert_eq!(of_response(&response), 7 + 3 + 32 + 3 + 5 + 32);
    }

    #[test]
    fn another_limit_is_announced_wherever_the_frame_is_cut() {
        for preface in [0, 24] {
            let mut sent = vec![b'P'; preface];
            sent.extend([0, 0, 18, 4, 0, 0, 0, 0, 0]);
            sent.extend([0, 2, 0, 0, 0, 0, 0, 6, 0, 0x40, 0, 0, 0, 4, 0, 6, 0, 6]);
            let mut expected = sent.clone();
            expected[preface + HEADER + 8..][..4].copy_from_slice(&1_000u32.to_be_bytes());
            for size in 1..=sent.len() {
                let mut announce = Announce::new(preface, 1_000);
                let written: Vec<_> = sent.chunks(size).map(|c| announce.write(c)).collect();
                let (last, before) = written.split_last().unwrap();
                assert!(before.iter().all(Option::is_none), "in pieces of {size}");
                assert_eq!(last.as_deref(), Some(&expected[..]));
            }
        }
    }
}
