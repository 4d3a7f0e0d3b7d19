//! The text of `--help`: its shape, and that the examples in it work.

use std::process::Stdio;

use crate::certificates::authority;
use crate::process::{Running, Scratch, Server, h2ws, run};

const COMMANDS: [&str; 12] = [
    "demo",
    "serve",
    "bridge",
    "connect",
    "tunnel",
    "probe",
    "bench",
    "health",
    "certificate",
    "completions",
    "man",
    "help",
];

const TOPICS: [&str; 4] = ["versions", "proxies", "tls", "troubleshooting"];

fn help(command: &str) -> String {
    let ended = run(&["help", command]);
    ended.exited(0);
    ended.stdout
}

#[test]
fn help_fits_100_columns_and_has_headings() {
    for command in COMMANDS {
        let text = help(command);
        assert_eq!(text, run(&[command, "--help"]).stdout, "{command}");
        assert_eq!(text, run(&[command, "-h"]).stdout, "{command}");
        let long = text.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None, "{command}");
        // Every option has a heading; clap puts those without one under "Options".
        assert!(!text.contains("\nOptions:\n"), "{text}");
        let global = text.find("\nGlobal options:\n").expect("a heading");
        let options = text[..global].matches("\n      --").count();
        let has_none = ["completions", "man", "help"].contains(&command);
        assert_eq!(options == 0, has_none, "{text}");
        assert!(!text[..global].contains("--verbose"), "{text}");
    }
}

/// A screen of 100 columns and 50 rows; what is longer has headings to find things by.
#[test]
fn topics_and_the_overview_fit_a_screen_and_all_end_with_examples() {
    let mut texts: Vec<_> = COMMANDS.iter().map(|command| help(command)).collect();
    let overview = run(&["--help"]).stdout;
    assert_eq!(run(&["help"]).exited(0).stdout, overview);
    for text in TOPICS.iter().map(|topic| help(topic)).chain([overview]) {
        assert!(text.lines().count() <= 50, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        texts.push(text);
    }
    for text in texts {
        let (_, end) = text.split_once("\nExamples:\n").expect("examples");
        assert_eq!(
            end.trim_end().lines().count(),
            examples(&text).len(),
            "{text}"
        );
        let headings = text
            .lines()
            .filter(|line| line.ends_with(':') && !line.starts_with(' '));
        assert!(
            text.lines().count() <= 50 || headings.count() >= 5,
            "{text}"
        );
    }
    run(&["help", "tunel"])
        .exited(2)
        .stderr_has("invalid value 'tunel' for '[COMMAND|TOPIC]'");
}

#[test]
fn the_overview_lists_every_command() {
    let text = run(&["--help"]).stdout;
    for command in COMMANDS {
        assert!(text.contains(&format!("\n  {command} ")), "{text}");
    }
}

/// Returns the commands under "Examples:".
fn examples(text: &str) -> Vec<String> {
    let (_, examples) = text.split_once("\nExamples:\n").expect("examples");
    let lines = examples.lines().take_while(|line| !line.is_empty());
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Runs every example as a user would, except for addresses, which must be free, and the URLs of
/// servers.
#[test]
fn the_examples_work() {
    let files = Scratch::new();
    let [_, cert, key] = authority(&files, "ca", "localhost");
    std::fs::copy(&cert, files.path("chain.pem")).expect("a copy");
    std::fs::copy(&key, files.path("key.pem")).expect("a copy");
    files.file("bridge.toml", "[[route]]\nto = \"ws://127.0.0.1:8080\"\n");
    for completions in [".local/share/bash-completion", ".config/fish"] {
        std::fs::create_dir_all(files.path(&format!("{completions}/completions")))
            .expect("a directory");
    }
    std::fs::create_dir(files.path(".zfunc")).expect("a directory");
    let tls = Server::start(&[]);
    let clear = Server::start(&["--cleartext"]);
    let to = tls.url.replace("wss://", "tcp://");
    // A tunnel's target may be anything that answers: here TLS, by an alert.
    let tunneled = Server::bridge(&["--to", &to, "--allow-any-origin"]);
    let mut checked = Server::bridge(&["--to", &clear.url, "--metrics", "127.0.0.1:0"]);
    let metrics = checked.running.line();
    let metrics = metrics.trim_end().strip_prefix("metrics at http://");
    let metrics = metrics.and_then(|url| url.strip_suffix("/metrics"));
    let metrics = metrics.expect("the address of the metrics");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_h2ws"));
    let directory = program.parent().expect("a directory").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();

    for command in COMMANDS.into_iter().chain(TOPICS) {
        let all = examples(&help(command));
        assert!(!all.is_empty(), "{command}");
        for example in all {
            let tunnels = command == "tunnel" && example.contains("--local");
            let serves = ["h2ws serve", "h2ws bridge"]
                .iter()
                .any(|begin| example.starts_with(begin));
            let listens = tunnels || serves && !example.contains("--check");
            let served = if command == "tunnel" { &tunneled } else { &tls };
            let mut line = example
                .replace("wss://127.0.0.1:8443", &served.url)
                .replace("127.0.0.1:7000", "127.0.0.1:0")
                .replace("127.0.0.1:9443", metrics)
                .replace("ws://127.0.0.1:8080", &clear.url)
                .replace(" --listen 127.0.0.1:8080", "")
                .replace("127.0.0.1:8444", "127.0.0.1:0");
            if tunnels {
                line = format!("exec {line}");
            } else if listens {
                line = format!("exec {line} --listen 127.0.0.1:0");
            }
            let mut shell = std::process::Command::new("sh");
            shell
                .args(["-c", &line])
                .current_dir(files.path(""))
                .env("PATH", format!("{directory}:{path}"))
                .env("HOME", files.path(""))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            if listens {
                let server = Server::start_with(&mut shell);
                server.running.signal("TERM");
                server.ended().exited(if tunnels { 143 } else { 0 });
            } else {
                let ended = Running::start(&mut shell).ended();
                assert_eq!(ended.status.code(), Some(0), "{line}: {ended:?}");
                assert_eq!(
                    ended.stdout.is_empty(),
                    line.contains(" > "),
                    "{line}: {ended:?}"
                );
            }
        }
    }
}

#[test]
fn the_overview_has_examples_too() {
    let all = examples(&run(&["--help"]).stdout);
    for example in &all {
        let words: Vec<_> = example.split(' ').collect();
        crate::process::Running::start(&mut h2ws(&words[1..]))
            .ended()
            .exited(0);
    }
    assert!(!all.is_empty());
}

/// Returns the long options of a command.
fn options(help: &str) -> Vec<String> {
    let lines = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.split_once(", ").map_or(line, |(_, long)| long);
        line.strip_prefix("--")
    });
    let end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    lines
        .map(|line| line.split(end).next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn completions_and_man_pages_have_every_command_and_option() {
    let files = Scratch::new();
    let pages = files.path("new/man1");
    run(&["man", &pages]).exited(0);
    let page = |name: &str| {
        let path = format!("{pages}/{name}.1");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let root = page("h2ws");
    let topics = page("h2ws-help");
    for topic in TOPICS {
        let title = help(topic).lines().next().expect("a title").to_uppercase();
        assert!(
            topics.contains(&format!(".SH \"{title}\"")),
            "{title}: {topics}"
        );
    }
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = run(&["completions", shell]);
        let script = &ended.exited(0).stdout;
        if ["bash", "fish", "zsh"].contains(&shell) {
            assert!(TOPICS.iter().all(|topic| script.contains(topic)), "{shell}");
        }
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
            assert!(root.contains(&format!("h2ws\\-{command}(1)")), "{root}");
            let page = page(&format!("h2ws-{command}"));
            let options = options(&help(command));
            assert!(options.len() >= 3, "{command}: {options:?}");
            for option in options {
                let found = script.contains(&option);
                assert!(found, "{shell}: {command} --{option}");
                let option = format!("\\fB\\-\\-{}\\fR", option.replace('-', "\\-"));
                assert!(page.contains(&option), "{command}: {option}: {page}");
            }
            assert!(page.contains(".SH EXAMPLES\n.EX\n"), "{page}");
        }
    }
    run(&["man", &files.file("file", "")]).exited(1);
}
