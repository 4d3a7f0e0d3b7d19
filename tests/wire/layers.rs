//! The arrows of ARCHITECTURE.md: nothing below knows what is above.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer with those that it may use.
const LAYERS: [(&str, &[&str]); 8] = [
    ("frame", &[]),
    ("handshake", &["frame"]),
    ("metrics", &["frame"]),
    ("transport", &["metrics"]),
    ("socket", &["error", "frame", "metrics", "transport"]),
    (
        "client",
        &[
            "error",
            "frame",
            "handshake",
            "metrics",
            "transport",
            "socket",
        ],
    ),
    (
        "server",
        &[
            "error",
            "frame",
            "handshake",
            "metrics",
            "transport",
            "socket",
        ],
    ),
    (
        "bridge",
        &[
            "error",
            "frame",
            "handshake",
            "transport",
            "socket",
            "metrics",
            "client",
            "server",
        ],
    ),
];

/// What protocol logic without I/O may not touch.
const OUTSIDE: [&str; 9] = [
    "tokio",
    "h2::",
    "hyper",
    "rustls",
    "std::io",
    "std::time",
    "TcpStream",
    "UdpSocket",
    "getrandom",
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names behind each `crate::`, those in braces too.
fn uses(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or_default();
            names.extend(list.split(',').map(|name| first(name.trim())));
        } else {
            names.push(first(rest));
        }
    }
    names
}

fn first(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn the_arrows_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for (layer, allowed) in LAYERS {
        for path in sources(&src.join(layer)) {
            if path.ends_with("tests.rs") {
                continue;
            }
            for name in uses(&code(&path)) {
                seen += 1;
                let module = LAYERS.iter().any(|(layer, _)| *layer == name) || name == "error";
                assert!(
                    !module || name == layer || allowed.contains(&name.as_str()),
                    "{}: {layer} may not use {name}",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 50, "the scan finds nothing any more");
}

#[test]
fn protocol_logic_does_no_io() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for layer in ["frame", "handshake"] {
        for path in sources(&src.join(layer)) {
            let code = code(&path);
            for outside in OUTSIDE {
                assert!(
                    !code.contains(outside),
                    "{}: uses {outside}",
                    path.display()
                );
            }
        }
    }
}
