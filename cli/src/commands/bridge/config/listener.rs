//! Reads the keys of listeners, and `[[listener]]`.

use std::path::Path;

use super::reader::Section;
use super::{COUNT, tls};
use crate::listener::{ListenAddress, Networks};
use crate::tls::ServerFiles;

/// The listeners of a configuration file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileListeners {
    /// Of the file as a whole; those of `[[listener]]` have it unless they have their own.
    pub(crate) listen: Vec<ListenAddress>,
    pub(crate) cleartext: Option<bool>,
    pub(crate) tls: Option<ServerFiles>,
    pub(crate) proxy_protocol: Networks,
    pub(crate) reuse_port: bool,
    pub(crate) listeners: Vec<FileListener>,
}

/// A `[[listener]]`.
#[derive(Clone, Debug)]
pub(crate) struct FileListener {
    pub(crate) line: usize,
    pub(crate) listen: Vec<ListenAddress>,
    pub(crate) cleartext: Option<bool>,
    pub(crate) tls: Option<ServerFiles>,
    pub(crate) redirect_https: bool,
    pub(crate) proxy_protocol: Option<Networks>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_connections_per_client: Option<usize>,
}

/// Reads what all listeners share, and the listeners with keys of their own.
pub(super) fn read(
    path: &Path,
    root: &mut Section<'_>,
    metrics: Option<&ListenAddress>,
) -> FileListeners {
    let mut taken: Vec<_> = metrics
        .map(|address| (address.clone(), "for the metrics".to_owned()))
        .into_iter()
        .collect();
    let listen = addresses(root, &mut taken);
    let (cleartext, tls) = tls::server(path, root);
    let proxy_protocol = networks(root).unwrap_or_default();
    let reuse_port = root.boolean("reuse_port").unwrap_or_default();
    let sections = root.sections("listener");
    let mut listeners = Vec::new();
    for section in sections {
        listeners.push(one(path, section, &mut taken));
    }
    FileListeners {
        listen,
        cleartext,
        tls,
        proxy_protocol,
        reuse_port,
        listeners,
    }
}

/// Addresses, each with where it is used.
type Taken = Vec<(ListenAddress, String)>;

fn one(path: &Path, mut section: Section<'_>, taken: &mut Taken) -> FileListener {
    let listen = addresses(&mut section, taken);
    if section.peek("listen").is_none() && section.item("listen").is_none() {
        section.error(&section.span, "[[listener]] requires listen");
    }
    let (cleartext, tls) = tls::server(path, &mut section);
    let redirect_https = section.boolean("redirect_https").unwrap_or_default();
    if redirect_https && (cleartext == Some(false) || tls.is_some()) {
        let what = "redirect_https = true cannot be used with TLS: its clients have none";
        section.error(&section.span, what);
    }
    let listener = FileListener {
        line: section.line(&section.span),
        listen,
        cleartext,
        tls,
        redirect_https,
        proxy_protocol: networks(&mut section),
        max_connections: count(&mut section, "max_connections"),
        max_connections_per_client: count(&mut section, "max_connections_per_client"),
    };
    section.finish();
    listener
}

fn count(section: &mut Section<'_>, key: &'static str) -> Option<usize> {
    section.integer(key, 1..COUNT).map(|number| number as usize)
}

pub(super) fn address(text: &str) -> Result<ListenAddress, String> {
    ListenAddress::parse(text).map_err(|error| format!("{text:?}: {error}"))
}

/// Reads `listen`: an address or several, which must not be `taken`.
fn addresses(section: &mut Section<'_>, taken: &mut Taken) -> Vec<ListenAddress> {
    let mut read: Vec<ListenAddress> = Vec::new();
    for (text, span) in section.strings("listen") {
        let address = match address(text) {
            Ok(address) => address,
            Err(error) => {
                section.error(&span, format_args!("listen: {error}"));
                continue;
            }
        };
        if let Some((_, place)) = taken.iter().find(|(other, _)| other.is_same(&address)) {
            section.error(&span, format_args!("listen: {text:?} is used {place} too"));
            continue;
        }
        let line = section.line(&span);
        taken.push((address.clone(), format!("on line {line}")));
        read.push(address);
    }
    read
}

fn networks(section: &mut Section<'_>) -> Option<Networks> {
    section.item("proxy_protocol")?;
    let mut read = Vec::new();
    for (text, span) in section.strings("proxy_protocol") {
        match Networks::parse(text) {
            Ok(network) => read.push(network),
            Err(error) => section.error(&span, format_args!("proxy_protocol: {text:?}: {error}")),
        }
    }
    Some(Networks::new(read))
}
