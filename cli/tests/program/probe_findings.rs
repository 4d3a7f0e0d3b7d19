//! `h2ws probe` against servers with one protocol violation each: the party at fault, the clause of
//! the RFC, and the exit status.

use crate::probe::{findings, json};
use crate::raw_server::{CLOSE, END_STREAM, Event, HEADERS, PING, Peer, Quirk, Raw, TEXT};

/// A server, the exit status for it, and parts of its findings as `party|place|clause|text`, in which
/// `…` stands for any text.
struct Case {
    what: &'static str,
    quirk: Quirk,
    status: i32,
    found: &'static [&'static str],
}

#[track_caller]
fn assert_findings(case: &Case, server: &Raw) {
    let (report, status) = json(&[&server.url(), "--timeout", "2"]);
    let found = findings(&report);
    let what = case.what;
    assert_eq!(status, Some(case.status), "{what}: {found:#?}");
    assert_eq!(found.len(), case.found.len(), "{what}: {found:#?}");
    for (found, expected) in found.iter().zip(case.found) {
        let mut rest = found.as_str();
        for part in expected.split('…') {
            let at = rest.find(part);
            let at = at.unwrap_or_else(|| panic!("{what}: {found:?} is not {expected:?}"));
            rest = &rest[at + part.len()..];
        }
    }
    assert!(server.connections() <= 2, "{what}");
}

/// Acts on a text message, and reports whether this was one.
fn on_text(event: &Event, mut act: impl FnMut(u32)) -> bool {
    if let Event::Frame(stream, TEXT, _) = event {
        act(*stream);
        return true;
    }
    false
}

fn instead_of_200(event: &Event, mut act: impl FnMut(u32)) -> bool {
    if let Event::Request(stream) = event {
        act(*stream);
        return true;
    }
    false
}

fn settings(peer: &mut Peer, event: &Event, settings: &[(u16, u32)]) -> bool {
    let start = matches!(event, Event::Start);
    if start {
        peer.settings(settings);
    }
    start
}

const OPENING: &[Case] = &[
    Case {
        what: "405 after the promise",
        quirk: |peer, event| {
            instead_of_200(event, |s| peer.answer(s, &[(":status", "405")], END_STREAM))
        },
        status: 3,
        found: &[
            "server|HTTP/2 socket 1|RFC 8441 §3|advertised ENABLE_CONNECT_PROTOCOL but answered 405",
        ],
    },
    Case {
        what: "a refusal",
        quirk: |peer, event| {
            instead_of_200(event, |s| peer.answer(s, &[(":status", "404")], END_STREAM))
        },
        status: 3,
        found: &["remark|HTTP/2 socket 1|-|rejected…404 Not Found"],
    },
    Case {
        what: "a redirection",
        quirk: |peer, event| {
            let fields = [
                (":status", "302"),
                ("location", "https://elsewhere.example/"),
            ];
            instead_of_200(event, |s| peer.answer(s, &fields, END_STREAM))
        },
        status: 3,
        found: &[
            "remark|HTTP/2 socket 1|-|rejected…302 Found, location https://elsewhere.example/",
        ],
    },
    Case {
        what: "an answer that ends the stream",
        quirk: |peer, event| {
            instead_of_200(event, |s| peer.answer(s, &[(":status", "200")], END_STREAM))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 8441 §5|answered 200 OK with END_STREAM"],
    },
    Case {
        what: "a reset instead of an answer",
        quirk: |peer, event| instead_of_200(event, |s| peer.reset(s, 1)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 8441 §3|…reset the stream with PROTOCOL_ERROR (1)"],
    },
    Case {
        what: "a stream refused",
        quirk: |peer, event| instead_of_200(event, |s| peer.reset(s, 7)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §8.7|…REFUSED_STREAM (7)"],
    },
    Case {
        what: "GOAWAY instead of an answer",
        quirk: |peer, event| instead_of_200(event, |_| peer.goaway(0, 2, "oh no")),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §6.8|…INTERNAL_ERROR (2), \"oh no\""],
    },
    Case {
        what: "the end of the connection instead of an answer",
        quirk: |peer, event| instead_of_200(event, |_| peer.hang_up()),
        status: 3,
        found: &["server|HTTP/2 socket 1|-|the connection ended"],
    },
    Case {
        what: "no answer",
        quirk: |_, event| matches!(event, Event::Request(_)),
        status: 3,
        found: &["server|HTTP/2 socket 1|-|timed out waiting for an answer to the opening request"],
    },
    Case {
        what: "an unoffered subprotocol",
        quirk: |peer, event| {
            let fields = [(":status", "200"), ("sec-websocket-protocol", "mine")];
            instead_of_200(event, |s| peer.answer(s, &fields, 0))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §4.1|…\"mine\""],
    },
    Case {
        what: "an unoffered extension",
        quirk: |peer, event| {
            let fields = [(":status", "200"), ("sec-websocket-extensions", "x-mine")];
            instead_of_200(event, |s| peer.answer(s, &fields, 0))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §4.1|…\"x-mine\""],
    },
    Case {
        what: "compression that fits no offer",
        quirk: |peer, event| {
            let deflate = "permessage-deflate; server_max_window_bits=99";
            let fields = [(":status", "200"), ("sec-websocket-extensions", deflate)];
            instead_of_200(event, |s| peer.answer(s, &fields, 0))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 7692 §7.1|…permessage-deflate"],
    },
    Case {
        what: "content-length in the answer to CONNECT",
        quirk: |peer, event| {
            let fields = [(":status", "200"), ("content-length", "1000000")];
            instead_of_200(event, |s| peer.answer(s, &fields, 0))
        },
        status: 0,
        found: &[
            "server|HTTP/2 socket 1|RFC 9110 §9.3.6|…content-length",
            "server|HTTP/2 socket 2|RFC 9110 §9.3.6|…content-length",
            "server|HTTP/2 socket 3|RFC 9110 §9.3.6|…content-length",
        ],
    },
];

#[test]
fn wrong_answers_to_extended_connect() {
    for case in OPENING {
        assert_findings(case, &Raw::http2(case.quirk));
    }
}

const CONNECTION: &[Case] = &[
    Case {
        what: "the capability, late",
        quirk: |peer, event| {
            settings(peer, event, &[(3, 7)]);
            settings(peer, event, &[(8, 1)])
        },
        status: 0,
        found: &["remark|HTTP/2|RFC 8441 §3|…in a later frame"],
    },
    Case {
        what: "a capability of 2",
        quirk: |peer, event| settings(peer, event, &[(8, 2)]),
        status: 3,
        found: &[
            "remark|HTTP/2|RFC 8441 §3|HTTP/2 without ENABLE_CONNECT_PROTOCOL",
            "server|HTTP/2|RFC 8441 §3|ENABLE_CONNECT_PROTOCOL is 2; valid are 0 and 1",
        ],
    },
    Case {
        what: "the capability, taken back",
        quirk: |peer, event| {
            if let Event::Frame(_, CLOSE, _) = event {
                peer.settings(&[(8, 0)]);
            }
            false
        },
        status: 0,
        found: &["server|HTTP/2|RFC 8441 §3|set ENABLE_CONNECT_PROTOCOL to 0 after it was 1"],
    },
    Case {
        what: "a first frame other than SETTINGS",
        quirk: |peer, event| {
            if let Event::Start = event {
                peer.send(6, 0, 0, b"too soon");
            }
            false
        },
        status: 3,
        found: &["server|HTTP/2|RFC 9113 §3.4|the first frame is of type 6 instead of SETTINGS"],
    },
    Case {
        what: "an HTTP/1.1 answer to the preface",
        quirk: |peer, event| {
            if let Event::Start = event {
                peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                peer.hang_up();
            }
            true
        },
        status: 3,
        found: &["remark|HTTP/2|RFC 9113 §3.4|…with \"HTTP/1.1 400 Bad Request\""],
    },
    Case {
        what: "silence at the preface",
        quirk: |_, _| true,
        status: 3,
        found: &["remark|HTTP/2|RFC 9113 §3.4|…with silence"],
    },
    Case {
        what: "a connection that ends with its first socket",
        quirk: |peer, event| {
            if let Event::Frame(stream, CLOSE, payload) = event {
                peer.say(*stream, CLOSE, payload);
                peer.end(*stream);
                peer.hang_up();
                return true;
            }
            false
        },
        status: 0,
        found: &["remark|HTTP/2|-|closed the connection with its last WebSocket"],
    },
    Case {
        what: "a second socket that is refused",
        quirk: |peer, event| {
            let second = peer.requests == 2;
            second && instead_of_200(event, |s| peer.answer(s, &[(":status", "503")], END_STREAM))
        },
        status: 0,
        found: &["remark|HTTP/2 socket 2|-|rejected…503"],
    },
    Case {
        what: "a third socket, beside the second, that breaks",
        quirk: |peer, event| {
            let third = matches!(event, Event::Frame(5, ..));
            third && on_text(event, |s| peer.reset(s, 2))
        },
        status: 0,
        found: &["server|HTTP/2 socket 3|RFC 6455 §7.1.5|…INTERNAL_ERROR (2)"],
    },
];

#[test]
fn wrong_connections() {
    for case in CONNECTION {
        assert_findings(case, &Raw::http2(case.quirk));
    }
}

const FRAMES: &[Case] = &[
    Case {
        what: "a masked frame",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x81, 0x81, 0, 0, 0, 0, b'x'])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.1|…masked"],
    },
    Case {
        what: "a reserved bit",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0xc1, 1, b'x'])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.2|reserved bit"],
    },
    Case {
        what: "a continuation of nothing",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x80, 1, b'x'])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.4|continuation"],
    },
    Case {
        what: "a fragmented ping",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x09, 0])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.5|fragmented control frame"],
    },
    Case {
        what: "text that is not UTF-8",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x81, 1, 0xff])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §8.1|text message is not UTF-8"],
    },
    Case {
        what: "an invalid close code",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x88, 2, 3, 238])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §7.4|close code 1006"],
    },
    Case {
        what: "a message larger than the probe takes",
        quirk: |peer, event| {
            on_text(event, |s| {
                peer.bytes(s, &[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]);
            })
        },
        status: 3,
        found: &["remark|HTTP/2 socket 1|-|…1099511627776 bytes"],
    },
    Case {
        what: "the end of the stream without a Close frame",
        quirk: |peer, event| on_text(event, |s| peer.end(s)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §7.1.5|…without a Close frame"],
    },
    Case {
        what: "a reset",
        quirk: |peer, event| on_text(event, |s| peer.reset(s, 8)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §7.1.5|…CANCEL (8)"],
    },
    Case {
        what: "a reset after an echo",
        quirk: |peer, event| {
            if let Event::Frame(stream, PING, _) = event {
                peer.reset(*stream, 2);
                return true;
            }
            false
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §7.1.5|…INTERNAL_ERROR (2)"],
    },
    Case {
        what: "GOAWAY for an open socket",
        quirk: |peer, event| {
            on_text(event, |_| {
                peer.goaway(1, 11, "too chatty");
                peer.hang_up();
            })
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §6.8|…ENHANCE_YOUR_CALM (11), \"too chatty\""],
    },
    Case {
        what: "a frame that breaks HTTP/2",
        quirk: |peer, event| on_text(event, |_| peer.send(HEADERS, 4, 0, &[0x88])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §5.4.1|violated HTTP/2…PROTOCOL_ERROR (1)"],
    },
];

#[test]
fn wrong_frames() {
    for case in FRAMES {
        assert_findings(case, &Raw::http2(case.quirk));
    }
}

const SILENCE: &[Case] = &[
    Case {
        what: "no echo, no Pong, no Close",
        quirk: |_, event| matches!(event, Event::Frame(..)),
        status: 3,
        found: &[
            "server|HTTP/2 socket 1|RFC 6455 §5.5.2|timed out waiting for a Pong",
            "server|HTTP/2 socket 1|RFC 6455 §5.5.1|timed out waiting for a Close frame",
        ],
    },
    Case {
        what: "no Pong",
        quirk: |_, event| matches!(event, Event::Frame(_, PING, _)),
        status: 0,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.5.2|timed out waiting for a Pong"],
    },
    Case {
        what: "streams that are left open",
        quirk: |peer, event| {
            if let Event::Frame(stream, CLOSE, payload) = event {
                peer.say(*stream, CLOSE, payload);
                return true;
            }
            false
        },
        status: 0,
        found: &[
            "server|HTTP/2 socket 1|RFC 8441 §5|left the stream open",
            "server|HTTP/2 socket 2|RFC 8441 §5|left the stream open",
            "server|HTTP/2 socket 3|RFC 8441 §5|left the stream open",
        ],
    },
    Case {
        what: "a window of 0 that never opens",
        quirk: |peer, event| settings(peer, event, &[(8, 1), (4, 0)]),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §6.9|timed out waiting for flow-control window"],
    },
];

#[test]
fn silence() {
    for case in SILENCE {
        assert_findings(case, &Raw::http2(case.quirk));
    }
}

const HTTP1: &[Case] = &[
    Case {
        what: "an accept for another key",
        quirk: |peer, event| {
            let wrong = [("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
            instead_of_200(event, |_| peer.switch(&wrong))
        },
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §4.1|…accept does not match"],
    },
    Case {
        what: "a 101 to something else",
        quirk: |peer, event| {
            let accept = peer.accept();
            let fields = [("sec-websocket-accept", &*accept), ("upgrade", "irc")];
            instead_of_200(event, |_| peer.switch(&fields))
        },
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §4.1|…lacks upgrade: websocket"],
    },
    Case {
        what: "a refusal",
        quirk: |peer, event| {
            let answer = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n";
            instead_of_200(event, |_| peer.write(answer))
        },
        status: 0,
        found: &["remark|HTTP/1.1|-|rejected…426"],
    },
    Case {
        what: "no HTTP",
        quirk: |peer, event| instead_of_200(event, |_| peer.write(b"220 mail.example ESMTP\r\n")),
        status: 0,
        found: &["remark|HTTP/1.1|-|no valid HTTP/1.1 answer"],
    },
    Case {
        what: "a masked frame",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x81, 0x81, 0, 0, 0, 0, b'x'])),
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §5.1|…masked"],
    },
    Case {
        what: "the end of the connection without a Close frame",
        quirk: |peer, event| on_text(event, |s| peer.end(s)),
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §7.1.5|…without a Close frame"],
    },
    Case {
        what: "messages without end, and nothing else",
        quirk: |peer, event| on_text(event, |s| while peer.say(s, TEXT, b"tick") {}),
        status: 0,
        found: &[
            "server|HTTP/1.1|RFC 6455 §5.5.2|timed out waiting for a Pong",
            "server|HTTP/1.1|RFC 6455 §5.5.1|timed out waiting for a Close frame",
        ],
    },
    Case {
        what: "a connection that is left open",
        quirk: |peer, event| {
            if let Event::Frame(stream, CLOSE, payload) = event {
                peer.say(*stream, CLOSE, payload);
                return true;
            }
            false
        },
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §5.5.1|left the connection open"],
    },
];

#[test]
fn wrong_upgrades() {
    for case in HTTP1 {
        assert_findings(case, &Raw::http1(case.quirk));
    }
}

/// Whether clients fall back to HTTP/1.1 depends on the way in which a server rejects them.
#[test]
fn the_verdict_says_whether_clients_fall_back() {
    for (case, part) in [(&OPENING[0], "falls back"), (&OPENING[1], "needs --http1")] {
        let server = Raw::http2(case.quirk);
        let (report, _) = json(&[&server.url(), "--timeout", "2"]);
        let verdict = report["verdict_text"].as_str().unwrap();
        assert!(verdict.contains(part), "{}: {verdict}", case.what);
    }
}
