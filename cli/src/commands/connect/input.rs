//! Stdin of `connect`, cut into messages.

use std::io;

use h2ws::Message;
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};

use crate::args::Encoding;

/// Size of a read, and so the most that one message of [`Encoding::Binary`] has.
const BLOCK: usize = 64 * 1024;

pub(super) struct Input {
    stdin: BufReader<Stdin>,
    encoding: Encoding,
    /// Whether there is one message, the first line or all.
    is_one: bool,
    /// The message that is being read.
    partial: Vec<u8>,
    /// Number of the line that is being read, from 1.
    line: u64,
    is_done: bool,
}

impl Input {
    pub(super) fn new(encoding: Encoding, is_one: bool) -> Self {
        Self {
            stdin: BufReader::with_capacity(BLOCK, tokio::io::stdin()),
            encoding,
            is_one,
            partial: Vec::new(),
            line: 1,
            is_done: false,
        }
    }

    /// Returns an input that has ended.
    pub(super) fn none(encoding: Encoding) -> Self {
        Self {
            is_done: true,
            ..Self::new(encoding, false)
        }
    }

    /// Returns the next message, and `None` at the end, which an error is too. Nothing is lost if
    /// the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Result<Message, String>> {
        if self.is_done {
            return None;
        }
        let bytes = match self.read().await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.is_done = true;
                return Some(Err(format!("stdin: {error}")));
            }
        };
        self.is_done |= bytes.is_none() || self.is_one;
        let message = self.encoding.message(bytes?).map_err(|error| {
            self.is_done = true;
            format!("line {} of stdin: {error}", self.line)
        });
        self.line += 1;
        Some(message)
    }

    async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let block = self.stdin.fill_buf().await?;
            let (used, is_whole) = match self.encoding {
                _ if block.is_empty() => {
                    let rest = std::mem::take(&mut self.partial);
                    return Ok((!rest.is_empty()).then_some(rest));
                }
                Encoding::Binary => (block.len(), !self.is_one),
                Encoding::Lines | Encoding::Base64 => {
                    match block.iter().position(|byte| *byte == b'\n') {
                        Some(end) => (end + 1, true),
                        None => (block.len(), false),
                    }
                }
            };
            self.partial.extend_from_slice(&block[..used]);
            self.stdin.consume(used);
            if is_whole {
                let mut bytes = std::mem::take(&mut self.partial);
                if self.encoding != Encoding::Binary {
                    bytes.pop();
                    bytes.pop_if(|last| *last == b'\r');
                }
                return Ok(Some(bytes));
            }
        }
    }
}
