//! Field names that servers confuse.

use http::{HeaderMap, HeaderName};

/// Removes the fields with these names, however they are spelled: CGI and WSGI do not
/// distinguish `x_user` from `x-user`, so a client could send either.
pub(super) fn remove_spellings(fields: &mut HeaderMap, names: &[&HeaderName]) {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let is_named = |other: &str| {
        let other = other.bytes().map(plain);
        let mut names = names.iter().map(|name| name.as_str().bytes().map(plain));
        names.any(|name| name.eq(other.clone()))
    };
    let with_underscore = |name: &&HeaderName| name.as_str().contains('_');
    let others: Vec<_> = fields.keys().filter(with_underscore).cloned().collect();
    for other in others.iter().filter(|other| is_named(other.as_str())) {
        fields.remove(other);
    }
    for name in names {
        fields.remove(*name);
    }
}
