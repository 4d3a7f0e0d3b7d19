//! Reads `[tls]` and `[upstream_tls]`, and checks the files that they name.

use std::path::{Path, PathBuf};

use super::reader::{Section, Span};
use crate::tls::{self, ClientFiles, Concern, ServerFiles};

/// A file, and the place of its name in the configuration.
type Named = (PathBuf, Span);

/// Reads `cleartext` and `[tls]`.
pub(super) fn server(path: &Path, root: &mut Section<'_>) -> (Option<bool>, Option<ServerFiles>) {
    let cleartext = root.boolean("cleartext");
    let Some(mut section) = root.section("tls") else {
        return (cleartext, None);
    };
    if cleartext == Some(true) {
        root.error(&section.span, "cleartext = true cannot be used with [tls]");
    }
    let certs = several(path, &mut section, "cert");
    let keys = several(path, &mut section, "key");
    if certs.len() != keys.len() && !certs.is_empty() && !keys.is_empty() {
        section.error(
            &section.span,
            "there must be one file in key per file in cert",
        );
    }
    let client_ca = section.string("client_ca").map(|name| beside(path, name));
    let optional = section.boolean("client_cert_optional");
    if optional.is_some() && client_ca.is_none() {
        section.error(&section.span, "client_cert_optional requires client_ca");
    }
    let optional = optional.unwrap_or_default();
    let files = server_files(&section, &certs, &keys, client_ca.as_ref(), optional);
    section.finish();
    (cleartext, files)
}

/// Reads file names; there must be at least one.
fn several(path: &Path, section: &mut Section<'_>, key: &'static str) -> Vec<Named> {
    let names = section.strings(key);
    let is_missing = section.item(key).is_none_or(|item| item.is_empty());
    if is_missing {
        section.error(&section.span, format_args!("[tls] requires {key}"));
    }
    names.into_iter().map(|name| beside(path, name)).collect()
}

/// Resolves a name relative to the directory of the configuration file.
fn beside(path: &Path, (name, span): (&str, Span)) -> Named {
    let directory = path.parent().unwrap_or(Path::new(""));
    (directory.join(name), span)
}

/// Returns the files if they are valid.
fn server_files(
    section: &Section<'_>,
    certs: &[Named],
    keys: &[Named],
    client_ca: Option<&Named>,
    client_cert_optional: bool,
) -> Option<ServerFiles> {
    let mut fits = certs.len() == keys.len() && !certs.is_empty();
    for (cert, key) in certs.iter().zip(keys) {
        fits &= is_pair(section, cert, key);
    }
    fits &= client_ca.is_none_or(|named| are_roots(section, named));
    let files = ServerFiles {
        pairs: certs
            .iter()
            .zip(keys)
            .map(|((cert, _), (key, _))| (cert.clone(), key.clone()))
            .collect(),
        client_ca: client_ca.map(|(file, _)| file.clone()),
        client_cert_optional,
        http1_only: false,
    };
    // Each is valid by itself; this reports errors of their combination.
    fits.then(|| {
        files
            .load()
            .map_err(|error| section.error(&section.span, error))
    })?
    .ok()?;
    Some(files)
}

fn is_pair(section: &Section<'_>, cert: &Named, key: &Named) -> bool {
    let readable = [cert, key].map(|named| is_readable(section, named));
    if readable != [true, true] {
        return false;
    }
    if let Err(error) = tls::pair(&cert.0, &key.0) {
        section.error(&cert.1, error);
        return false;
    }
    if let Some(concern) = Concern::about(&cert.0) {
        section.notice(&cert.1, format_args!("{}: {concern}", cert.0.display()));
        if concern.is_rejected() {
            section.fail_check();
        }
    }
    true
}

fn are_roots(section: &Section<'_>, (file, span): &Named) -> bool {
    let roots = tls::roots(file);
    roots.map_err(|error| section.error(span, error)).is_ok()
}

fn is_readable(section: &Section<'_>, (file, span): &Named) -> bool {
    let read = std::fs::read(file);
    read.map_err(|error| section.error(span, format_args!("{}: {error}", file.display())))
        .is_ok()
}

/// Reads `[upstream_tls]`; `None` if it is missing or has errors.
pub(super) fn upstream(path: &Path, parent: &mut Section<'_>) -> Option<ClientFiles> {
    let mut section = parent.section("upstream_tls")?;
    let ca = section.string("cacert").map(|name| beside(path, name));
    let cert = section.string("cert").map(|name| beside(path, name));
    let key = section.string("key").map(|name| beside(path, name));
    let insecure = section.boolean("insecure").unwrap_or_default();
    let mut fits = ca.as_ref().is_none_or(|ca| are_roots(&section, ca));
    let pair = match (cert, key) {
        (Some(cert), Some(key)) => {
            fits &= is_pair(&section, &cert, &key);
            Some((cert.0, key.0))
        }
        (None, None) => None,
        _ => {
            section.error(&section.span, "cert and key must be used together");
            fits = false;
            None
        }
    };
    if insecure && ca.is_some() {
        section.error(&section.span, "cacert cannot be used with insecure = true");
        fits = false;
    }
    section.finish();
    fits.then(|| ClientFiles {
        ca: ca.map(|(file, _)| file),
        pair,
        insecure,
    })
}
