//! Rules that change header fields of forwarded messages.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::bridge::spellings::remove_spellings;
use crate::handshake::headers::is_fixed;

/// Header fields to remove and to set in requests or in responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderRules {
    /// Sets a field, replacing all fields with its name.
    ///
    /// # Errors
    ///
    /// If the name or value is invalid, or the field is reserved for the connection or
    /// the WebSocket handshake.
    pub fn set(mut self, name: &str, value: &str) -> Result<Self, InvalidHeaderRule> {
        let name = changeable(name)?;
        let value =
            HeaderValue::try_from(value).map_err(|_| InvalidHeaderRule::Value(value.to_owned()))?;
        self.set.push((name, value));
        Ok(self)
    }

    /// Removes all fields with a name.
    ///
    /// # Errors
    ///
    /// Like [`set`](Self::set).
    pub fn remove(mut self, name: &str) -> Result<Self, InvalidHeaderRule> {
        self.remove.push(changeable(name)?);
        Ok(self)
    }

    /// Applies the rules to `headers`: first removes, then sets. A rule for `x-user`
    /// also removes `x_user`, which CGI and WSGI do not distinguish.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let set = self.set.iter().map(|(name, _)| name);
        let named: Vec<_> = self.remove.iter().chain(set).collect();
        remove_spellings(headers, &named);
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

/// Parses the name of a field that routes may change.
pub(super) fn changeable(name: &str) -> Result<HeaderName, InvalidHeaderRule> {
    let parsed =
        HeaderName::try_from(name).map_err(|_| InvalidHeaderRule::Name(name.to_owned()))?;
    if is_fixed(&parsed) {
        return Err(InvalidHeaderRule::Reserved(parsed));
    }
    Ok(parsed)
}

/// An invalid header rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHeaderRule {
    /// Not a valid field name.
    Name(String),
    /// Not a valid field value.
    Value(String),
    /// A field that is reserved for the connection or the WebSocket handshake.
    Reserved(HeaderName),
}

impl fmt::Display for InvalidHeaderRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "invalid header name {name:?}"),
            Self::Value(value) => write!(f, "invalid header value {value:?}"),
            Self::Reserved(name) => write!(f, "header {name} cannot be changed by a header rule"),
        }
    }
}

impl std::error::Error for InvalidHeaderRule {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_and_then_set() {
        let rules = HeaderRules::default()
            .remove("cookie")
            .and_then(|rules| rules.set("X-Bridge", "1"))
            .and_then(|rules| rules.remove("x-bridge"))
            .unwrap();
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        let mut headers: HeaderMap = [
            (name("cookie"), value("a=b")),
            (name("cookie"), value("c=d")),
            (name("x-bridge"), value("0")),
            (name("x-bridge"), value("forged")),
            (name("accept"), value("*/*")),
        ]
        .into_iter()
        .collect();
        rules.apply(&mut headers);
        let left: HeaderMap = [
            (name("accept"), value("*/*")),
            (name("x-bridge"), value("1")),
        ]
        .into_iter()
        .collect();
        assert_eq!(headers, left);
    }

    #[test]
    fn underscores_do_not_bypass_a_rule() {
        let rules = HeaderRules::default().set("x-user-id", "1").unwrap();
        let rules = rules.remove("x-debug").unwrap();
        let mut headers = HeaderMap::new();
        for name in ["x_user_id", "x-user_id", "x_debug", "x_other"] {
            headers.insert(name, HeaderValue::from_static("forged"));
        }
        rules.apply(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-user-id", "x_other"]);
    }

    #[test]
    fn reserved_fields_cannot_be_changed() {
        let rules = HeaderRules::default;
        for name in ["Connection", "sec-websocket-key", "Sec-WebSocket-X", "host"] {
            assert!(matches!(
                rules().set(name, "x"),
                Err(InvalidHeaderRule::Reserved(_))
            ));
            assert!(rules().remove(name).is_err());
        }
        assert!(matches!(
            rules().remove("a b"),
            Err(InvalidHeaderRule::Name(_))
        ));
        let injected = rules().set("x", "a\r\ny: z");
        assert!(matches!(injected, Err(InvalidHeaderRule::Value(_))));
    }
}
