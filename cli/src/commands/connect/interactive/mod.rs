//! `connect` where stdin and stdout are a terminal.
//!
//! One task does everything: it reads keys, sends what was typed, and prints what arrives above the
//! row in which the user types. Nothing that a line editor of its own thread would need has to be
//! kept in step, and the terminal is as it was when the task ends, however it ends.
//!
//! | file | idea |
//! |---|---|
//! | `keys` | bytes of the terminal → keys and pastes |
//! | `editor` | keys → the line, and the lines before it |
//! | `history` | the lines of earlier sessions |
//! | `commands` | a line → a message or a command |
//! | `render` | a message → lines of the terminal |
//! | `screen` | these lines, and the user's row below them |

mod commands;
mod editor;
mod history;
mod keys;
mod render;
mod screen;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use h2ws::{CloseCode, CloseFrame, Message};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use self::commands::{HELP, Typed};
use self::editor::{Editor, Pressed};
use self::history::History;
use self::keys::Keys;
use self::render::{Mark, Style, quoted, size};
use self::screen::Screen;
use super::link::{Event, Link};
use super::{closed_by_peer, description};
use crate::args::ConnectArgs;
use crate::commands::request::LAST_FRAMES;
use crate::commands::text::count;
use crate::error::{Failure, Stopped};
use crate::{log, signals};

/// Bytes that may wait to be sent before no more keys are read.
const MAX_QUEUED: usize = 64 << 20;

const WELCOME: &str = "Enter sends, Ctrl-D or /close ends, /help lists commands";

/// Whether the user is at both ends, and the terminal can move its cursor.
pub(super) fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// Why the loop ends.
enum End {
    /// By the user, with this Close frame.
    Close(CloseFrame),
    /// By the server, or a failure.
    Over(Result<super::link::Ending, Failure>),
    /// By SIGINT or SIGTERM.
    Stopped,
    /// The terminal is gone.
    HungUp,
}

pub(super) async fn run(
    args: &ConnectArgs,
    link: Link,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Failure> {
    let mut session = Session::new(args, link)?;
    let end = match session.talk(stop.as_mut()).await {
        Ok(end) => end,
        // Only the terminal fails.
        Err(_) => End::HungUp,
    };
    match end {
        End::Close(frame) => {
            let code = u16::from(frame.code);
            let closed = tokio::select! {
                closed = session.link.close(frame) => closed,
                () = &mut stop => {
                    session.leave(None);
                    return Err(Stopped.into());
                }
            };
            session.leave(Some(&format!("closed with code {code}")));
            Ok(closed?)
        }
        End::Over(Ok(ending)) => {
            let (text, done) = closed_by_peer(&ending);
            session.leave(Some(&text));
            done
        }
        End::Over(Err(error)) => {
            session.leave(None);
            Err(error)
        }
        End::Stopped => {
            session.leave(None);
            session.go_away().await;
            Err(Stopped.into())
        }
        End::HungUp => {
            session.leave(None);
            signals::hung_up();
            // Stderr may be a file.
            log::notice("the terminal is gone; closing with code 1001");
            let unsent = session.send_all();
            // A peer that does not read must not delay the exit.
            let _ = tokio::time::timeout(LAST_FRAMES, unsent).await;
            session.go_away().await;
            Err(Stopped.into())
        }
    }
}

struct Session<'a> {
    args: &'a ConnectArgs,
    link: Link,
    /// `None` after the end.
    screen: Option<Screen>,
    style: Style,
    /// Whether Pings and unsolicited Pongs are shown.
    shows_pings: bool,
    editor: Editor,
    history: History,
    keys: Keys,
    queue: VecDeque<Message>,
    next: Option<Message>,
    /// Bytes in both.
    queued: usize,
    /// The frame to close with once all is sent.
    closing: Option<CloseFrame>,
    is_open: bool,
    opened: Instant,
    /// Pings that were not answered yet.
    pings: VecDeque<(Bytes, Instant)>,
    pinged: u64,
    round_trip: Option<Duration>,
    sent: Count,
    received: Count,
}

#[derive(Default)]
struct Count {
    messages: usize,
    bytes: usize,
}

impl Count {
    fn add(&mut self, message: &Message) {
        self.messages += 1;
        self.bytes += message.len();
    }

    fn text(&self) -> String {
        format!("{}, {}", count(self.messages, "message"), size(self.bytes))
    }
}

impl<'a> Session<'a> {
    fn new(args: &'a ConnectArgs, link: Link) -> io::Result<Self> {
        let (history, lines, error) = History::open();
        let colors = args.color.at(true);
        let mut session = Self {
            args,
            link,
            screen: Some(Screen::enter()?),
            style: Style {
                colors,
                json: args.pretty,
                times: args.times,
            },
            shows_pings: false,
            editor: Editor::new(lines),
            history,
            keys: Keys::default(),
            queue: VecDeque::new(),
            next: None,
            queued: 0,
            closing: None,
            is_open: false,
            opened: Instant::now(),
            pings: VecDeque::new(),
            pinged: 0,
            round_trip: None,
            sent: Count::default(),
            received: Count::default(),
        };
        session.show(Mark::Notice, WELCOME)?;
        if let Some(error) = error {
            session.show(Mark::Error, &error)?;
        }
        Ok(session)
    }

    async fn talk(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> io::Result<End> {
        let mut stdin = tokio::io::stdin();
        let mut typed = vec![0; 64 * 1024];
        let mut hangup = signal(SignalKind::hangup())?;
        let mut resize = signal(SignalKind::window_change())?;
        let mut resume = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        loop {
            if self.next.is_none() {
                self.next = self.queue.pop_front();
            }
            // While there is no WebSocket, nothing can be sent.
            if (self.next.is_none() || !self.is_open)
                && let Some(frame) = self.closing.take()
            {
                return Ok(End::Close(frame));
            }
            let is_full = self.queued > MAX_QUEUED;
            let waiting = self.next.as_ref().map(Message::len);
            tokio::select! {
                biased;
                () = &mut stop => return Ok(End::Stopped),
                _ = hangup.recv() => return Ok(End::HungUp),
                _ = resize.recv() => {
                    self.with_screen(|screen, _, _| { screen.resized(); Ok(()) })?;
                    self.draw()?;
                }
                _ = resume.recv() => {
                    self.with_screen(|screen, _, _| screen.resumed())?;
                    self.draw()?;
                }
                read = stdin.read(&mut typed), if !is_full && self.closing.is_none() => match read? {
                    0 => return Ok(End::HungUp),
                    read => self.typed(&typed[..read]).await?,
                },
                event = self.link.next(&mut self.next) => match event {
                    Event::Open => self.opened()?,
                    Event::Sent => self.queued -= waiting.unwrap_or_default(),
                    Event::Flushed => {}
                    Event::Received(message) => self.received(&message)?,
                    Event::Lost(why, retry_in) => {
                        self.is_open = false;
                        self.pings.clear();
                        self.show(
                            Mark::Error,
                            &format!("{why}; trying again in {retry_in:.1?}"),
                        )?;
                    }
                    Event::Ended(ending) => return Ok(End::Over(ending)),
                },
            }
        }
    }

    /// Sends what was typed, as long as there is a WebSocket.
    async fn send_all(&mut self) {
        loop {
            self.next = self.next.take().or_else(|| self.queue.pop_front());
            if self.next.is_none() || !self.is_open {
                return;
            }
            if let Event::Ended(_) | Event::Lost(..) = self.link.next(&mut self.next).await {
                return;
            }
        }
    }

    /// Closes with code 1001. A peer that does not read must not delay the exit.
    async fn go_away(&mut self) {
        let close = self.link.close(CloseFrame::from(CloseCode::GOING_AWAY));
        let _ = tokio::time::timeout(LAST_FRAMES, close).await;
    }

    fn opened(&mut self) -> io::Result<()> {
        self.is_open = true;
        self.opened = Instant::now();
        for line in description(&self.link) {
            self.show(Mark::Notice, &line)?;
        }
        Ok(())
    }

    fn received(&mut self, message: &Message) -> io::Result<()> {
        match message {
            Message::Text(_) | Message::Binary(_) => self.received.add(message),
            Message::Pong(payload) => {
                let asked = self.pings.iter().position(|(sent, _)| sent == payload);
                if let Some((_, since)) =
                    asked.and_then(|index| self.pings.drain(..=index).next_back())
                {
                    let round_trip = since.elapsed();
                    self.round_trip = Some(round_trip);
                    let text = format!("Pong {} after {round_trip:.1?}", quoted(payload));
                    return self.show(Mark::Received, &text);
                }
                if !self.shows_pings {
                    return Ok(());
                }
            }
            Message::Ping(_) if self.shows_pings => {}
            // The end of the WebSocket follows a Close frame, and is shown.
            Message::Ping(_) | Message::Close(_) => return Ok(()),
        }
        let lines = self
            .style
            .message(Mark::Received, message, SystemTime::now());
        self.print(&lines)
    }

    async fn typed(&mut self, bytes: &[u8]) -> io::Result<()> {
        for key in self.keys.feed(bytes) {
            match self.editor.press(key) {
                Pressed::Edited => {}
                Pressed::ClearScreen => self.with_screen(Screen::clear)?,
                Pressed::EndOfInput => self.closing = Some(CloseFrame::from(CloseCode::NORMAL)),
                Pressed::Line(line) => {
                    if let Some(error) = self.history.append(&line) {
                        self.show(Mark::Error, &error)?;
                    }
                    match commands::parse(line) {
                        Ok(typed) => self.act(typed).await?,
                        Err(error) => self.show(Mark::Error, &error)?,
                    }
                }
            }
            if self.closing.is_some() {
                break;
            }
        }
        self.draw()
    }

    async fn act(&mut self, typed: Typed) -> io::Result<()> {
        match typed {
            Typed::Text(text) => self.send(Message::text(text)),
            Typed::Binary(bytes) => self.send(Message::Binary(bytes)),
            Typed::File(path) => match read_file(path).await {
                Ok(message) => self.send(message),
                Err(error) => self.show(Mark::Error, &error),
            },
            Typed::Ping(text) => {
                self.pinged += 1;
                let payload = text.unwrap_or_else(|| self.pinged.to_string());
                let payload = Bytes::from(payload);
                if payload.len() <= MAX_CONTROL {
                    self.pings.push_back((payload.clone(), Instant::now()));
                }
                self.control(Message::Ping(payload))
            }
            Typed::Pong(text) => self.control(Message::pong(text)),
            Typed::Help => self.show(Mark::Notice, HELP),
            Typed::Status => self.show(Mark::Notice, &self.status()),
            Typed::Json(on) => {
                let on = switch(&mut self.style.json, on);
                self.show(
                    Mark::Notice,
                    &format!("JSON is {}", if on { "laid out" } else { "shown as it is" }),
                )
            }
            Typed::Times(on) => {
                let on = switch(&mut self.style.times, on);
                self.show(
                    Mark::Notice,
                    &format!("times are {}", if on { "shown" } else { "not shown" }),
                )
            }
            Typed::Pings(on) => {
                let on = switch(&mut self.shows_pings, on);
                self.show(
                    Mark::Notice,
                    &format!(
                        "Pings and Pongs of the server are {}",
                        if on { "shown" } else { "not shown" }
                    ),
                )
            }
            Typed::Close(frame) => {
                self.closing = Some(frame);
                Ok(())
            }
        }
    }

    fn control(&mut self, message: Message) -> io::Result<()> {
        let bytes = message.len();
        if bytes > MAX_CONTROL {
            let error = format!("the text has {bytes} bytes; a control frame has room for 125");
            return self.show(Mark::Error, &error);
        }
        self.send(message)
    }

    fn send(&mut self, message: Message) -> io::Result<()> {
        let lines = self.style.message(Mark::Sent, &message, SystemTime::now());
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            self.sent.add(&message);
        }
        self.queued += message.len();
        self.queue.push_back(message);
        self.print(&lines)
    }

    fn status(&self) -> String {
        let socket = self.link.socket();
        let transport = socket.map_or_else(
            || "none; a connection is being made".to_owned(),
            |socket| socket.transport().to_string(),
        );
        let open_for = if self.is_open {
            format!("{:.1?}", self.opened.elapsed())
        } else {
            "not open".to_owned()
        };
        let subprotocol = socket.and_then(|socket| socket.subprotocol());
        let deflate = socket.and_then(|socket| socket.deflate());
        let round_trip = self.round_trip.map_or_else(
            || "not measured; /ping measures it".to_owned(),
            |time| format!("{time:.1?}, by the last Ping"),
        );
        let queued = match self.queued {
            0 => String::new(),
            bytes => format!("; {} wait to be sent", size(bytes)),
        };
        format!(
            "{}\ntransport    {transport}\nopen for     {open_for}\nsubprotocol  {}\nextensions   {}\n\
             round trip   {round_trip}\nsent         {}{queued}\nreceived     {}",
            self.args.url,
            subprotocol.unwrap_or("none"),
            deflate.map_or("none", |_| "permessage-deflate"),
            self.sent.text(),
            self.received.text(),
        )
    }

    fn show(&mut self, mark: Mark, text: &str) -> io::Result<()> {
        let lines = self.style.lines(mark, text, SystemTime::now());
        self.print(&lines)
    }

    fn print(&mut self, lines: &str) -> io::Result<()> {
        self.with_screen(|screen, style, editor| screen.print(lines, style, editor))
    }

    fn draw(&mut self) -> io::Result<()> {
        self.with_screen(Screen::draw)
    }

    fn with_screen(
        &mut self,
        act: impl FnOnce(&mut Screen, Style, &Editor) -> io::Result<()>,
    ) -> io::Result<()> {
        match &mut self.screen {
            Some(screen) => act(screen, self.style, &self.editor),
            None => Ok(()),
        }
    }

    /// Restores the terminal, below a last notice.
    fn leave(&mut self, notice: Option<&str>) {
        let notice = notice.map(|text| self.style.lines(Mark::Notice, text, SystemTime::now()));
        if let Some(screen) = self.screen.take() {
            screen.leave(&notice.unwrap_or_default());
        }
    }
}

/// Room of a control frame in bytes (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

/// Sets a switch, or turns it over.
fn switch(now: &mut bool, on: Option<bool>) -> bool {
    *now = on.unwrap_or(!*now);
    *now
}

async fn read_file(path: String) -> Result<Message, String> {
    let read = move || {
        let path = match (path.strip_prefix("~/"), std::env::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => path.into(),
        };
        let read = || {
            // Reading from a pipe or a device may never end.
            if !std::fs::metadata(&path)?.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            std::fs::read(&path)
        };
        read().map_err(|error| format!("{}: {error}", path.display()))
    };
    let bytes = tokio::task::spawn_blocking(read).await;
    let bytes = bytes.map_err(|error| error.to_string())??;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    })
}
