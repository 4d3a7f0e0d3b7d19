//! Parses and writes `Sec-WebSocket-Extensions` (RFC 6455 §9.1).

use std::fmt;

use http::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};

use super::syntax;

/// An extension with its parameters, as offered or selected.
///
/// ```
/// use h2ws::handshake::Extension;
///
/// let extension = Extension::new("permessage-deflate")?
///     .param("server_no_context_takeover", None)?
///     .param("server_max_window_bits", Some("10"))?;
/// assert_eq!(
///     extension.to_string(),
///     "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
/// );
/// # Ok::<(), h2ws::handshake::extensions::InvalidExtension>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    name: String,
    params: Vec<(String, Option<String>)>,
}

impl Extension {
    /// Creates an extension without parameters.
    ///
    /// # Errors
    /// If `name` is not a token.
    pub fn new(name: &str) -> Result<Self, InvalidExtension> {
        let name = token(name)?;
        Ok(Self {
            name,
            params: Vec::new(),
        })
    }

    /// Adds a parameter.
    ///
    /// # Errors
    /// If the name or the value is not a token. RFC 6455 §9.1 allows quoting a value, but it must be
    /// a token even then.
    pub fn param(mut self, name: &str, value: Option<&str>) -> Result<Self, InvalidExtension> {
        let value = value.map(token).transpose()?;
        self.params.push((token(name)?, value));
        Ok(self)
    }

    /// Returns the registered name, such as `permessage-deflate`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the parameters in order, values without quotes.
    pub fn params(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

fn token(text: &str) -> Result<String, InvalidExtension> {
    if syntax::is_token(text) {
        Ok(text.to_owned())
    } else {
        Err(InvalidExtension)
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (name, value) in self.params() {
            match value {
                Some(value) => write!(f, "; {name}={value}")?,
                None => write!(f, "; {name}")?,
            }
        }
        Ok(())
    }
}

/// A text that does not follow the grammar of extensions in RFC 6455 §9.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidExtension;

impl fmt::Display for InvalidExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a list of WebSocket extensions")
    }
}

impl std::error::Error for InvalidExtension {}

/// Returns the extensions in `headers`, in the sender's order of preference. Several fields form one
/// list, and the same name may occur several times with different parameters.
///
/// # Errors
/// If one of the fields does not follow the grammar; the others cannot be trusted then either.
pub fn parse(headers: &HeaderMap) -> Result<Vec<Extension>, InvalidExtension> {
    let mut extensions = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let rest = value.to_str().map_err(|_| InvalidExtension)?;
        Parser { rest }.list(&mut extensions)?;
    }
    Ok(extensions)
}

/// A parser of one field value.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn list(&mut self, extensions: &mut Vec<Extension>) -> Result<(), InvalidExtension> {
        loop {
            // Empty elements are allowed (RFC 9110 §5.6.1.2).
            while self.take(',') {}
            if self.rest.is_empty() {
                return Ok(());
            }
            extensions.push(self.extension()?);
            if !self.rest.is_empty() && !self.take(',') {
                return Err(InvalidExtension);
            }
        }
    }

    fn extension(&mut self) -> Result<Extension, InvalidExtension> {
        let mut extension = Extension::new(self.token())?;
        while self.take(';') {
            let name = self.token().to_owned();
            let value = if !self.take('=') {
                None
            } else if self.rest.starts_with('"') {
                Some(self.quoted()?)
            } else {
                Some(self.token().to_owned())
            };
            extension = extension.param(&name, value.as_deref())?;
        }
        Ok(extension)
    }

    /// Skips `wanted` and the white space around it, if it is next. Returns whether it was.
    fn take(&mut self, wanted: char) -> bool {
        self.rest = syntax::trim(self.rest);
        let rest = self.rest.strip_prefix(wanted).map(syntax::trim);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Returns the token that is next, which is empty if there is none.
    fn token(&mut self) -> &str {
        let is_end = |byte| !syntax::is_token_byte(byte);
        let end = self
            .rest
            .bytes()
            .position(is_end)
            .unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    /// Returns the quoted string that is next (RFC 9110 §5.6.4), unescaped.
    fn quoted(&mut self) -> Result<String, InvalidExtension> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => text.push(chars.next().ok_or(InvalidExtension)?.1),
                char => text.push(char),
            }
        }
        Err(InvalidExtension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn parse_all(values: &[&str]) -> Result<Vec<String>, InvalidExtension> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
        }
        Ok(parse(&headers)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rfc6455_9_1_lists() {
        for (values, parsed) in [
            (&[][..], &[][..]),
            (&[""], &[]),
            (&["foo"], &["foo"]),
            (&["foo, bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["foo", "bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["deflate-stream"], &["deflate-stream"]),
            (
                &["mux; max-channels=4; flow-control, deflate-stream"],
                &["mux; max-channels=4; flow-control", "deflate-stream"],
            ),
            (
                &["a;b=\"c\";d = \"e\\f\" , ,a\t;b"],
                &["a; b=c; d=ef", "a; b"],
            ),
            (&[" a ;b= c ,"], &["a; b=c"]),
            (&["a;b;b"], &["a; b; b"]),
        ] {
            let parsed = parsed.iter().map(ToString::to_string).collect();
            assert_eq!(parse_all(values), Ok(parsed), "{values:?}");
        }
    }

    #[test]
    fn rfc6455_9_1_invalid_lists() {
        for bad in [
            "a b",
            "a;",
            "a;;b",
            ";a",
            "a;=b",
            "a;b=",
            "a;b=\"",
            "a;b=\"c",
            "a;b=\"c\\",
            "a=b",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a;b=\"c,d\"",
            "a;b=\"c\"d",
            "a;b=c d",
            "a;b=c=d",
            "\"a\"",
            "a/b",
            "a;b=\"\\\"\"",
            "a\";b",
        ] {
            assert_eq!(parse_all(&["ok", bad]), Err(InvalidExtension), "{bad}");
        }
        let mut headers = HeaderMap::new();
        let latin = HeaderValue::from_bytes(b"a;b=\"\xe4\"").unwrap();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, latin);
        assert_eq!(parse(&headers), Err(InvalidExtension));
        assert!(InvalidExtension.to_string().contains("extensions"));
    }

    #[test]
    fn only_tokens_can_be_sent() {
        assert!(Extension::new("").is_err());
        assert!(Extension::new("a;b").is_err());
        let extension = || Extension::new("a").unwrap();
        assert!(extension().param("b c", None).is_err());
        assert!(extension().param("b", Some("")).is_err());
        assert!(extension().param("b", Some("c\r\nd")).is_err());
    }

    proptest! {
        #[test]
        fn extensions_round_trip(
            names in prop::collection::vec("[a-z!#]{1,8}", 0..4),
            params in prop::collection::vec(("[a-z_-]{1,8}", prop::option::of("[0-9A-Z]{1,4}")), 0..4),
        ) {
            let mut extensions = Vec::new();
            for name in &names {
                let mut extension = Extension::new(name).unwrap();
                for (name, value) in &params {
                    extension = extension.param(name, value.as_deref()).unwrap();
                }
                extensions.push(extension);
            }
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, syntax::join(&extensions).unwrap());
            prop_assert_eq!(parse(&headers), Ok(extensions));
        }

        #[test]
        fn the_parser_accepts_any_text(text in "[ -~\t]{0,64}") {
            if let Ok(written) = parse_all(&[&text]) {
                let again: Vec<&str> = written.iter().map(String::as_str).collect();
                prop_assert_eq!(parse_all(&again), Ok(written.clone()));
            }
        }
    }
}
