//! The body of an answer that refuses a WebSocket, which often has the reason.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use tokio::time::timeout;

/// How much of a body is read, in bytes.
const MAX_BODY: usize = 4096;
/// How much of it is shown, in characters.
const MAX_SHOWN: usize = 200;
/// How long a body may take.
const WAIT: Duration = Duration::from_secs(1);

/// Returns the first line of a body, read from `next` until it is long enough.
pub(super) async fn first_line(
    headers: &HeaderMap,
    mut next: impl AsyncFnMut() -> Option<Bytes>,
) -> Option<String> {
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let mut body = Vec::new();
    let read = async {
        while body.len() < MAX_BODY {
            let Some(mut data) = next().await else {
                return;
            };
            let len = data.len().min(MAX_BODY - body.len());
            body.extend_from_slice(&data.copy_to_bytes(len));
        }
    };
    // What has arrived by then may be enough.
    let _ = timeout(WAIT, read).await;
    let is_html = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    shown(&String::from_utf8_lossy(&body), is_html)
}

/// Returns the line to show: of a page, its title.
fn shown(body: &str, is_html: bool) -> Option<String> {
    let title = || {
        let (_, rest) = body.split_once("<title>")?;
        Some(rest.split_once("</title>")?.0)
    };
    let text = if is_html { title()? } else { body };
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty())?;
    let mut shown: String = line.chars().take(MAX_SHOWN).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_or_the_title_is_shown() {
        let html = "<html>\n<head><title>400 Bad Request</title></head>\n<body>";
        for (body, is_html, expected) in [
            ("no such room\nsecond", false, Some("no such room")),
            ("\r\n  {\"error\": 1}\r\n", false, Some("{\"error\": 1}")),
            (" \n", false, None),
            ("", false, None),
            (html, true, Some("400 Bad Request")),
            ("<html>", true, None),
        ] {
            assert_eq!(shown(body, is_html).as_deref(), expected, "{body:?}");
        }
        let long = shown(&"č".repeat(MAX_BODY), false).expect("a line");
        assert_eq!(long, "č".repeat(MAX_SHOWN) + "…");
    }
}
