//! Runs the program; it is killed when the value that represents it is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time after which a test assumes that the program hangs.
const HANGS: Duration = Duration::from_secs(90);

pub(crate) fn h2ws(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_h2ws"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("SSLKEYLOGFILE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Returns a command that runs the program with a limit on open files.
#[cfg(unix)]
pub(crate) fn with_files(files: u32, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_h2ws"))
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The exit status and output of a program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn exited(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr_has(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no {text:?}: {self:?}");
        self
    }
}

/// A running program; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr_text: Arc<Mutex<String>>,
    stderr: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().map(BufReader::new);
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        // Always read, because a full pipe would stall the program.
        let stderr_text = Arc::new(Mutex::new(String::new()));
        let sink = stderr_text.clone();
        let stderr = thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).expect("stderr is UTF-8") > 0 {
                sink.lock().expect("no panic").push_str(&line);
                line.clear();
            }
        });
        Self {
            stderr_text,
            child,
            stdout,
            stderr: Some(stderr),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads the next line of stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("stdout is piped");
        stdout.read_line(&mut line).expect("stdout is UTF-8");
        line
    }

    /// Closes the reading end of stdout, as `head` does.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Returns stderr so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr_text.lock().expect("no panic").clone()
    }

    /// Waits until stderr contains `text`.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        let began = Instant::now();
        while !self.stderr_so_far().contains(text) {
            assert!(
                began.elapsed() < HANGS,
                "no {text:?}: {}",
                self.stderr_so_far()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the program has installed its handler of SIGINT.
    #[cfg(target_os = "linux")]
    pub(crate) fn catches_signals(&mut self) {
        let began = Instant::now();
        let path = format!("/proc/{}/status", self.pid());
        loop {
            let status = std::fs::read_to_string(&path).expect("it runs");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            if caught.is_some_and(|mask| mask & 0b10 != 0) {
                return;
            }
            assert!(began.elapsed() < HANGS, "{status}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    pub(crate) fn ended(mut self) -> Ended {
        let stdout = self.stdout.take();
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut stdout) = stdout {
                stdout.read_to_string(&mut text).expect("stdout is UTF-8");
            }
            text
        });
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program is ours") {
                break status;
            }
            assert!(began.elapsed() < HANGS, "the program hangs");
            thread::sleep(Duration::from_millis(5));
        };
        let stderr = self.stderr.take().expect("not taken before");
        stderr.join().expect("no panic");
        Ended {
            status,
            stdout: stdout.join().expect("no panic"),
            stderr: self.stderr_so_far(),
        }
    }
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    Running::start(&mut h2ws(args)).ended()
}

/// Runs the program to its end with `input` as its stdin.
pub(crate) fn run_with(command: &mut Command, input: &str) -> Ended {
    start_with(command, input).ended()
}

/// Starts the program, and returns once `input` is written to its stdin.
pub(crate) fn start_with(command: &mut Command, input: &str) -> Running {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().expect("stdin is piped");
    // Fails if the program exits before it reads.
    let _ = stdin.write_all(input.as_bytes());
    running
}

/// `h2ws serve` or `h2ws bridge` on a free port.
pub(crate) struct Server {
    pub(crate) running: Running,
    /// The URL that it printed, such as `wss://127.0.0.1:40001`.
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(&mut h2ws(
            &[&["serve", "--listen", "127.0.0.1:0"], args].concat(),
        ))
    }

    /// Starts `h2ws bridge` on a free port.
    pub(crate) fn bridge(args: &[&str]) -> Self {
        Self::start_with(&mut h2ws(
            &[&["bridge", "--listen", "127.0.0.1:0"], args].concat(),
        ))
    }

    /// Starts a program whose first line is about its listener, as text or as JSON.
    pub(crate) fn start_with(command: &mut Command) -> Self {
        let mut running = Running::start(command);
        let line = running.line();
        let Some(url) = listening(&line) else {
            panic!("announced {line:?}: {:?}", running.ended());
        };
        Self { running, url }
    }

    /// Returns the URL with the host name that the certificates are for.
    pub(crate) fn localhost(&self) -> String {
        self.url.replace("127.0.0.1", "localhost")
    }

    pub(crate) fn ended(self) -> Ended {
        self.running.ended()
    }
}

/// A directory that is removed when the value is dropped.
pub(crate) struct Scratch(std::path::PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "program-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory for this test");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.into_os_string().into_string().expect("UTF-8")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file for this test");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // On failure, files stay in cargo's target directory, which does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns the URL in the line about a listener.
pub(crate) fn listening(line: &str) -> Option<String> {
    let text = line.trim_end().strip_prefix("listening on ");
    text.map(str::to_owned).or_else(|| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let url = line["url"]
            .as_str()
            .filter(|_| line["message"] == "listening");
        url.map(str::to_owned)
    })
}
