//! `Retry-After`: how long a server asks its clients to wait (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::RejectedResponse;

impl RejectedResponse {
    /// Returns how long to wait before the request is made again, if the response has a valid
    /// `Retry-After` (RFC 9110 §10.2.3). A point in time is relative to the response's `Date`, or
    /// without one to this machine's clock.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }
}

pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| {
        let value = headers.get(name)?.to_str().ok()?;
        httpdate::parse_http_date(value).ok()
    };
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only an overflow is left as an error.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let now = date(DATE).unwrap_or_else(SystemTime::now);
    Some(date(RETRY_AFTER)?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood() {
        let cases = [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(9)),
            ("Fri, 31 Dec 1999 23:00:00 GMT", Some(0)),
            ("Friday, 31-Dec-99 23:59:59 GMT", Some(9)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ];
        for (value, seconds) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, "Fri, 31 Dec 1999 23:59:50 GMT".parse().unwrap());
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&headers), expected, "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    /// Without `Date`, a point in time in the past means at once.
    #[test]
    fn a_date_that_has_passed_is_no_delay() {
        let mut headers = HeaderMap::new();
        headers.insert(
            RETRY_AFTER,
            "Fri, 31 Dec 1999 23:59:59 GMT".parse().unwrap(),
        );
        assert_eq!(retry_after(&headers), Some(Duration::ZERO));
    }
}
