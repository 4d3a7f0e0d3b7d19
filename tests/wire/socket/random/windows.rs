//! A peer that increases windows at random, reduces them by SETTINGS while frames
//! are in flight (RFC 9113 §6.9.2), splits its frames anywhere, and resets streams.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt;
use h2ws::Server;
use tokio::sync::mpsc;

use super::{Random, long_linger};
use crate::support::client::{ClientFixture, http2};
use crate::support::frames::{BINARY, CLOSE, Parser, close, frame};
use crate::support::raw::{
    ACK, CANCEL, DATA, END_STREAM, Frame, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
    PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE,
};
use crate::support::server::{ServerFixture, echo_socket};
use crate::support::within;

/// How long to wait for a frame before windows are increased again.
const PAUSE: Duration = Duration::from_millis(1);

/// The messages of one stream, which are echoed, and its end.
struct Talk {
    stream: u32,
    /// Bytes left to send.
    bytes: VecDeque<u8>,
    /// Payloads that have not been echoed yet.
    expected: VecDeque<Vec<u8>>,
    parser: Parser,
    /// Bytes that may be received.
    credit: i64,
    /// Bytes that may be sent.
    allowed: i64,
    /// The number of bytes left at which the stream is reset, if it is.
    resets_at: Option<usize>,
    over: bool,
}

struct Peer<'a> {
    raw: &'a mut Raw,
    random: Random,
    talks: Vec<Talk>,
    credit: i64,
    allowed: i64,
    initial: i64,
    max_frame: usize,
    /// Settings that were not acknowledged yet.
    settings: VecDeque<(u16, u32)>,
}

impl Talk {
    fn new(stream: u32, masked: bool, random: &mut Random, initial: i64, allowed: i64) -> Self {
        let mut bytes = Vec::new();
        let mut expected = VecDeque::new();
        for n in 0..random.below(12) {
            let most = random.one_of(&[2, 130, 3_000, 70_000]);
            let payload = vec![n as u8 ^ stream as u8; random.below(most)];
            bytes.extend(frame(0x80 | BINARY, masked, &payload));
            expected.push_back(payload);
        }
        bytes.extend(frame(0x80 | CLOSE, masked, &close(1000, "")));
        let resets_at = random.once_in(4).then(|| random.below(bytes.len()));
        Self {
            stream,
            bytes: bytes.into(),
            expected,
            parser: Parser::default(),
            credit: initial,
            allowed,
            resets_at,
            over: false,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.parser.push(bytes);
        while let Some(got) = self.parser.pop() {
            if got.opcode() == CLOSE {
                assert!(
                    self.expected.is_empty(),
                    "closed before everything was echoed"
                );
                assert_eq!(got.code(), Some(1000));
            } else {
                let expected = self.expected.pop_front().expect("an unexpected message");
                assert!(got.payload == expected, "of {} bytes", expected.len());
            }
        }
    }
}

impl Peer<'_> {
    async fn run(mut self) {
        while self.talks.iter().any(|talk| !talk.over) {
            let mut moved = self.act().await;
            tokio::task::yield_now().await;
            while let Some(frame) = self.raw.read().now_or_never() {
                self.receive(frame.expect("the connection is open")).await;
                moved = true;
            }
            if !moved {
                self.increase_windows().await;
                if let Ok(frame) = tokio::time::timeout(PAUSE, self.raw.read()).await {
                    self.receive(frame.expect("the connection is open")).await;
                }
            }
        }
    }

    /// Takes a random action. Returns whether it sent data or reset a stream.
    async fn act(&mut self) -> bool {
        match self.random.below(24) {
            0..16 => return self.send_piece().await,
            16 => {
                let value = self.random.one_of(&[0, 1, 100, 65_535, 300_000]);
                self.change_setting(INITIAL_WINDOW_SIZE, value).await;
            }
            17 => {
                let value = self.random.one_of(&[16_384, 20_000, (1 << 24) - 1]);
                self.change_setting(MAX_FRAME_SIZE, value).await;
            }
            18 => self.raw.send(PING, 0, 0, b"whatever").await,
            19 => self.increase_windows().await,
            _ => {}
        }
        false
    }

    async fn change_setting(&mut self, setting: u16, value: u32) {
        self.settings.push_back((setting, value));
        self.raw.send_settings(&[(setting, value)]).await;
    }

    /// Sends a piece of some stream's data, or resets it. Returns whether it did.
    async fn send_piece(&mut self) -> bool {
        let at = self.random.below(self.talks.len());
        let talk = &mut self.talks[at];
        if talk.over {
            return false;
        }
        let most = self.random.one_of(&[1, 20, 1_000, 16_384]);
        let allowed = talk.allowed.min(self.allowed).max(0) as usize;
        let len = talk.bytes.len().min(most).min(allowed);
        if talk.resets_at.is_some_and(|at| talk.bytes.len() <= at) {
            talk.over = true;
            self.raw.reset(talk.stream, CANCEL).await;
            return true;
        }
        if len == 0 {
            return false;
        }
        let piece: Vec<u8> = talk.bytes.drain(..len).collect();
        talk.allowed -= len as i64;
        self.allowed -= len as i64;
        let ends = talk.bytes.is_empty() && self.random.once_in(2);
        let flags = if ends { END_STREAM } else { 0 };
        self.raw.send(DATA, flags, talk.stream, &piece).await;
        if talk.bytes.is_empty() && !ends {
            self.raw.end(talk.stream).await;
        }
        true
    }

    /// Increases exhausted windows.
    async fn increase_windows(&mut self) {
        let more = self.random.one_of(&[1, 50, 4_000, 100_000]);
        if self.credit < 100_000 {
            self.credit += 1 << 20;
            self.raw.window(0, 1 << 20).await;
        }
        for talk in self.talks.iter_mut().filter(|talk| !talk.over) {
            if talk.credit <= 0 {
                let more = if talk.credit < 0 {
                    more - talk.credit
                } else {
                    more
                };
                talk.credit += more;
                self.raw.window(talk.stream, more as u32).await;
            }
        }
    }

    async fn receive(&mut self, frame: Frame) {
        match frame.kind {
            SETTINGS if frame.flags & ACK != 0 => {
                if let Some((setting, value)) = self.settings.pop_front() {
                    self.acknowledged(setting, value);
                }
            }
            SETTINGS => self.raw.send(SETTINGS, ACK, 0, &[]).await,
            PING if frame.flags & ACK == 0 => {
                self.raw.send(PING, ACK, 0, &frame.payload).await;
            }
            GOAWAY | HEADERS => panic!("{frame:?}"),
            WINDOW_UPDATE => {
                let more = u32::from_be_bytes(frame.payload[..].try_into().unwrap());
                let window = match self.talk(frame.stream) {
                    _ if frame.stream == 0 => &mut self.allowed,
                    Some(talk) => &mut talk.allowed,
                    None => return,
                };
                *window += i64::from(more);
            }
            DATA => self.receive_data(&frame),
            RST_STREAM => {
                let talk = self.talk(frame.stream).expect("a stream");
                let complete = talk.bytes.is_empty() && talk.expected.is_empty();
                // The resets of both sides may cross.
                assert!(complete || talk.over, "{frame:?}");
                talk.over = true;
            }
            _ => {}
        }
    }

    fn talk(&mut self, stream: u32) -> Option<&mut Talk> {
        self.talks.iter_mut().find(|talk| talk.stream == stream)
    }

    fn acknowledged(&mut self, setting: u16, value: u32) {
        if setting == MAX_FRAME_SIZE {
            self.max_frame = value as usize;
            return;
        }
        let more = i64::from(value) - self.initial;
        self.initial = i64::from(value);
        for talk in &mut self.talks {
            talk.credit += more;
        }
    }

    fn receive_data(&mut self, frame: &Frame) {
        let len = frame.payload.len();
        assert!(len <= self.max_frame, "a frame of {len} bytes");
        self.credit -= len as i64;
        assert!(self.credit >= 0, "more than the connection's window");
        let Some(talk) = self.talk(frame.stream) else {
            panic!("{frame:?}");
        };
        talk.credit -= len as i64;
        assert!(
            len == 0 || talk.credit >= 0,
            "more than the stream's window"
        );
        if talk.over {
            assert!(talk.resets_at.is_some(), "DATA after the end");
            return;
        }
        talk.receive(&frame.payload);
        if frame.ends() {
            assert!(talk.expected.is_empty() && talk.parser.is_empty());
            talk.over = true;
        }
    }
}

async fn talks(raw: &mut Raw, seed: u64, streams: impl Iterator<Item = u32>, masked: bool) {
    let mut random = Random::new(seed);
    let setting = |wanted| raw.settings.iter().find(|(setting, _)| *setting == wanted);
    let peer_window = setting(INITIAL_WINDOW_SIZE).map_or(65_535, |(_, value)| *value);
    let streams: Vec<_> = streams.collect();
    let talks: Vec<_> = streams
        .into_iter()
        .map(|stream| Talk::new(stream, masked, &mut random, 65_535, i64::from(peer_window)))
        .collect();
    let peer = Peer {
        raw,
        random,
        talks,
        credit: 65_535,
        // The other side grants 2 GiB at once, more than is used.
        allowed: 1 << 30,
        initial: 65_535,
        max_frame: 16_384,
        settings: VecDeque::new(),
    };
    within(peer.run()).await;
}

pub(super) async fn of_a_client(seed: u64, count: u32) {
    let mut beside = ServerFixture::with(Server::builder().socket(long_linger())).await;
    let streams = || (3..3 + 2 * count).step_by(2);
    for stream in streams() {
        beside.peer.open(stream, "/").await;
    }
    talks(&mut beside.peer, seed, streams(), true).await;
    restore_window(&mut beside.peer).await;
    beside.unharmed().await;
}

pub(super) async fn of_a_server(seed: u64, count: u32) {
    let mut beside = ClientFixture::with(http2().socket(long_linger()).build().unwrap()).await;
    let streams = || (3..3 + 2 * count).step_by(2);
    let (done, mut ended) = mpsc::unbounded_channel();
    for stream in streams() {
        let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), beside.peer.take(stream));
        let (ws, done) = (ws.unwrap(), done.clone());
        tokio::spawn(async move { done.send(echo_socket(ws, String::new()).await) });
    }
    talks(&mut beside.peer, seed, streams(), false).await;
    for _ in streams() {
        within(ended.recv()).await.unwrap();
    }
    restore_window(&mut beside.peer).await;
    beside.unharmed().await;
}

/// Restores the sibling's window, which the settings may have reduced.
async fn restore_window(peer: &mut Raw) {
    peer.send_settings(&[(INITIAL_WINDOW_SIZE, 65_535)]).await;
    peer.barrier().await;
}
