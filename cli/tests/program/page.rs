//! The page of `h2ws serve`, as a browser loads it. `interop/cases/page.py` uses it in browsers.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::process::Server;

/// Returns the head and the body of the response to a GET request.
fn get(server: &Server, path: &str) -> (String, String) {
    let address = server.url.strip_prefix("ws://").expect("cleartext");
    let mut io = TcpStream::connect(address).expect("a connection");
    write!(
        io,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut response = String::new();
    io.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("an end of the head");
    (head.to_lowercase(), body.to_owned())
}

/// Returns the paths in quotation marks that follow `before`.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
}

#[test]
fn the_page_and_all_that_it_loads_come_from_the_server_under_a_strict_policy() {
    let server = Server::start(&["--cleartext"]);
    let (head, html) = get(&server, "/");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
                  img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                  connect-src 'self'";
    for field in [
        policy,
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.lines().any(|line| line == field), "{field}: {head}");
    }
    // What the policy forbids would not work.
    for inline in ["<style", "<script>", " style=", " onclick=", "javascript:"] {
        assert!(!html.contains(inline), "{inline}");
    }
    let mut files: Vec<String> = ["src=\"", "rel=\"stylesheet\" href=\""]
        .into_iter()
        .flat_map(|before| quoted(&html, before))
        .map(str::to_owned)
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    let mut seen = 0;
    while let Some(path) = files.get(seen).cloned() {
        seen += 1;
        let (head, text) = get(&server, &path);
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(head.contains(policy), "{path}: {head}");
        // Text of the server must not become markup.
        for markup in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text.contains(markup), "{path}: {markup}");
        }
        for name in quoted(&text, "from \"./") {
            let path = format!("/page/{name}");
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    assert!(seen >= 6, "{files:?}");
}

#[test]
fn the_page_learns_which_connection_carried_it() {
    let server = Server::start(&["--cleartext"]);
    let (head, body) = get(&server, "/connection");
    assert!(head.contains("content-type: application/json"), "{head}");
    let carrier: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(carrier["transport"], "h1");
    assert!(carrier["connection"].is_u64());
    assert!(carrier["http1"].is_null(), "{carrier}");
    assert!(get(&server, "/absent").0.starts_with("http/1.1 404"));
    assert!(get(&server, "/carrier").0.starts_with("http/1.1 426"));
}
