//! Certificates of `h2ws bridge`: its own, those of clients, and those of upstreams.

use h2ws::HttpVersion;

use crate::bridge_operations::{get, open};
use crate::certificates::{authority, connect};
use crate::in_process::{assert_echo, client, until};
use crate::process::{Scratch, Server, run};

fn echoes(bridge: &Server, args: &[&str]) {
    let ended = connect(&bridge.localhost(), args);
    ended.exited(0);
    assert_eq!(ended.stdout, "hello\n");
}

#[test]
fn upstream_certificates_and_the_bridges_own_come_from_files() {
    let files = Scratch::new();
    let [ca, cert, key] = authority(&files, "ours", "localhost");
    let [other, ..] = authority(&files, "other", "localhost");
    let upstream = ["--cert", &cert, "--key", &key, "--client-ca", &ca];
    let upstream = Server::start(&upstream);
    let to = upstream.localhost();
    let line = ["--cleartext", "--to", &to];
    let shown = ["--upstream-cert", &cert, "--upstream-key", &key];
    let by_line = |args: &[&str]| Server::bridge(&[&line, args].concat());
    let by_file = |keys: &str| {
        let text = format!("cleartext = true\n[upstream_tls]\n{keys}[[route]]\nto = \"{to}\"\n");
        let file = files.file("bridge.toml", &text);
        Server::bridge(&["--config", &file])
    };
    let pair = "cert = \"ours-leaf.pem\"\nkey = \"ours-leaf.key\"\n";
    for good in [
        by_line(&[&["--upstream-cacert", &ca], &shown[..]].concat()),
        by_file(&format!("cacert = \"ours.pem\"\n{pair}")),
    ] {
        echoes(&good, &[]);
    }
    for bad in [
        by_line(&[&["--upstream-cacert", &other], &shown[..]].concat()),
        by_line(&shown),
        by_line(&["--upstream-cacert", &ca]),
        by_file(&format!("cacert = \"other.pem\"\n{pair}")),
        by_file("cacert = \"ours.pem\"\n"),
    ] {
        connect(&bad.url, &[]).exited(1).stderr_has("502");
    }
}

/// Only those of which a client gets another's certificate for certain.
#[test]
fn hosts_without_a_certificate_are_reported() {
    let files = Scratch::new();
    let [_, cert, key] = authority(&files, "ours", "a.example");
    let route = |host: &str| format!("[[route]]\nhost = \"{host}\"\nto = \"ws://b\"\n");
    let routes = format!(
        "{}{}{}{}",
        route("a.example"),
        route("b.example"),
        route("*.example"),
        route("*")
    );
    let tls = "[tls]\ncert = \"ours-leaf.pem\"\nkey = \"ours-leaf.key\"\n";
    let check = |text: &str, args: &[&str]| {
        let file = files.file("c.toml", text);
        let checked = run(&[&["bridge", "--check", "--config", &file], args].concat());
        assert_eq!(checked.exited(0).stdout, "no errors, 4 routes\n");
        checked.stderr
    };
    let pair = ["--cert", &cert, "--key", &key];
    for (text, args, line) in [
        (format!("{tls}{routes}"), &[][..], 8),
        (routes.clone(), &pair, 5),
    ] {
        let reported = check(&text, args);
        let what = format!("c.toml:{line}: no certificate is for b.example; its clients get ");
        assert!(reported.contains(&what), "{reported}");
        assert_eq!(reported.lines().count(), 1, "{reported}");
        assert!(
            reported.contains("ours-leaf.pem and reject it"),
            "{reported}"
        );
    }
    let clear = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncleartext = true\n";
    for silent in [routes.clone(), format!("{clear}{tls}{routes}")] {
        let reported = check(&silent, &[]);
        assert!(!reported.contains("no certificate"), "{reported}");
    }
}

/// Two servers with the same name and certificates from different authorities: each route uses its
/// own files, and no connection of the other route.
#[test]
fn each_route_has_its_own_trusted_certificates_and_identity() {
    let files = Scratch::new();
    let server = |[ca, cert, key]: &[String; 3]| {
        Server::start(&["--cert", cert, "--key", key, "--client-ca", ca])
    };
    let [ours, partner] =
        ["ours", "partner"].map(|name| server(&authority(&files, name, "localhost")));
    let stranger = server(&authority(&files, "stranger", "localhost"));
    let route = |path: &str, upstream: &Server, keys: &str| {
        format!(
            "[[route]]\npath = \"/{path}\"\nto = \"{}\"\n{keys}",
            upstream.localhost()
        )
    };
    let tls = |ca: &str, name: &str| {
        format!("cacert = \"{ca}.pem\"\ncert = \"{name}-leaf.pem\"\nkey = \"{name}-leaf.key\"\n")
    };
    let own = |keys: &str| format!("[route.upstream_tls]\n{keys}");
    let text = [
        format!("cleartext = true\n[upstream_tls]\n{}", tls("ours", "ours")),
        route("ours", &ours, ""),
        route("partner", &partner, &own(&tls("partner", "partner"))),
        // The same servers with other files.
        route("unknown", &partner, &own(&tls("partner", "ours"))),
        route("distrusted", &ours, &own(&tls("partner", "ours"))),
        route("unshown", &ours, &own("cacert = \"ours.pem\"\n")),
        route(
            "anyone",
            &stranger,
            &own("insecure = true\ncert = \"stranger-leaf.pem\"\nkey = \"stranger-leaf.key\"\n"),
        ),
    ];
    let bridge = Server::bridge(&["--config", &files.file("bridge.toml", &text.concat())]);
    for path in ["ours", "partner", "anyone"] {
        let ended = connect(&format!("{}/{path}", bridge.url), &[]);
        ended.exited(0);
        assert_eq!(ended.stdout, "hello\n", "{path}");
    }
    for path in ["unknown", "distrusted", "unshown"] {
        connect(&format!("{}/{path}", bridge.url), &[])
            .exited(1)
            .stderr_has("502");
    }
}

/// A reload keeps the connections of a route as long as the contents of its TLS files are the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_connections_of_routes_with_own_tls_files() {
    let files = Scratch::new();
    let [ours, cert, key] = authority(&files, "ours", "localhost");
    let [other, ..] = authority(&files, "other", "localhost");
    let upstream = Server::start(&["--cert", &cert, "--key", &key]);
    let write = |name: &str| {
        let text = format!(
            "cleartext = true\nmetrics = \"127.0.0.1:0\"\n[[route]]\nname = \"{name}\"\n\
             to = \"{}\"\nversion = \"http2\"\n[route.upstream_tls]\ncacert = \"ours.pem\"\n",
            upstream.localhost()
        );
        files.file("bridge.toml", &text)
    };
    let mut bridge = Server::bridge(&["--config", &write("first")]);
    let line = bridge.running.line();
    let metrics = line.trim_end().strip_prefix("metrics at ");
    let metrics = metrics.expect("the URL of the metrics");
    let connections = |count: u64| {
        let line = format!("h2ws_bridge_connections{{side=\"upstream\",version=\"2\"}} {count}");
        let text = get(metrics).1;
        assert!(text.lines().any(|one| one == line), "no {line}: {text}");
    };
    let reloaded = async |times| {
        bridge.running.signal("HUP");
        until(|| bridge.running.stderr_so_far().matches("reloaded").count() == times).await;
    };
    let client = client(HttpVersion::Http2);
    let mut sockets = vec![open(&client, &bridge.url).await];
    connections(1);

    write("second");
    reloaded(1).await;
    sockets.push(open(&client, &bridge.url).await);
    connections(1);

    // The same file name with other contents.
    let pem = |file: &str| std::fs::read_to_string(file).expect("a file");
    files.file("ours.pem", &(pem(&ours) + &pem(&other)));
    reloaded(2).await;
    sockets.push(open(&client, &bridge.url).await);
    connections(2);
    for socket in &mut sockets {
        assert_echo(socket, "still").await;
    }
}

#[test]
fn options_do_not_turn_off_client_certificates_that_the_file_requires() {
    let files = Scratch::new();
    let [ca, cert, key] = authority(&files, "ours", "localhost");
    let [_, stranger, stranger_key] = authority(&files, "other", "localhost");
    let backend = Server::start(&["--cleartext"]);
    let bridge = |keys: &str, args: &[&str]| {
        let text = format!(
            "[tls]\ncert = \"ours-leaf.pem\"\nkey = \"ours-leaf.key\"\n{keys}[[route]]\nto = \"{}\"\n",
            backend.url
        );
        let file = files.file("bridge.toml", &text);
        Server::bridge(&[&["--config", &file], args].concat())
    };
    let shown = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let strange = ["--cacert", &ca, "--cert", &stranger, "--key", &stranger_key];
    let none = ["--cacert", &ca];
    let required = "client_ca = \"ours.pem\"\n";
    for strict in [
        bridge(required, &[]),
        bridge(required, &["--cert", &cert, "--key", &key]),
        bridge("", &["--client-ca", &ca]),
    ] {
        echoes(&strict, &shown);
        connect(&strict.localhost(), &none).exited(1);
        connect(&strict.localhost(), &strange).exited(1);
    }
    let optional = bridge(&format!("{required}client_cert_optional = true\n"), &[]);
    echoes(&optional, &shown);
    echoes(&optional, &none);
    connect(&optional.localhost(), &strange).exited(1);
}

#[test]
fn several_certificates_are_used_and_errors_have_their_lines() {
    let files = Scratch::new();
    let [ca, ..] = authority(&files, "ours", "localhost");
    let made = rcgen::generate_simple_self_signed(["first.test".to_owned()]).expect("a pair");
    files.file("first.pem", &made.cert.pem());
    files.file("first.key", &made.signing_key.serialize_pem());
    let backend = Server::start(&["--cleartext"]);
    let route = format!("[[route]]\nto = \"{}\"\n", backend.url);
    let text = format!(
        "[tls]\ncert = [\"first.pem\", \"ours-leaf.pem\"]\nkey = [\"first.key\", \"ours-leaf.key\"]\n{route}"
    );
    let bridge = Server::bridge(&["--config", &files.file("bridge.toml", &text)]);
    echoes(&bridge, &["--cacert", &ca]);

    let two = "cert = [\"first.pem\",\n\"ours-leaf.pem\"]\n";
    for (keys, line, what) in [
        (
            format!("[tls]\n{two}key = \"first.key\"\n"),
            1,
            "one file in key per file in cert",
        ),
        (
            format!("[tls]\n{two}key = [\"first.key\", \"first.key\"]\n"),
            3,
            "ours-leaf.pem and",
        ),
        (
            "[tls]\ncert = \"first.pem\"\nkey = \"first.key\"\nclient_ca = \"first.key\"\n".into(),
            4,
            "first.key: ",
        ),
        (
            "[tls]\ncert = \"first.pem\"\nkey = \"first.key\"\nclient_cert_optional = true\n"
                .into(),
            1,
            "requires client_ca",
        ),
        (
            "[upstream_tls]\ncacert = \"none.pem\"\n".into(),
            2,
            "none.pem: No such file",
        ),
        (
            "[upstream_tls]\ncert = \"first.pem\"\n".into(),
            1,
            "must be used together",
        ),
        (
            "[upstream_tls]\ncert = \"first.pem\"\nkey = \"ours-leaf.key\"\n".into(),
            2,
            "first.pem and",
        ),
        (
            "[upstream_tls]\ncacert = \"first.pem\"\ninsecure = true\n".into(),
            1,
            "cannot be used with insecure",
        ),
        (
            format!("{route}[route.upstream_tls]\ncacert = \"none.pem\"\n"),
            4,
            "none.pem: No such file",
        ),
    ] {
        let named = keys.contains("[[route]]");
        let text = if named { keys } else { keys + &route };
        let file = files.file("wrong.toml", &text);
        let ended = crate::process::run(&["bridge", "--config", &file, "--check"]);
        ended
            .exited(2)
            .stderr_has(&format!("wrong.toml:{line}: "))
            .stderr_has(what);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}
