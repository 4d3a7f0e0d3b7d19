//! The time for which certificates are valid.
//!
//! A chain is valid while each of its certificates is, because clients check them all. Roots are
//! not checked: peers trust those that they have, whatever their dates.
//!
//! An invalid certificate does not keep a listener from starting. The others, and clients that do not
//! verify, need it, and a restart must not make matters worse. It is reported wherever the program
//! reads it: at startup, on a reload, and by `--check`, which then fails.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// A warning begins this long before the end, in seconds, or the last sixth of the validity if that
/// is shorter: after the time at which ACME clients renew.
const SOON: i64 = 14 * 24 * 3600;

/// When all certificates of a chain are valid, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    from: i64,
    until: i64,
}

/// What is wrong with the time of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    Expired(i64),
    NotYetValid(i64),
    ExpiresSoon(i64),
}

impl Validity {
    /// Returns when all of these are valid; `None` if none can be parsed.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let each = chain.iter().filter_map(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let validity = certificate.validity();
            Some(Self {
                from: validity.not_before.timestamp(),
                until: validity.not_after.timestamp(),
            })
        });
        each.reduce(|all, one| Self {
            from: all.from.max(one.from),
            until: all.until.min(one.until),
        })
    }

    /// Returns the last second.
    pub(crate) fn until(self) -> i64 {
        self.until
    }

    /// Returns the end as a date.
    pub(crate) fn last_day(self) -> impl fmt::Display {
        Date(self.until)
    }

    fn concern(self, now: i64) -> Option<Concern> {
        let left = self.until.saturating_sub(now);
        let soon = (self.until.saturating_sub(self.from) / 6).min(SOON);
        if left < 0 {
            Some(Concern::Expired(self.until))
        } else if now < self.from {
            Some(Concern::NotYetValid(self.from))
        } else {
            (left < soon).then_some(Concern::ExpiresSoon(self.until))
        }
    }
}

impl Concern {
    /// Returns what is wrong now with the certificates in a PEM file. A file that cannot be read is
    /// reported where it is used.
    pub(crate) fn about(file: &Path) -> Option<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).ok()?.collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Validity::of(&chain.ok()?)?.concern(i64::try_from(now).ok()?)
    }

    /// Whether clients reject the certificate now.
    pub(crate) fn is_rejected(self) -> bool {
        !matches!(self, Self::ExpiresSoon(_))
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Expired(at) => {
                write!(f, "the certificate expired on {}; renew it", Date(at))
            }
            Self::NotYetValid(at) => write!(
                f,
                "the certificate is not valid before {}; check the clock of this machine",
                Date(at)
            ),
            Self::ExpiresSoon(at) => {
                write!(f, "the certificate expires on {}; renew it", Date(at))
            }
        }
    }
}

/// A time in seconds since 1970, written as a date.
pub(super) struct Date(i64);

impl Date {
    pub(super) fn of(time: UnixTime) -> Self {
        Self(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = ASN1Time::from_timestamp(self.0) else {
            return write!(f, "{} s since 1970", self.0);
        };
        let time = time.to_datetime();
        let (hour, minute) = (time.hour(), time.minute());
        write!(f, "{} at {hour:02}:{minute:02} UTC", time.date())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DAY: i64 = 24 * 3600;

    fn made(from: (i32, u8, u8), until: (i32, u8, u8)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().expect("a key");
        params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .clone()
    }

    #[test]
    fn a_chain_is_valid_while_all_its_certificates_are() {
        let leaf = made((2026, 1, 1), (2026, 4, 1));
        let intermediate = made((2025, 1, 1), (2026, 3, 1));
        let validity = Validity::of(&[leaf, CertificateDer::from(vec![1]), intermediate]);
        let validity = validity.expect("parsed");
        assert_eq!(Date(validity.from).to_string(), "2026-01-01 at 00:00 UTC");
        assert_eq!(Date(validity.until).to_string(), "2026-03-01 at 00:00 UTC");
        assert_eq!(Validity::of(&[CertificateDer::from(vec![1])]), None);
    }

    #[test]
    fn what_clients_reject_now_or_soon_is_reported() {
        for (days, left, expected) in [
            (90, 90, None),
            (90, 14, None),
            (90, 13, Some("expires on")),
            (90, 0, Some("expires on")),
            (90, -1, Some("expired on")),
            (90, 91, Some("not valid before")),
            // The sixth of a short validity.
            (6, 2, None),
            (6, 0, Some("expires on")),
        ] {
            let until = 1000 * DAY;
            let from = until - days * DAY;
            let concern = Validity { from, until }.concern(until - left * DAY);
            let text = concern.map(|concern| concern.to_string());
            let matches = match (&text, expected) {
                (None, None) => true,
                (Some(text), Some(expected)) => text.contains(expected),
                _ => false,
            };
            assert!(matches, "{days}, {left}: {text:?}");
            let is_rejected = concern.is_some_and(Concern::is_rejected);
            assert_eq!(is_rejected, !(0..=days).contains(&left), "{days}, {left}");
        }
        let whole = Validity {
            from: i64::MIN,
            until: i64::MAX,
        };
        assert_eq!(whole.concern(0), None);
    }
}
