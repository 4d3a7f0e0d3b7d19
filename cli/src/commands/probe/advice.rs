//! What to do about a finding.
//!
//! The advice is for the operator of the server, and names a command where one helps. `h2ws bridge`
//! in front helps against whatever is wrong with HTTP/2 as long as HTTP/1.1 works; otherwise there is
//! nothing that it could forward to.

use super::facts::Facts;
use super::finding::{Finding, Found, Party, Place, Step};

/// Returns what to do, in a few words.
pub(super) fn advice(found: &Found, facts: &Facts) -> String {
    let at_http1 = found.place == Place::Http1;
    let bridge = || bridge(facts);
    match &found.finding {
        Finding::Resolve(_) => "check the host name".to_owned(),
        Finding::Unreachable(_) => {
            "check the port, that the server runs, and firewalls between".to_owned()
        }
        Finding::Tunnel(_) | Finding::Silent(Step::Proxy) => {
            "check --proxy and what the proxy allows; --no-proxy connects directly".to_owned()
        }
        Finding::Certificate(_) => {
            "if only its issuer is not trusted, name the CA by --cacert (`h2ws help tls`); otherwise \
             give the server a valid certificate for this name"
                .to_owned()
        }
        Finding::Tls(_) | Finding::Silent(Step::Tls) => {
            "check that this port is for TLS (wss://), and its versions".to_owned()
        }
        Finding::Alpn(_) => format!("turn on HTTP/2 in the server{}", bridge()),
        Finding::NotHttp2 { tried: true, .. } => format!(
            "browsers need TLS for HTTP/2; without it, accept prior knowledge{}",
            bridge()
        ),
        Finding::NoCapability => format!(
            "turn on extended CONNECT (RFC 8441) in the server{}",
            bridge()
        ),
        Finding::LateCapability => {
            "send it in the first SETTINGS frame: Firefox checks it once".to_owned()
        }
        Finding::Unserved(_) | Finding::NotOpened(_) => format!(
            "route CONNECT with :protocol as GET is routed, or do not advertise it{}",
            bridge()
        ),
        Finding::Rejected(status, _) => match status.as_u16() {
            300..=399 => "probe the URL of that location".to_owned(),
            401 => "give credentials, such as -H 'Authorization: Bearer TOKEN'".to_owned(),
            403 => reason(found, facts),
            404 | 405 => "check the path: WebSockets may be at another".to_owned(),
            407 => "give the proxy's credentials: --proxy http://USER:PASSWORD@HOST".to_owned(),
            400 | 426 => format!(
                "{}{}",
                reason(found, facts),
                if at_http1 { String::new() } else { bridge() }
            ),
            // RFC 9110 §15.6.3 and §15.6.5.
            502 | 504 => {
                "see the log of this server, a proxy: the one behind it did not answer as it should"
                    .to_owned()
            }
            500..=599 => "see the server's log".to_owned(),
            _ => "check the path, and what the server expects (-H, --subprotocol)".to_owned(),
        },
        Finding::OnlyHttp2 => {
            "nothing, unless there are clients without RFC 8441: they need HTTP/1.1".to_owned()
        }
        Finding::HungUp => "nothing; the next WebSocket needs another connection".to_owned(),
        Finding::BrokenHttp1 { tried: true, .. } => {
            "nothing, if HTTP/2 is all that is meant to be there".to_owned()
        }
        finding if finding.party() == Party::Probe => {
            "nothing; it is a limit of the probe".to_owned()
        }
        Finding::Lost(_) | Finding::Silent(_) => format!(
            "see the server's log; a proxy before it may not pass WebSockets{}",
            if at_http1 { String::new() } else { bridge() }
        ),
        _ => format!(
            "report it to the authors of the server{}",
            if at_http1 { String::new() } else { bridge() }
        ),
    }
}

/// Returns where to find the reason of a refusal, which its status alone does not give.
fn reason(found: &Found, facts: &Facts) -> String {
    let mut all = facts.http2.sockets.iter().chain(&facts.http1);
    let socket = all.find(|socket| socket.place == found.place);
    let opening = socket.and_then(|socket| socket.opening.as_ref());
    if opening.is_some_and(|opening| opening.body.is_some()) {
        "see the body of the answer, or the server's log, for the reason".to_owned()
    } else {
        "see the server's log for the reason".to_owned()
    }
}

/// Returns the advice to put a bridge in front, if that helps.
fn bridge(facts: &Facts) -> String {
    if !facts.http1.as_ref().is_some_and(|socket| socket.works) {
        return String::new();
    }
    let origin = facts.target.endpoint();
    format!(", or put `h2ws bridge --to {origin}` in front")
}
