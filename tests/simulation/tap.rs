//! Reads the frames of an HTTP/2 connection, and reports what no peer of ours may send.
//!
//! The peers of a run are all ours, so what one of them would tolerate is a fault here.

use std::collections::HashMap;
use std::collections::VecDeque;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// An error code.
const STREAM_CLOSED: u32 = 5;

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const FLAG: u8 = 1;

#[derive(Default)]
pub(crate) struct Tap {
    /// Bytes of the client's preface seen so far.
    preface: usize,
    is_http1: bool,
    sides: [Side; 2],
}

/// What one side has sent.
#[derive(Default)]
struct Side {
    head: Vec<u8>,
    payload: Vec<u8>,
    streams: HashMap<u32, Stream>,
    /// DATA bytes sent, and window given for the other's.
    data: u64,
    given: u64,
    /// Window that was given before there was any data.
    raised: u64,
    pings: VecDeque<Vec<u8>>,
    goaway: Option<(u32, u32)>,
    settings: usize,
}

#[derive(Default)]
struct Stream {
    data: u64,
    given: u64,
    ended: bool,
    reset: Option<u32>,
}

impl Tap {
    /// Takes what one side has sent, and describes the first fault.
    pub(crate) fn sent(&mut self, far: bool, mut bytes: &[u8]) -> Option<String> {
        while !far && !self.is_http1 && self.preface < PREFACE.len() && !bytes.is_empty() {
            self.is_http1 = bytes[0] != PREFACE[self.preface];
            self.preface += 1;
            bytes = &bytes[1..];
        }
        if self.is_http1 {
            return None;
        }
        let mut fault = None;
        while !bytes.is_empty() {
            let side = &mut self.sides[usize::from(far)];
            let want = 9 - side.head.len();
            let take = want.min(bytes.len());
            side.head.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if side.head.len() < 9 {
                break;
            }
            let len = u32::from_be_bytes([0, side.head[0], side.head[1], side.head[2]]) as usize;
            let take = (len - side.payload.len()).min(bytes.len());
            side.payload.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if side.payload.len() < len {
                break;
            }
            let head = std::mem::take(&mut side.head);
            let payload = std::mem::take(&mut side.payload);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            let found = self.frame(far, (head[3], head[4]), stream, &payload);
            fault = fault.or(found);
        }
        fault
    }

    fn frame(&mut self, far: bool, head: (u8, u8), on: u32, payload: &[u8]) -> Option<String> {
        let [client, server] = &mut self.sides;
        let (side, other) = if far {
            (server, client)
        } else {
            (client, server)
        };
        let who = if far { "the server" } else { "the client" };
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        let (kind, flags) = head;
        match kind {
            DATA | HEADERS => {
                let stream = side.streams.entry(on).or_default();
                if stream.ended || stream.reset.is_some() {
                    return Some(format!("{who} sent frame {kind} on {on} after its end"));
                }
                stream.ended = flags & FLAG != 0;
                if kind == DATA {
                    stream.data += payload.len() as u64;
                    side.data += payload.len() as u64;
                }
            }
            RST_STREAM => {
                let stream = side.streams.entry(on).or_default();
                let code = number(0).unwrap_or_default();
                // `h2` answers what a forgotten stream still gets (RFC 9113 §5.1).
                let first = stream.reset.replace(code);
                if let Some(first) = first.filter(|_| code != STREAM_CLOSED) {
                    return Some(format!("{who} reset {on} twice: {first:#x}, {code:#x}"));
                }
            }
            SETTINGS if flags & FLAG != 0 => {
                side.settings += 1;
                if side.settings > 1 {
                    return Some(format!("{who} acknowledged settings twice"));
                }
            }
            PING if flags & FLAG == 0 => side.pings.push_back(payload.to_vec()),
            PING => {
                let asked = other.pings.pop_front();
                if asked.as_deref() != Some(payload) {
                    return Some(format!("{who} answered a PING that was not the next"));
                }
            }
            GOAWAY => {
                let new = (number(0)?, number(4)?);
                let old = side.goaway.replace(new);
                if old == Some(new) || old.is_some_and(|(last, _)| last < new.0) {
                    return Some(format!("{who} sent GOAWAY {new:?} after {old:?}"));
                }
            }
            WINDOW_UPDATE => {
                let more = u64::from(number(0)?);
                if on == 0 {
                    if other.data == 0 {
                        side.raised += more;
                    }
                    side.given += more;
                    if side.given > side.raised + other.data {
                        return Some(format!("{who} gave more window than was used"));
                    }
                } else {
                    let used = other.streams.get(&on).map_or(0, |stream| stream.data);
                    let stream = side.streams.entry(on).or_default();
                    stream.given += more;
                    if stream.given > used {
                        let given = stream.given;
                        return Some(format!("{who} gave {given} for {used} bytes on {on}"));
                    }
                }
            }
            _ => {}
        }
        None
    }
}
