//! `h2ws probe`: the reports, and the exit status.

use futures_util::StreamExt;
use serde_json::Value;

use crate::in_process::server;
use crate::process::{Ended, Server, run};
use crate::raw_server::{Event, Raw, TEXT};

fn probe(args: &[&str]) -> Ended {
    run(&[&["probe"], args].concat())
}

/// Returns the JSON report on one URL, and the exit status.
pub(crate) fn json(args: &[&str]) -> (Value, Option<i32>) {
    let ended = probe(&[args, &["--json"]].concat());
    let all: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    let status = ended.status.code();
    assert_eq!(all["exit_status"].as_i64(), status.map(i64::from));
    (all["results"][0].clone(), status)
}

/// Returns the findings as `party|place|clause|text`, with `remark` as the party if it is not a fault.
pub(crate) fn findings(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = report["findings"].as_array().expect("a list");
    list.iter()
        .map(|found| {
            let fault = found["fault"].as_bool().expect("a truth value");
            let party = if fault {
                text(&found["party"])
            } else {
                "remark".to_owned()
            };
            let rest = ["place", "clause", "text"].map(|key| text(&found[key]));
            format!("{party}|{}", rest.join("|"))
        })
        .collect()
}

#[test]
fn serve_has_no_findings() {
    let server = Server::start(&["--deflate", "--subprotocol", "chat"]);
    let asked = [&server.url, "--insecure", "--subprotocol", "chat"];
    let (report, status) = json(&asked);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(findings(&report), [""; 0]);
    assert_eq!(report["verdict"], "http2");

    let address = server.url.strip_prefix("wss://").expect("TLS");
    assert_eq!(report["addresses"], serde_json::json!([address]));
    assert_eq!(report["connection"]["peer"], address);
    let tls = &report["connection"]["tls"];
    assert_eq!(tls["version"], "TLS 1.3");
    assert_eq!(tls["alpn"], "h2");
    assert_eq!(tls["trust"], "not checked");
    let subject = tls["certificate"]["subject"].as_str().expect("a subject");
    assert!(subject.starts_with("CN="), "{subject}");

    let http2 = &report["http2"];
    assert_eq!(http2["enable_connect_protocol"], "first");
    let capability = serde_json::json!({ "id": 8, "name": "ENABLE_CONNECT_PROTOCOL", "value": 1 });
    let settings = http2["settings_frames"][0]["settings"].as_array();
    assert!(settings.expect("a list").contains(&capability), "{http2:#}");
    let sockets = http2["sockets"].as_array().expect("a list");
    let streams: Vec<_> = sockets.iter().map(|s| s["stream"].as_u64()).collect();
    assert_eq!(streams, [Some(1), Some(3), Some(5)]);
    for socket in sockets {
        assert_eq!(socket["opening"]["status"], 200);
        assert_eq!(socket["ending"]["how"], "end_stream");
    }
    for socket in sockets.iter().chain([&report["http1"]["socket"]]) {
        assert_eq!(socket["works"], true);
        assert_eq!(socket["echo"]["result"], "same");
        assert_eq!(socket["opening"]["subprotocol"], "chat");
        assert_eq!(socket["opening"]["extensions"][0], "permessage-deflate");
        assert_eq!(socket["close"]["code"], 1000);
        assert_eq!(socket["close"]["begun_by"], "probe");
    }
    assert_eq!(sockets[0]["pings_answered"], 5);
    assert_eq!(report["http1"]["socket"]["opening"]["status"], 101);
    assert_eq!(report["http1"]["socket"]["ending"]["how"], "disconnected");
}

#[test]
fn the_text_report_has_the_facts_and_a_verdict() {
    let server = Server::start(&[]);
    let ended = probe(&[&server.url, "--insecure"]);
    ended.exited(0);
    for fact in [
        server.url.as_str(),
        "TLS 1.3",
        "ALPN h2",
        "not checked (--insecure)",
        "0x8 ENABLE_CONNECT_PROTOCOL = 1",
        "200 OK",
        "none (permessage-deflate offered)",
        "5 of 5 answered",
        "1000; then END_STREAM",
        "101 Switching Protocols",
        "findings\n  none\n",
        "verdict\n  WebSockets work over HTTP/2, and over HTTP/1.1\n",
    ] {
        assert!(ended.stdout.contains(fact), "no {fact:?}: {}", ended.stdout);
    }
}

#[test]
fn a_server_without_extended_connect_works_over_http1_only() {
    let server = Server::start(&["--no-extended-connect"]);
    let (report, status) = json(&[&server.url, "--insecure"]);
    assert_eq!(status, Some(3));
    assert_eq!(report["verdict"], "http1");
    assert_eq!(report["http2"]["enable_connect_protocol"], "absent");
    assert_eq!(report["http2"]["sockets"], Value::Array(Vec::new()));
    let [found] = &findings(&report)[..] else {
        panic!("{report:#}");
    };
    assert!(found.starts_with("remark|HTTP/2|RFC 8441 §3|"), "{found}");
}

#[test]
fn the_worst_url_decides_the_exit_status() {
    let good = Server::start(&["--cleartext"]);
    let less = Server::start(&["--cleartext", "--no-extended-connect"]);
    let none = "ws://127.0.0.1:1/";
    probe(&[&good.url, &good.url]).exited(0);
    probe(&[&less.url, &good.url]).exited(3);
    let ended = probe(&[none, &less.url, &good.url, "--json"]);
    ended.exited(1);
    let all: Value = serde_json::from_str(&ended.stdout).expect("one object");
    let results = all["results"].as_array().expect("a list");
    let verdicts: Vec<_> = results.iter().map(|result| &result["verdict"]).collect();
    assert_eq!(verdicts, ["none", "http1", "http2"]);
    let [found] = &findings(&results[0])[..] else {
        panic!("{all:#}");
    };
    assert!(found.starts_with("network|connection|-|no TCP"), "{found}");
}

/// Returns the lines of a report under "findings".
fn listed(report: &str) -> Vec<&str> {
    let lines = report
        .lines()
        .skip_while(|line| *line != "findings")
        .skip(1);
    lines.take_while(|line| *line != "verdict").collect()
}

#[test]
fn a_finding_is_listed_once_with_what_to_do() {
    let server = Server::start(&["--cleartext", "--no-extended-connect"]);
    let ended = probe(&[&server.url]);
    let report = &ended.exited(3).stdout;
    let [found, advice] = listed(report)[..] else {
        panic!("{report}");
    };
    assert!(found.starts_with("  remark        HTTP/2: "), "{found}");
    let origin = &server.url;
    let bridge = format!("or put `h2ws bridge --to {origin}` in front");
    assert!(
        advice.starts_with("    to do       turn on extended CONNECT"),
        "{advice}"
    );
    assert!(advice.ends_with(&bridge), "{advice}");
    let (report, _) = json(&[&server.url]);
    let advice = report["findings"][0]["advice"].as_str().expect("advice");
    assert!(advice.ends_with(&bridge), "{advice}");

    // The same over both versions, where a bridge would not help.
    let server = Server::start(&["--cleartext", "--allow-origin", "https://ok.example"]);
    let ended = probe(&[&server.url, "--origin", "https://evil.example"]);
    let report = &ended.exited(1).stdout;
    let [found, advice] = listed(report)[..] else {
        panic!("{report}");
    };
    assert!(
        found.starts_with("  remark        HTTP/2 socket 1, HTTP/1.1: rejected"),
        "{found}"
    );
    assert_eq!(
        advice,
        "    to do       see the body of the answer, or the server's log, for the reason"
    );
    let body = "\n  body          this origin may not open a WebSocket here\n";
    assert_eq!(report.matches(body).count(), 2, "{report}");
}

#[test]
fn the_body_of_a_refusal_is_shown_in_part_and_escaped() {
    let (_runtime, url) = server(|request| async move {
        let body = match request.path() {
            "/" => String::new(),
            _ => format!("\r\n\u{1b}[2Jno {}\nsecond line\n", "x".repeat(300)),
        };
        let mut response = http::Response::new(bytes::Bytes::from(body));
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        request.reject_with(response);
    });
    let ended = probe(&[&format!("{url}long")]);
    let report = &ended.exited(1).stdout;
    let body = format!("\n  body          \\u{{1b}}[2Jno {}…\n", "x".repeat(193));
    assert_eq!(report.matches(&body).count(), 2, "{report}");
    assert!(!report.contains("second"), "{report}");
    let (report, _) = json(&[&format!("{url}long")]);
    let body = report["http1"]["socket"]["opening"]["body"].as_str();
    let body = body.expect("a body");
    assert!(body.starts_with("\u{1b}[2Jno xxx"), "{body}");
    assert_eq!(body.chars().count(), 201);

    let (report, _) = json(&[&url]);
    assert_eq!(report["http1"]["socket"]["opening"]["body"], Value::Null);
    let advice = &report["findings"][0]["advice"];
    assert_eq!(advice, "see the server's log for the reason");
}

/// It must be true.
#[test]
fn the_bridge_that_is_advised_helps() {
    let server = Server::start(&["--cleartext", "--no-extended-connect"]);
    let (report, _) = json(&[&server.url]);
    let advice = report["findings"][0]["advice"].as_str().expect("advice");
    let command = advice.split('`').nth(1).expect("a command");
    let words: Vec<_> = command.split(' ').collect();
    let ["h2ws", "bridge", ref rest @ ..] = words[..] else {
        panic!("{command}");
    };
    let bridge = Server::bridge(&[rest, &["--cleartext"]].concat());
    probe(&[&bridge.url]).exited(0);
}

#[test]
fn several_urls_are_compared_in_a_table() {
    let good = Server::start(&["--cleartext"]);
    let less = Server::start(&["--cleartext", "--no-extended-connect"]);
    let ended = probe(&[&good.url, &less.url, "ws://127.0.0.1:1/"]);
    let report = &ended.exited(1).stdout;
    let table: Vec<_> = report
        .rsplit("\n\n")
        .next()
        .expect("a table")
        .lines()
        .collect();
    let columns = |row: &str| {
        row.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        columns(table[0]),
        ["URL", "HTTP/2", "HTTP/1.1", "round", "trip", "findings"]
    );
    for (row, url, [http2, http1], findings) in [
        (table[1], format!("{}/", good.url), ["yes", "yes"], "none"),
        (
            table[2],
            format!("{}/", less.url),
            ["no", "yes"],
            "1 remark",
        ),
        (
            table[3],
            "ws://127.0.0.1:1/".to_owned(),
            ["no", "no"],
            "1 fault",
        ),
    ] {
        let columns = columns(row);
        assert_eq!(columns[..3], [&url, http2, http1], "{row}");
        assert!(row.ends_with(findings), "{row}");
        assert_eq!(columns[3] == "-", http1 == "no", "{row}");
    }
    let single = probe(&[&good.url]);
    assert!(!single.exited(0).stdout.contains("URL"), "{single:?}");
}

#[cfg(unix)]
#[test]
fn a_table_is_as_documented() {
    use crate::documented::{output, shape};

    let good = Server::start(&[]);
    let less = Server::start(&["--cleartext", "--no-extended-connect"]);
    let address = good.url.strip_prefix("wss://").expect("TLS");
    let ended = probe(&["--insecure", address, &less.url]);
    let report = &ended.exited(3).stdout;
    let documented = output("h2ws probe --insecure 127.0.0.1:8443 ws://127.0.0.1:8080 | tail -n 9");
    let end: Vec<_> = report.lines().rev().take(9).collect();
    let end: String = end
        .into_iter()
        .rev()
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(shape(&end), shape(&documented));
}

#[test]
fn a_url_without_a_scheme_is_wss() {
    let server = Server::start(&[]);
    let address = server.url.strip_prefix("wss://").expect("TLS");
    let (report, status) = json(&[address, "--insecure"]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(report["url"], format!("{}/", server.url));
}

/// In pipes only if asked.
#[test]
fn colors_are_by_verdict() {
    let good = Server::start(&["--cleartext"]);
    let less = Server::start(&["--cleartext", "--no-extended-connect"]);
    let plain = probe(&[&good.url]);
    assert!(!plain.exited(0).stdout.contains('\u{1b}'), "{plain:?}");
    let (dead, always) = ("ws://127.0.0.1:1/", ["--color", "always"]);
    for (url, number) in [(good.url.as_str(), 32), (&less.url, 33), (dead, 31)] {
        let report = probe(&[&[url][..], &always].concat()).stdout;
        let verdict = report.lines().next_back().expect("a verdict");
        let begin = format!("  \u{1b}[{number}mWebSockets ");
        assert!(
            verdict.starts_with(&begin) && verdict.ends_with("\u{1b}[0m"),
            "{verdict:?}"
        );
        let never = probe(&[url, "--color", "never"]).stdout;
        assert!(!never.contains('\u{1b}'), "{never:?}");
    }
}

#[test]
fn bad_usage_exits_2() {
    let url = "ws://localhost/";
    let wrong: [&[&str]; 7] = [
        &[],
        &["ftp://localhost/"],
        &["ws://localhost/#fragment"],
        &[url, "-H", "no colon"],
        &[url, "-H", "Sec-WebSocket-Key: mine"],
        &[url, "--subprotocol", "not a token"],
        &[url, "--timeout", "soon"],
    ];
    for args in wrong {
        let ended = probe(args);
        ended.exited(2).stderr_has("--help");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

#[test]
fn an_untrusted_certificate_is_shown_and_is_a_fault() {
    let server = Server::start(&[]);
    let (report, status) = json(&[&server.localhost()]);
    assert_eq!(status, Some(1));
    let tls = &report["connection"]["tls"];
    assert_eq!(tls["trust"], "refused");
    assert!(tls["certificate"]["subject"].is_string(), "{tls}");
    let [found] = &findings(&report)[..] else {
        panic!("{report:#}");
    };
    let fault = "server|connection|RFC 9110 §4.3.4|";
    assert!(found.starts_with(fault), "{found}");
}

/// Starts a server that offers only this protocol in ALPN.
fn server_with_alpn(alpn: &str) -> (tokio::runtime::Runtime, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = rustls::crypto::ring::default_provider();
    let mut config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a pair");
    config.alpn_protocols = vec![alpn.into()];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = runtime.block_on(async {
        let server = h2ws::Server::builder().tls(config).bind("127.0.0.1:0");
        let server = server.await.expect("a free port");
        let address = server.local_addr().expect("an address");
        let echo = |request: h2ws::server::WebSocketRequest| async move {
            let Ok(mut socket) = request.accept().await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                let _ = socket.feed(message).await;
            }
        };
        tokio::spawn(server.serve(echo).into_future());
        address
    });
    (runtime, format!("wss://{address}/"))
}

#[test]
fn a_server_with_one_http_version_is_not_at_fault() {
    for (alpn, status, remark) in [
        (
            "http/1.1",
            3,
            "remark|HTTP/2|RFC 7301 §3.2|ALPN selected http/1.1: no HTTP/2",
        ),
        (
            "h2",
            0,
            "remark|HTTP/1.1|RFC 7301 §3.2|ALPN rejected http/1.1: HTTP/2 only",
        ),
    ] {
        let (_runtime, url) = server_with_alpn(alpn);
        let (report, exited) = json(&[&url, "--insecure"]);
        assert_eq!(exited, Some(status), "{report:#}");
        assert_eq!(findings(&report), [remark]);
        assert_eq!(report["connection"]["tls"]["alpn"], alpn);
        // The first connection is used where possible.
        assert_eq!(report["http1"]["connection"], Value::Null);
    }
}

#[test]
fn header_fields_and_origin_reach_the_server() {
    let server = Server::start(&["--cleartext", "--allow-origin", "https://ok.example"]);
    let from = |origin| json(&[&server.url, "--origin", origin]);
    assert_eq!(from("https://ok.example").1, Some(0));
    let (report, status) = from("https://evil.example");
    assert_eq!(status, Some(1));
    let found = findings(&report);
    let text = "rejected this opening request with 403 Forbidden";
    let expected = ["HTTP/2 socket 1", "HTTP/1.1"].map(|place| format!("remark|{place}|-|{text}"));
    assert_eq!(found, expected);
}

#[test]
fn an_unreachable_proxy_is_at_fault() {
    let server = Server::start(&["--cleartext"]);
    let (report, status) = json(&[&server.url, "--proxy", "http://me:hunter2@127.0.0.1:1"]);
    assert_eq!(status, Some(1));
    assert_eq!(report["proxy"], "http://127.0.0.1:1");
    let found = findings(&report);
    assert!(found[0].starts_with("proxy|connection|-|"), "{found:?}");
}

#[test]
fn control_characters_of_the_server_are_escaped() {
    let server = Raw::http2(|peer, event| match event {
        Event::Frame(stream, TEXT, _) => {
            peer.say(*stream, TEXT, b"\x1b[2J");
            true
        }
        _ => false,
    });
    let ended = probe(&[&server.url()]);
    assert!(
        ended
            .exited(0)
            .stdout
            .contains("first message: text, 4 bytes")
    );
    assert!(!ended.stdout.contains('\u{1b}'), "{ended:?}");
}

#[test]
fn at_most_two_connections_are_made() {
    let server = Raw::http2(|_, _| false);
    let (report, status) = json(&[&server.url()]);
    assert_eq!((status, findings(&report)), (Some(0), Vec::new()));
    assert_eq!(server.connections(), 2);
}

#[test]
fn unsolicited_messages_instead_of_an_echo_are_not_a_fault() {
    let server = Raw::http2(|peer, event| match event {
        Event::Request(stream) => {
            peer.answer(*stream, &[(":status", "200")], 0);
            peer.say(*stream, TEXT, b"1");
            peer.say(*stream, TEXT, b"2");
            true
        }
        Event::Frame(_, TEXT, _) => true,
        _ => false,
    });
    let (report, status) = json(&[&server.url()]);
    assert_eq!((status, findings(&report)), (Some(0), Vec::new()));
    let socket = &report["http2"]["sockets"][0];
    assert_eq!(socket["messages_unasked"], 2);
    let echo = serde_json::json!(
        { "result": "other", "kind": "text", "bytes": 1, "beginning": "1" });
    assert_eq!(socket["echo"], echo);
}

/// They stay unread on the second WebSocket while the third is examined. With its defaults, the `h2`
/// crate would close the connection.
#[test]
fn thousands_of_short_messages_at_once_are_not_a_fault() {
    let server = Raw::http2(|peer, event| {
        let Event::Request(stream) = event else {
            return false;
        };
        peer.answer(*stream, &[(":status", "200")], 0);
        peer.say_often(*stream, b"tick", 8000);
        true
    });
    let (report, status) = json(&[&server.url()]);
    assert_eq!((status, findings(&report)), (Some(0), Vec::new()));
    for socket in report["http2"]["sockets"].as_array().expect("a list") {
        assert_eq!(socket["messages_unasked"], 8000);
        assert_eq!(socket["echo"]["result"], "same");
    }
}

/// The certificate, the `Host` and SNI are those of the URL.
#[test]
fn connect_to_replaces_only_the_address() {
    let server = Server::start(&["--allow-host", "elsewhere.invalid"]);
    let place = server.url.strip_prefix("wss://").expect("TLS");
    let port = place.rsplit(':').next().expect("a port");
    for to in [place, &format!("localhost:{port}")] {
        let asked = ["wss://elsewhere.invalid/", "--insecure", "--connect-to", to];
        let (report, status) = json(&asked);
        assert_eq!(status, Some(0), "{report:#}");
        assert_eq!(findings(&report), [""; 0]);
        assert_eq!(report["connection"]["peer"], place);
    }
    // Without --insecure, the name in the certificate is that of the URL.
    let (report, status) = json(&["wss://elsewhere.invalid/", "--connect-to", place]);
    assert_eq!(status, Some(1), "{report:#}");
    let unresolved = ["wss://127.0.0.1/", "--connect-to", "nowhere.invalid:1"];
    let ended = probe(&unresolved);
    ended.exited(1);
    assert!(
        ended.stdout.contains("cannot resolve nowhere.invalid: "),
        "{ended:?}"
    );
}
