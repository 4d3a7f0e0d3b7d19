//! The options of `h2ws certificate`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use rustls_pki_types::DnsName;

use super::OUTPUT;

pub(super) const EXAMPLES: &str = "\
For development: a certificate authority (CA) of your own, and a server certificate that it signed.
Anyone who has ca.key can make certificates that your clients trust: keep it secret, or delete it.
`h2ws help tls` describes how to make browsers trust ca.pem.

Examples:
  h2ws certificate certificates
  h2ws certificate --host app.test --host '*.app.test' --days 30 ~/.config/h2ws";

#[derive(Debug, Args)]
pub(crate) struct CertificateArgs {
    /// Directory to write to, created if missing: ca.pem, ca.key, server.pem and server.key. Files
    /// that exist are not overwritten
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: PathBuf,
    /// Host that the server is reached by: a name, *.DOMAIN or an IP address (repeatable)
    /// [default: localhost, 127.0.0.1 and ::1]
    #[arg(long, value_name = "HOST", value_parser = host, help_heading = OUTPUT)]
    pub(crate) host: Vec<String>,
    /// Days for which both certificates are valid; Apple's systems accept at most 825
    #[arg(long, default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650), help_heading = OUTPUT)]
    pub(crate) days: u32,
}

/// Returns a host as certificates have it.
fn host(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_name = DnsName::try_from(name).is_ok() && !name.ends_with('.');
    if !is_name {
        return Err(
            "expected a host name such as app.test, *.app.test, or an IP address; international \
             names are written in Punycode (xn--...)"
                .into(),
        );
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_wildcards_and_addresses() {
        for (text, expected) in [
            ("localhost", "localhost"),
            ("App.Test", "app.test"),
            ("*.app.test", "*.app.test"),
            ("127.0.0.1", "127.0.0.1"),
            ("0:0::1", "::1"),
        ] {
            assert_eq!(host(text), Ok(expected.to_owned()), "{text}");
        }
        for wrong in [
            "",
            "*",
            "*.",
            "a b",
            "a:80",
            "https://a",
            "[::1]",
            "ä.test",
            "a.*.test",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
