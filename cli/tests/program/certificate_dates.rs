//! Certificates that are expired, expire soon or are not valid yet: reported by `--check`, at startup
//! and by a reload, which do not refuse them, and exported as a metric.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::bridge_operations::get;
use crate::certificates::connect;
use crate::in_process::until;
use crate::process::{Scratch, Server, run};

const DAY: u64 = 24 * 3600;

fn today() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs() / DAY
}

/// Writes `cert.pem` and `cert.key`, valid between these days since the epoch. Returns their paths.
fn pair(files: &Scratch, from: u64, until: u64) -> [String; 2] {
    let at = |days: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(days * DAY);
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_before = at(from);
    params.not_after = at(until);
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    [
        files.file("cert.pem", &made.pem()),
        files.file("cert.key", &key.serialize_pem()),
    ]
}

const PAIR: &str = "cert = \"cert.pem\"\nkey = \"cert.key\"\n";

#[test]
fn a_check_reports_the_date_with_its_line_and_fails_if_clients_reject_it() {
    let files = Scratch::new();
    let today = today();
    let places = [
        format!("[tls]\n{PAIR}[[route]]\nto = \"ws://a\"\n"),
        format!(
            "[[listener]]\nlisten = \"127.0.0.1:0\"\n[listener.tls]\n{PAIR}[[route]]\nto = \"ws://a\"\n"
        ),
        format!("[upstream_tls]\n{PAIR}[[route]]\nto = \"ws://a\"\n"),
        format!("[[route]]\nto = \"wss://a\"\n[route.upstream_tls]\n{PAIR}"),
    ];
    for (text, line) in places.iter().zip([2, 4, 2, 4]) {
        let config = files.file("c.toml", text);
        for (from, until, status, what) in [
            (today - 60, today + 30, 0, ""),
            (today - 80, today + 10, 0, "the certificate expires on "),
            (
                18_000,
                18_262,
                3,
                "the certificate expired on 2020-01-01 at 00:00 UTC; renew it",
            ),
            (
                47_482,
                47_500,
                3,
                "the certificate is not valid before 2100-01-01 at 00:00 UTC; ",
            ),
        ] {
            pair(&files, from, until);
            let checked = run(&["bridge", "--config", &config, "--check"]);
            checked.exited(status);
            let place = format!("c.toml:{line}: ");
            let found = checked.stderr.lines().find(|text| text.contains(&place));
            let found = found.unwrap_or_default();
            assert!(found.contains(what), "{text}: {checked:?}");
            assert_eq!(found.is_empty(), what.is_empty(), "{text}: {checked:?}");
            assert_eq!(found.contains("cert.pem: "), !what.is_empty(), "{found}");
            let passed = checked.stdout == "no errors, 1 route\n";
            assert_eq!(passed, status == 0, "{checked:?}");
        }
    }
}

/// It may be the only certificate there is, or one of many: what works must go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_reported_and_used_and_its_end_is_a_metric() {
    let files = Scratch::new();
    let today = today();
    let [cert, key] = pair(&files, 18_000, 18_262);
    let backend = Server::start(&["--cleartext"]);
    let rest = format!(
        "metrics = \"127.0.0.1:0\"\n{}[[route]]\nto = \"{}\"\n",
        "{tls}", backend.url
    );
    let in_file = files.file("a.toml", &rest.replace("{tls}", &format!("[tls]\n{PAIR}")));
    let elsewhere = files.file("b.toml", &rest.replace("{tls}", ""));
    let options = ["--cert", &cert, "--key", &key];
    for args in [
        vec!["--config", &in_file],
        [&["--config", &elsewhere], &options[..]].concat(),
    ] {
        pair(&files, 18_000, 18_262);
        let mut bridge = Server::bridge(&args);
        let line = bridge.running.line();
        let metrics = line.trim_end().strip_prefix("metrics at ").expect("a URL");
        bridge
            .running
            .wait_for_stderr("cert.pem: the certificate expired on 2020-01-01");
        let ended = connect(&bridge.localhost(), &["--insecure"]);
        assert_eq!(ended.exited(0).stdout, "hello\n");
        let ends = |day: u64| {
            let value = format!(" {}", day * DAY);
            let text = get(metrics).1;
            let name = "h2ws_bridge_certificate_not_after_timestamp_seconds{listener=\"wss://";
            let mut lines = text.lines().filter(|line| line.starts_with(name));
            lines.any(|line| line.contains("cert.pem\"}") && line.ends_with(&value))
        };
        assert!(ends(18_262), "{}", get(metrics).1);
        pair(&files, today - 80, today + 10);
        bridge.running.signal("HUP");
        bridge
            .running
            .wait_for_stderr("cert.pem: the certificate expires on ");
        until(|| ends(today + 10)).await;
        bridge.running.wait_for_stderr("reloaded");
        let log = bridge.running.stderr_so_far();
        let line = log.lines().find(|line| line.contains(" reloaded "));
        let line = line.expect("a line for the reload");
        assert!(line.contains("cert.pem until 20"), "{line}");
    }
}

#[test]
fn serve_reports_it_at_startup_and_when_it_is_reloaded() {
    let files = Scratch::new();
    let today = today();
    let [cert, key] = pair(&files, 18_000, 18_262);
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    server
        .running
        .wait_for_stderr("cert.pem: the certificate expired on 2020-01-01");
    pair(&files, today - 80, today + 10);
    server.running.signal("HUP");
    server
        .running
        .wait_for_stderr("cert.pem: the certificate expires on ");
}

#[test]
fn a_client_says_since_when_the_certificate_is_expired() {
    let files = Scratch::new();
    let [cert, key] = pair(&files, 18_262, 18_627);
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    connect(&server.localhost(), &["--cacert", &cert])
        .exited(1)
        .stderr_has("it expired on 2020-12-31 at 00:00 UTC");
}
