//! `h2ws certificate`.

use std::os::unix::fs::PermissionsExt;

use crate::certificates::connect;
use crate::process::{Scratch, Server, run};

const FILES: [&str; 4] = ["ca.pem", "ca.key", "server.pem", "server.key"];

#[test]
fn clients_that_trust_the_ca_connect_to_the_named_hosts_only() {
    let files = Scratch::new();
    let directory = files.path("new/tls");
    let written = run(&["certificate", &directory, "--host", "localhost"]);
    assert_eq!(written.exited(0).stderr, "");
    for file in FILES {
        let path = format!("{directory}/{file}");
        assert!(written.stdout.contains(&path), "{written:?}");
        let mode = std::fs::metadata(&path).expect(file).permissions().mode() & 0o777;
        let is_key = file.ends_with(".key");
        assert!(
            mode == 0o600 || !is_key && mode & 0o022 == 0,
            "{file}: {mode:o}"
        );
    }
    // What it prints next, apart from the port.
    let next = format!(
        "h2ws serve --cert {directory}/server.pem --key {directory}/server.key\n  \
         h2ws connect --cacert {directory}/ca.pem wss://localhost:8443/\n"
    );
    assert!(written.stdout.contains(&next), "{written:?}");
    let (cert, key) = (
        format!("{directory}/server.pem"),
        format!("{directory}/server.key"),
    );
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let ca = format!("{directory}/ca.pem");
    let trusting = ["--cacert", &ca];
    assert_eq!(
        connect(&server.localhost(), &trusting).exited(0).stdout,
        "hello\n"
    );
    connect(&server.url, &trusting)
        .exited(1)
        .stderr_has("invalid server certificate");
    connect(&server.localhost(), &[])
        .exited(1)
        .stderr_has("its issuer is not trusted");
}

#[test]
fn by_default_it_is_for_this_machine() {
    let files = Scratch::new();
    let directory = files.path("my \u{1b}[31m tls");
    let written = run(&["certificate", &directory]);
    assert!(
        written
            .exited(0)
            .stdout
            .contains("certificate for localhost, 127.0.0.1, ::1, until 20")
    );
    // A path that a shell would take apart is quoted.
    assert!(
        written
            .stdout
            .contains(&format!("--cacert '{directory}/ca.pem' ")),
        "{written:?}"
    );
    let (cert, key) = (
        format!("{directory}/server.pem"),
        format!("{directory}/server.key"),
    );
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let ca = format!("{directory}/ca.pem");
    for url in [&server.url, &server.localhost()] {
        connect(url, &["--cacert", &ca]).exited(0);
    }
}

#[test]
fn nothing_is_overwritten() {
    for file in FILES {
        let files = Scratch::new();
        std::fs::create_dir(files.path("tls")).expect("a directory");
        let mine = files.file(&format!("tls/{file}"), "mine");
        let refused = run(&["certificate", &files.path("tls")]);
        refused
            .exited(1)
            .stderr_has(&format!("{mine} exists; nothing was written"));
        assert_eq!(std::fs::read_to_string(&mine).expect("a file"), "mine");
        let entries = std::fs::read_dir(files.path("tls")).expect("a directory");
        assert_eq!(entries.count(), 1, "{file}");
    }
    // A link that leads nowhere is not followed.
    let files = Scratch::new();
    std::os::unix::fs::symlink(files.path("elsewhere"), files.path("ca.key")).expect("a link");
    run(&["certificate", &files.path("")])
        .exited(1)
        .stderr_has("exists");
    assert!(!std::path::Path::new(&files.path("elsewhere")).exists());
}

#[test]
fn what_cannot_be_written_or_certified_is_reported() {
    let files = Scratch::new();
    let file = files.file("file", "");
    run(&["certificate", &file])
        .exited(1)
        .stderr_has(&format!("cannot write {file}: "));
    for host in ["https://a.test", "a b", "", "a.test:443"] {
        run(&["certificate", &files.path("tls"), "--host", host])
            .exited(2)
            .stderr_has("expected a host name such as app.test");
    }
    assert!(!std::path::Path::new(&files.path("tls")).exists());
}
