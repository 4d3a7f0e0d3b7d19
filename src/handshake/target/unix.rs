//! URLs of servers on Unix sockets: `ws+unix:/run/app.sock:/chat?room=1`.
//!
//! ```text
//! (ws|wss|http|https)+unix: [ // [host[:port]] ] socket [ : [path[?query]] ]
//! ```
//!
//! The socket is an absolute path, taken literally up to the first `:/` or a final `:`. The host is
//! sent in the `Host` field, and is the name that the server's certificate is checked for. Without
//! one it is `localhost`.

use std::path::Path;
use std::sync::Arc;

use super::{Target, UrlError};

/// The host in URLs of Unix sockets that state none.
pub(super) const LOCALHOST: &str = "localhost";

/// Parses the URL, or returns `None` if its scheme is not one of Unix sockets.
pub(super) fn parse(url: &str) -> Option<Result<Target, UrlError>> {
    let (scheme, rest) = url.split_once(':')?;
    let (scheme, transport) = scheme.split_once('+')?;
    if !transport.eq_ignore_ascii_case("unix") {
        return None;
    }
    Some(split(scheme, rest))
}

fn split(scheme: &str, rest: &str) -> Result<Target, UrlError> {
    let (host, rest) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').ok_or(UrlError::UnixPath)?),
        None => ("", rest),
    };
    if host.contains('?') {
        return Err(UrlError::UnixPath);
    }
    let host = if host.is_empty() { LOCALHOST } else { host };
    let (socket, path) = match rest.split_once(":/") {
        Some((socket, path)) => (socket, path),
        None => (rest.strip_suffix(':').unwrap_or(rest), ""),
    };
    if !socket.starts_with('/') || socket.ends_with('/') || socket.contains(['?', '#', '\0']) {
        return Err(UrlError::UnixPath);
    }
    if !fits(socket) {
        return Err(UrlError::UnixPathLength);
    }
    let mut target: Target = format!("{scheme}://{host}/{path}").parse()?;
    target.endpoint.unix_path = Some(Arc::from(Path::new(socket)));
    Ok(target)
}

/// Whether the operating system has room for the path in a socket's address.
fn fits(socket: &str) -> bool {
    #[cfg(unix)]
    return std::os::unix::net::SocketAddr::from_pathname(socket).is_ok();
    #[cfg(not(unix))]
    return socket.len() < 108;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_unix_sockets() {
        for (url, secure, socket, authority, path, written) in [
            (
                "ws+unix:/run/app.sock",
                false,
                "/run/app.sock",
                "localhost",
                "/",
                "ws+unix:/run/app.sock:/",
            ),
            (
                "HTTPS+Unix:///run/app.sock:/a?b=:/c",
                true,
                "/run/app.sock",
                "localhost",
                "/a?b=:/c",
                "wss+unix:/run/app.sock:/a?b=:/c",
            ),
            (
                "wss+unix://App.example:443/run/a b%20\u{e4}.sock:",
                true,
                "/run/a b%20\u{e4}.sock",
                "app.example",
                "/",
                "wss+unix://app.example/run/a b%20\u{e4}.sock:/",
            ),
            (
                "http+unix://localhost:8080/run/a:1:/x",
                false,
                "/run/a:1",
                "localhost:8080",
                "/x",
                "ws+unix://localhost:8080/run/a:1:/x",
            ),
        ] {
            let target: Target = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(target.secure(), secure, "{url}");
            assert_eq!(target.unix_path(), Some(Path::new(socket)), "{url}");
            assert_eq!(target.authority(), authority, "{url}");
            assert_eq!(target.path_and_query(), path, "{url}");
            assert_eq!(target.to_string(), written);
            assert_eq!(written.parse::<Target>(), Ok(target));
        }
    }

    #[test]
    fn invalid_urls_of_unix_sockets() {
        let long = format!("ws+unix:/{}", "a".repeat(108));
        for (url, error) in [
            ("ws+unix:", UrlError::UnixPath),
            ("ws+unix:run/app.sock", UrlError::UnixPath),
            ("ws+unix://app.sock", UrlError::UnixPath),
            ("ws+unix://host?x/run/app.sock", UrlError::UnixPath),
            ("ws+unix:/run/", UrlError::UnixPath),
            ("ws+unix::/chat", UrlError::UnixPath),
            ("ws+unix:/run/app.sock?room=1", UrlError::UnixPath),
            ("ws+unix:/run/app.sock#a", UrlError::UnixPath),
            ("ws+unix:/run/\0", UrlError::UnixPath),
            (&long, UrlError::UnixPathLength),
            ("ws+unix:/run/app.sock ", UrlError::Blank),
            ("ws+unix:/run/app.sock:/a#b", UrlError::Fragment),
            ("ws+unix://me@host/run/app.sock", UrlError::UserInfo),
            ("ws+unix://host:0/run/app.sock", UrlError::Port),
            (
                "ws+unix://b\u{fc}cher.example/run/app.sock",
                UrlError::NotAscii,
            ),
            ("ftp+unix:/run/app.sock", UrlError::Scheme),
            ("+unix:/run/app.sock", UrlError::Scheme),
        ] {
            assert_eq!(url.parse::<Target>(), Err(error), "{url:?}");
        }
    }

    #[test]
    fn connections_are_shared_on_one_socket_under_one_name() {
        let endpoint = |url: &str| url.parse::<Target>().unwrap().endpoint().clone();
        let one = endpoint("ws+unix:/run/a:/x");
        assert_eq!(one, endpoint("http+unix:///run/a:/y"));
        for other in [
            "ws+unix:/run/b",
            "ws+unix://host/run/a",
            "wss+unix:/run/a",
            "ws://localhost",
        ] {
            assert_ne!(one, endpoint(other), "{other}");
        }
        assert_eq!(one.to_string(), "ws+unix:/run/a");
        assert_eq!(
            endpoint("wss+unix://A/run/a").to_string(),
            "wss+unix://a:443/run/a"
        );
    }
}
