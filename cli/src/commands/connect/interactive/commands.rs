//! What a typed line asks for: lines that begin with `/` are commands.

use bytes::Bytes;
use h2ws::{CloseCode, CloseFrame};

pub(super) const HELP: &str = "\
/ping [TEXT]            send a Ping and measure the time to its Pong
/pong [TEXT]            send a Pong
/binary HEX             send a binary message, such as /binary 00 ff 7f
/file PATH              send a file: as text if it is UTF-8, else as a binary message
/status                 show what carries the WebSocket, what was negotiated, and counts
/json on|off            lay out messages that are JSON
/times on|off           show the time of each message, UTC
/pings on|off           show Pings and Pongs of the server
/close [CODE [REASON]]  close, by default with code 1000
/quit                   the same as /close
//TEXT                  send a message that begins with /
Ctrl-D closes, Ctrl-C closes with code 1001 and exits with status 130. The arrows edit and
bring back earlier lines; a paste of several lines is one message.";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Text(String),
    Help,
    Ping(Option<String>),
    Pong(String),
    Binary(Bytes),
    File(String),
    Status,
    Json(Option<bool>),
    Times(Option<bool>),
    Pings(Option<bool>),
    Close(CloseFrame),
}

/// Parses a line. The error says what to type instead.
pub(super) fn parse(line: String) -> Result<Typed, String> {
    let Some(command) = line.strip_prefix('/') else {
        return Ok(Typed::Text(line));
    };
    if command.starts_with('/') {
        return Ok(Typed::Text(command.to_owned()));
    }
    let (name, rest) = match command.split_once(char::is_whitespace) {
        Some((name, rest)) => (name, rest.trim()),
        None => (command, ""),
    };
    let none = |typed| match rest {
        "" => Ok(typed),
        _ => Err(format!("/{name} takes nothing after it")),
    };
    match name {
        "help" | "?" => none(Typed::Help),
        "status" => none(Typed::Status),
        "quit" | "exit" => none(Typed::Close(CloseFrame::from(CloseCode::NORMAL))),
        "ping" => Ok(Typed::Ping((!rest.is_empty()).then(|| rest.to_owned()))),
        "pong" => Ok(Typed::Pong(rest.to_owned())),
        "binary" => hex(rest).map(Typed::Binary),
        "file" if rest.is_empty() => Err("/file takes a path".into()),
        "file" => Ok(Typed::File(rest.to_owned())),
        "json" => switch(name, rest).map(Typed::Json),
        "times" => switch(name, rest).map(Typed::Times),
        "pings" => switch(name, rest).map(Typed::Pings),
        "close" => close(rest).map(Typed::Close),
        _ => Err(format!(
            "no command /{name}; /help lists them, and //{name} sends /{name}"
        )),
    }
}

/// Returns `None` for the other of both.
fn switch(name: &str, rest: &str) -> Result<Option<bool>, String> {
    match rest {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        _ => Err(format!("/{name} takes on or off, not {rest:?}")),
    }
}

fn close(rest: &str) -> Result<CloseFrame, String> {
    let (code, reason) = match rest.split_once(char::is_whitespace) {
        Some((code, reason)) => (code, reason.trim()),
        None => (rest, ""),
    };
    if code.is_empty() {
        return Ok(CloseFrame::from(CloseCode::NORMAL));
    }
    let code: Option<u16> = code.parse().ok();
    let code = code
        .filter(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999))
        .ok_or("/close takes a code that can be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999")?;
    if reason.len() > 123 {
        let bytes = reason.len();
        return Err(format!(
            "the reason has {bytes} bytes; a Close frame has room for 123"
        ));
    }
    Ok(CloseFrame::new(CloseCode::from(code), reason))
}

fn hex(text: &str) -> Result<Bytes, String> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| match c.to_digit(16) {
            Some(digit) => Ok(digit as u8),
            None => Err(format!("{c:?} is not a hexadecimal digit")),
        })
        .collect::<Result<_, _>>()?;
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        let count = digits.len();
        return Err(format!(
            "/binary takes two hexadecimal digits a byte, such as 00ff; not {count}"
        ));
    }
    Ok(digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        let text = |text: &str| Typed::Text(text.into());
        for (line, typed) in [
            ("", text("")),
            (" /ping", text(" /ping")),
            ("//ping", text("/ping")),
            ("///", text("//")),
            ("/ping", Typed::Ping(None)),
            ("/ping a b ", Typed::Ping(Some("a b".into()))),
            ("/pong", Typed::Pong(String::new())),
            (
                "/binary 00 ff:7F",
                Typed::Binary(Bytes::from_static(&[0, 255, 127])),
            ),
            ("/file a b.png", Typed::File("a b.png".into())),
            ("/status", Typed::Status),
            ("/json", Typed::Json(None)),
            ("/times off", Typed::Times(Some(false))),
            ("/close", Typed::Close(CloseFrame::from(CloseCode::NORMAL))),
            (
                "/close 4001 see you",
                Typed::Close(CloseFrame::new(CloseCode::from(4001), "see you")),
            ),
        ] {
            assert_eq!(parse(line.into()), Ok(typed), "{line}");
        }
    }

    #[test]
    fn wrong_commands_name_the_right_ones() {
        for (line, error) in [
            ("/", "/help"),
            ("/nick me", "//nick sends /nick"),
            ("/status x", "takes nothing"),
            ("/binary", "two hexadecimal digits"),
            ("/binary 0", "two hexadecimal digits"),
            ("/binary 0g", "'g'"),
            ("/file", "a path"),
            ("/json maybe", "on or off"),
            ("/close 1005", "3000 to 4999"),
            ("/close x", "3000 to 4999"),
            (&format!("/close 1000 {}", "x".repeat(124)), "room for 123"),
        ] {
            let found = parse(line.into()).expect_err(line);
            assert!(found.contains(error), "{line}: {found}");
        }
    }
}
