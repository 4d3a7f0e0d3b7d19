//! `h2ws probe` against servers that do one thing wrong each: who is blamed, and
//! by which clause.

use crate::probe::{findings, json};
use crate::raw::{CLOSE, END_STREAM, Event, HEADERS, PING, Peer, Quirk, Raw, TEXT};

/// What a server does, and what is said of it: the exit status, and
/// the findings as `party|place|clause|text`, of which a part will do.
struct Wrong {
    what: &'static str,
    quirk: Quirk,
    status: i32,
    found: &'static [&'static str],
}

#[track_caller]
fn blames(wrong: &Wrong, server: &Raw) {
    // Two seconds of silence are over soon, and long enough for this machine.
    let (report, status) = json(&[&server.url(), "--timeout", "2"]);
    let found = findings(&report);
    let what = wrong.what;
    assert_eq!(status, Some(wrong.status), "{what}: {found:#?}");
    assert_eq!(found.len(), wrong.found.len(), "{what}: {found:#?}");
    for (found, expected) in found.iter().zip(wrong.found) {
        let mut rest = found.as_str();
        for part in expected.split('…') {
            let at = rest.find(part);
            let at = at.unwrap_or_else(|| panic!("{what}: {found:?} is not {expected:?}"));
            rest = &rest[at + part.len()..];
        }
    }
    assert!(server.connections() <= 2, "{what}");
}

/// Answers a message on the first stream alone, so that one finding is made.
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

const OPENING: &[Wrong] = &[
    Wrong {
        what: "405 after the promise",
        quirk: |peer, event| {
            instead_of_200(event, |s| peer.answer(s, &[(":status", "405")], END_STREAM))
        },
        status: 3,
        found: &[
            "server|HTTP/2 socket 1|RFC 8441 §3|advertised ENABLE_CONNECT_PROTOCOL but answers 405",
        ],
    },
    Wrong {
        what: "a refusal",
        quirk: |peer, event| {
            instead_of_200(event, |s| peer.answer(s, &[(":status", "404")], END_STREAM))
        },
        status: 3,
        found: &["remark|HTTP/2 socket 1|-|refused…404 Not Found"],
    },
    Wrong {
        what: "a redirection",
        quirk: |peer, event| {
            let fields = [
                (":status", "302"),
                ("location", "https://elsewhere.example/"),
            ];
            instead_of_200(event, |s| peer.answer(s, &fields, END_STREAM))
        },
        status: 3,
        found: &["remark|HTTP/2 socket 1|-|refused…302 Found, location https://elsewhere.example/"],
    },
    Wrong {
        what: "an answer that ends the stream",
        quirk: |peer, event| {
            instead_of_200(event, |s| peer.answer(s, &[(":status", "200")], END_STREAM))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 8441 §5|answered 200 OK with END_STREAM"],
    },
    Wrong {
        what: "a reset instead of an answer",
        quirk: |peer, event| instead_of_200(event, |s| peer.reset(s, 1)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 8441 §3|…reset the stream, PROTOCOL_ERROR (1)"],
    },
    Wrong {
        what: "a stream refused",
        quirk: |peer, event| instead_of_200(event, |s| peer.reset(s, 7)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §8.7|…REFUSED_STREAM (7)"],
    },
    Wrong {
        what: "GOAWAY instead of an answer",
        quirk: |peer, event| instead_of_200(event, |_| peer.goaway(0, 2, "oh no")),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §6.8|…INTERNAL_ERROR (2), \"oh no\""],
    },
    Wrong {
        what: "the end of the connection instead of an answer",
        quirk: |peer, event| instead_of_200(event, |_| peer.hang_up()),
        status: 3,
        found: &["server|HTTP/2 socket 1|-|the connection ended"],
    },
    Wrong {
        what: "no answer",
        quirk: |_, event| matches!(event, Event::Request(_)),
        status: 3,
        found: &["server|HTTP/2 socket 1|-|waited for an answer to the opening request in vain"],
    },
    Wrong {
        what: "an unoffered subprotocol",
        quirk: |peer, event| {
            let fields = [(":status", "200"), ("sec-websocket-protocol", "mine")];
            instead_of_200(event, |s| peer.answer(s, &fields, 0))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §4.1|…the subprotocol \"mine\" was not offered"],
    },
    Wrong {
        what: "an unoffered extension",
        quirk: |peer, event| {
            let fields = [(":status", "200"), ("sec-websocket-extensions", "x-mine")];
            instead_of_200(event, |s| peer.answer(s, &fields, 0))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §4.1|…the extension \"x-mine\" was not offered"],
    },
    Wrong {
        what: "compression that fits no offer",
        quirk: |peer, event| {
            let deflate = "permessage-deflate; server_max_window_bits=99";
            let fields = [(":status", "200"), ("sec-websocket-extensions", deflate)];
            instead_of_200(event, |s| peer.answer(s, &fields, 0))
        },
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 7692 §7.1|…permessage-deflate"],
    },
    Wrong {
        what: "a length of what has none",
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
fn wrong_answers_to_extended_connect_are_blamed() {
    for wrong in OPENING {
        blames(wrong, &Raw::http2(wrong.quirk));
    }
}

const CONNECTION: &[Wrong] = &[
    Wrong {
        what: "the capability, late",
        quirk: |peer, event| {
            settings(peer, event, &[(3, 7)]);
            settings(peer, event, &[(8, 1)])
        },
        status: 0,
        found: &["remark|HTTP/2|RFC 8441 §3|…in a later one"],
    },
    Wrong {
        what: "a capability of 2",
        quirk: |peer, event| settings(peer, event, &[(8, 2)]),
        status: 3,
        found: &[
            "remark|HTTP/2|RFC 8441 §3|HTTP/2 without ENABLE_CONNECT_PROTOCOL",
            "server|HTTP/2|RFC 8441 §3|ENABLE_CONNECT_PROTOCOL is 2, neither 0 nor 1",
        ],
    },
    Wrong {
        what: "the capability, taken back",
        quirk: |peer, event| {
            if let Event::Frame(_, CLOSE, _) = event {
                peer.settings(&[(8, 0)]);
            }
            false
        },
        status: 0,
        found: &["server|HTTP/2|RFC 8441 §3|took ENABLE_CONNECT_PROTOCOL back"],
    },
    Wrong {
        what: "a first frame that is no SETTINGS",
        quirk: |peer, event| {
            if let Event::Start = event {
                peer.send(6, 0, 0, b"too soon");
            }
            false
        },
        status: 3,
        found: &["server|HTTP/2|RFC 9113 §3.4|the first frame is no SETTINGS but type 6"],
    },
    Wrong {
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
    Wrong {
        what: "silence at the preface",
        quirk: |_, _| true,
        status: 3,
        found: &["remark|HTTP/2|RFC 9113 §3.4|…with silence"],
    },
    Wrong {
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
        found: &["remark|HTTP/2|-|ended the connection with its last socket"],
    },
    Wrong {
        what: "a second socket that is refused",
        quirk: |peer, event| {
            let second = peer.requests == 2;
            second && instead_of_200(event, |s| peer.answer(s, &[(":status", "503")], END_STREAM))
        },
        status: 0,
        found: &["remark|HTTP/2 socket 2|-|refused…503"],
    },
    Wrong {
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
fn wrong_connections_are_blamed() {
    for wrong in CONNECTION {
        blames(wrong, &Raw::http2(wrong.quirk));
    }
}

const FRAMES: &[Wrong] = &[
    Wrong {
        what: "a masked frame",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x81, 0x81, 0, 0, 0, 0, b'x'])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.1|server sent a masked frame"],
    },
    Wrong {
        what: "a reserved bit",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0xc1, 1, b'x'])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.2|reserved bit"],
    },
    Wrong {
        what: "a continuation of nothing",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x80, 1, b'x'])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.4|continuation"],
    },
    Wrong {
        what: "a fragmented ping",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x09, 0])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.5|fragmented control frame"],
    },
    Wrong {
        what: "text that is no UTF-8",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x81, 1, 0xff])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §8.1|text message is not UTF-8"],
    },
    Wrong {
        what: "a close code that is none",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x88, 2, 3, 238])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §7.4|close code 1006"],
    },
    Wrong {
        what: "a message larger than the probe takes",
        quirk: |peer, event| {
            on_text(event, |s| {
                peer.bytes(s, &[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]);
            })
        },
        status: 3,
        found: &["remark|HTTP/2 socket 1|-|…1099511627776 bytes"],
    },
    Wrong {
        what: "the end of the stream without a Close frame",
        quirk: |peer, event| on_text(event, |s| peer.end(s)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §7.1.5|…without a Close frame"],
    },
    Wrong {
        what: "a reset",
        quirk: |peer, event| on_text(event, |s| peer.reset(s, 8)),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 6455 §7.1.5|…CANCEL (8)"],
    },
    Wrong {
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
    Wrong {
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
    Wrong {
        what: "a frame that breaks HTTP/2",
        quirk: |peer, event| on_text(event, |_| peer.send(HEADERS, 4, 0, &[0x88])),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §5.4.1|broke HTTP/2…PROTOCOL_ERROR (1)"],
    },
];

#[test]
fn wrong_frames_are_blamed() {
    for wrong in FRAMES {
        blames(wrong, &Raw::http2(wrong.quirk));
    }
}

const SILENCE: &[Wrong] = &[
    Wrong {
        what: "no echo, no Pong, no Close",
        quirk: |_, event| matches!(event, Event::Frame(..)),
        status: 3,
        found: &[
            "server|HTTP/2 socket 1|RFC 6455 §5.5.2|waited for a Pong",
            "server|HTTP/2 socket 1|RFC 6455 §5.5.1|waited for a Close frame",
        ],
    },
    Wrong {
        what: "no Pong",
        quirk: |_, event| matches!(event, Event::Frame(_, PING, _)),
        status: 0,
        found: &["server|HTTP/2 socket 1|RFC 6455 §5.5.2|waited for a Pong"],
    },
    Wrong {
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
    Wrong {
        what: "a window of 0 that never opens",
        quirk: |peer, event| settings(peer, event, &[(8, 1), (4, 0)]),
        status: 3,
        found: &["server|HTTP/2 socket 1|RFC 9113 §6.9|waited for window"],
    },
];

#[test]
fn silence_is_blamed_and_ends() {
    for wrong in SILENCE {
        blames(wrong, &Raw::http2(wrong.quirk));
    }
}

const HTTP1: &[Wrong] = &[
    Wrong {
        what: "an accept for another key",
        quirk: |peer, event| {
            let wrong = [("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
            instead_of_200(event, |_| peer.switch(&wrong))
        },
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §4.1|…accept does not match"],
    },
    Wrong {
        what: "a 101 to something else",
        quirk: |peer, event| {
            let accept = peer.accept();
            let fields = [("sec-websocket-accept", &*accept), ("upgrade", "irc")];
            instead_of_200(event, |_| peer.switch(&fields))
        },
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §4.1|…lacks upgrade: websocket"],
    },
    Wrong {
        what: "a refusal",
        quirk: |peer, event| {
            let answer = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n";
            instead_of_200(event, |_| peer.write(answer))
        },
        status: 0,
        found: &["remark|HTTP/1.1|-|refused…426"],
    },
    Wrong {
        what: "no HTTP",
        quirk: |peer, event| instead_of_200(event, |_| peer.write(b"220 mail.example ESMTP\r\n")),
        status: 0,
        found: &["remark|HTTP/1.1|-|no HTTP/1.1 answer"],
    },
    Wrong {
        what: "a masked frame",
        quirk: |peer, event| on_text(event, |s| peer.bytes(s, &[0x81, 0x81, 0, 0, 0, 0, b'x'])),
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §5.1|server sent a masked frame"],
    },
    Wrong {
        what: "the end of the connection without a Close frame",
        quirk: |peer, event| on_text(event, |s| peer.end(s)),
        status: 0,
        found: &["server|HTTP/1.1|RFC 6455 §7.1.5|…without a Close frame"],
    },
    Wrong {
        what: "messages without end, and nothing else",
        quirk: |peer, event| on_text(event, |s| while peer.say(s, TEXT, b"tick") {}),
        status: 0,
        found: &[
            "server|HTTP/1.1|RFC 6455 §5.5.2|waited for a Pong",
            "server|HTTP/1.1|RFC 6455 §5.5.1|waited for a Close frame",
        ],
    },
    Wrong {
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
fn wrong_upgrades_are_blamed() {
    for wrong in HTTP1 {
        blames(wrong, &Raw::http1(wrong.quirk));
    }
}

/// Whether clients come by without being told depends on how it refuses.
#[test]
fn the_verdict_says_what_becomes_of_clients() {
    for (wrong, part) in [
        (&OPENING[0], "asking again"),
        (&OPENING[1], "needs --http1"),
    ] {
        let server = Raw::http2(wrong.quirk);
        let (report, _) = json(&[&server.url(), "--timeout", "2"]);
        let verdict = report["verdict_text"].as_str().unwrap();
        assert!(verdict.contains(part), "{}: {verdict}", wrong.what);
    }
}
