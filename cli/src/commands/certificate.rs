//! `h2ws certificate`: a certificate authority of one's own, and a server certificate, for development.
//!
//! | | |
//! |---|---|
//! | a file exists, whatever it is | nothing is written |
//! | a file cannot be written | those that were written are removed |
//! | keys | only their owner may read them, from the moment that they exist |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::args::CertificateArgs;
use crate::error::Failure;
use crate::terminal;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What `serve` uses without a certificate, too.
const DEFAULT_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(crate) fn run(args: &CertificateArgs) -> Result<(), Failure> {
    let hosts = if args.host.is_empty() {
        DEFAULT_HOSTS.map(String::from).to_vec()
    } else {
        args.host.clone()
    };
    let pair = Pair::new(&hosts, args.days)?;
    let directory = &args.directory;
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let paths = write(directory, &pair)?;
    report(&paths, &hosts, &pair.until)?;
    Ok(())
}

/// The contents of the files.
struct Pair {
    ca: String,
    ca_key: String,
    server: String,
    server_key: String,
    /// The last day on which they are valid.
    until: String,
}

impl Pair {
    fn new(hosts: &[String], days: u32) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let at = |time: Duration| date_time_ymd(1970, 1, 1) + time;
        // The clocks of clients may be behind.
        let (from, until) = (at(now.saturating_sub(DAY)), at(now + DAY * days));
        let valid = |mut params: CertificateParams, name: String| {
            (params.not_before, params.not_after) = (from, until);
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };

        let name = format!("h2ws development CA, {}", at(now).date());
        let mut params = valid(CertificateParams::default(), name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca = params.self_signed(&ca_key)?;
        let ca_key_pem = ca_key.serialize_pem();
        let issuer = Issuer::new(params, ca_key);

        let first = hosts.first().cloned().unwrap_or_default();
        let mut params = valid(CertificateParams::new(hosts)?, first);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let server = params.signed_by(&key, &issuer)?;
        Ok(Self {
            ca: ca.pem(),
            ca_key: ca_key_pem,
            server: server.pem(),
            server_key: key.serialize_pem(),
            until: until.date().to_string(),
        })
    }
}

/// Writes the files, in the order of [`report`]. Returns their paths.
fn write(directory: &Path, pair: &Pair) -> Result<[PathBuf; 4], Failure> {
    let files = [
        ("ca.pem", &pair.ca, false),
        ("ca.key", &pair.ca_key, true),
        ("server.pem", &pair.server, false),
        ("server.key", &pair.server_key, true),
    ];
    let paths = files.map(|(name, ..)| directory.join(name));
    // A link that leads nowhere counts, too.
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        let error = format!("{} exists; nothing was written", path.display());
        return Err(format!("{error}: name another directory, or remove its four files").into());
    }
    for (index, (_, text, is_secret)) in files.iter().enumerate() {
        if let Err(error) = write_new(&paths[index], text, *is_secret) {
            for path in &paths[..index] {
                let _ = fs::remove_file(path);
            }
            return Err(failed(&paths[index], &error));
        }
    }
    Ok(paths)
}

/// Writes a file that must not exist. It is removed if it cannot be written whole.
fn write_new(path: &Path, text: &str, is_secret: bool) -> io::Result<()> {
    let mut file = create(path, is_secret)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .inspect_err(|_| drop(fs::remove_file(path)))
}

#[cfg(unix)]
fn create(path: &Path, is_secret: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mode = if is_secret { 0o600 } else { 0o644 };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    format!("cannot write {}: {error}", path.display()).into()
}

fn report(paths: &[PathBuf; 4], hosts: &[String], until: &str) -> io::Result<()> {
    let [ca, ca_key, server, server_key] = paths.each_ref().map(|path| quoted(path));
    let hosts_text = hosts.join(", ");
    // Clients cannot connect to a wildcard.
    let host = hosts[0].replace('*', "www");
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    writeln!(
        terminal::stdout(),
        "{ca}  a CA's certificate, for clients to trust\n\
         {ca_key}  its private key, which can sign certificates for any host: keep it secret, or delete it\n\
         {server}  certificate for {hosts_text}, until {until}\n\
         {server_key}  its private key\n\
         \n\
         next\n  \
           h2ws serve --cert {server} --key {server_key}\n  \
           h2ws connect --cacert {ca} wss://{host}:8443/\n  \
           h2ws help tls    how browsers trust the CA"
    )
}

/// Quotes a path for a shell, if that is needed.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,=@".contains(c);
    if path.chars().all(is_plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        for (path, expected) in [
            ("certs/ca.pem", "certs/ca.pem"),
            ("my certs/ca.pem", "'my certs/ca.pem'"),
            ("it's/ca.pem", "'it'\\''s/ca.pem'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
