//! The program at a terminal of its own: keys go in, and a screen comes out.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use pty_process::{Size, blocking};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::process::Scratch;

const HANGS: Duration = Duration::from_secs(90);

pub(crate) struct Terminal {
    /// The user's end.
    user: File,
    /// The program's end stays open here, so that its modes can be read after the program's end.
    program: Option<OwnedFd>,
    child: Child,
    screen: vt100::Parser,
    /// All that the program wrote.
    pub(crate) written: Vec<u8>,
}

impl Terminal {
    /// Starts the program at a terminal of 24 rows and 80 columns.
    pub(crate) fn start(args: &[&str], state: &Scratch) -> Self {
        Self::start_with(args, &[], state)
    }

    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)], state: &Scratch) -> Self {
        let (pty, pts) = blocking::open().expect("a terminal");
        pty.resize(Size::new(24, 80)).expect("a size");
        let program = pts.as_fd().try_clone_to_owned().expect("a handle");
        let command = blocking::Command::new(env!("CARGO_BIN_EXE_h2ws"))
            .args(args)
            .env("TERM", "xterm-256color")
            .env("XDG_STATE_HOME", state.path("state"))
            .env_remove("NO_COLOR")
            .env_remove("RUST_LOG")
            .envs(env.iter().copied());
        let child = command.spawn(pts).expect("the program starts");
        Self {
            user: OwnedFd::from(pty).into(),
            program: Some(program),
            child,
            screen: vt100::Parser::default(),
            written: Vec::new(),
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).expect("written");
    }

    /// Presses keys that are more than fit into the terminal while nobody reads.
    pub(crate) fn paste(&mut self, text: &str) {
        let mut user = self.user.try_clone().expect("a handle");
        let keys = format!("\x1b[200~{text}\x1b[201~");
        let writer = std::thread::spawn(move || user.write_all(keys.as_bytes()));
        let began = Instant::now();
        while !writer.is_finished() {
            assert!(began.elapsed() < HANGS, "the paste is not read");
            self.read();
        }
        writer.join().expect("no panic").expect("written");
    }

    /// Reads what the program writes within a short time. Returns false after its end.
    fn read(&mut self) -> bool {
        let soon = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let ready = poll(&mut [PollFd::new(&self.user, PollFlags::IN)], Some(&soon));
        if ready.expect("a terminal") == 0 {
            return true;
        }
        let mut bytes = [0; 65536];
        match self.user.read(&mut bytes) {
            Ok(read @ 1..) => {
                self.written.extend_from_slice(&bytes[..read]);
                self.screen.process(&bytes[..read]);
                true
            }
            _ => false,
        }
    }

    /// Returns the rows of the screen, without the empty ones at its end.
    pub(crate) fn rows(&self) -> String {
        self.screen.screen().contents().trim_end().to_owned()
    }

    /// Waits until the screen has `text`.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) -> &mut Self {
        self.until(text, |rows| rows.contains(text))
    }

    /// Waits until the row of the cursor is `text`.
    #[track_caller]
    pub(crate) fn prompts(&mut self, text: &str) -> &mut Self {
        self.until(text, |rows| rows.lines().next_back() == Some(text))
    }

    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> &mut Self {
        let began = Instant::now();
        while !holds(&self.rows()) {
            assert!(began.elapsed() < HANGS, "no {what:?}:\n{}", self.rows());
            self.read();
        }
        self
    }

    pub(crate) fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // The screen first: the program draws for the new size.
        self.screen.screen_mut().set_size(
            rows.try_into().expect("not 0"),
            columns.try_into().expect("not 0"),
        );
        tcsetwinsize(&self.user, size).expect("a new size");
    }

    /// Whether the terminal edits lines and echoes, as a shell expects it.
    pub(crate) fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.user).expect("modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Takes the terminal away, as a window does that is closed. Returns the exit status.
    pub(crate) fn hang_up(mut self) -> Option<i32> {
        self.user = File::open("/dev/null").expect("a file");
        self.program = None;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(began.elapsed() < HANGS, "it hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the program's end. Returns its exit status; the screen is as it left it.
    pub(crate) fn exited(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            self.read();
            if let Some(status) = self.child.try_wait().expect("a child") {
                while self.has_more() && self.read() {}
                return status.code();
            }
            assert!(began.elapsed() < HANGS, "it hangs:\n{}", self.rows());
        }
    }

    fn has_more(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(&self.user, PollFlags::IN)], Some(&now));
        ready.is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
