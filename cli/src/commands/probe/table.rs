//! The table that compares several URLs.

use super::super::text::count;
use super::facts::{Facts, Socket};
use super::groups::grouped;
use super::text::{clean, color, time};
use crate::terminal::Styled;

/// Returns a row per URL.
pub(super) fn table(all: &[Facts]) -> Styled {
    let urls: Vec<_> = all.iter().map(url).collect();
    let width = urls.iter().map(|url| url.chars().count()).max();
    let width = width.unwrap_or(0).max(3);
    let row = |columns: [&str; 5]| {
        let [url, http2, http1, ping, findings] = columns;
        let row = format!("{url:width$}  {http2:6}  {http1:8}  {ping:>10}  {findings}");
        format!("{}\n", row.trim_end())
    };
    let mut out = Styled::default();
    let titles = ["URL", "HTTP/2", "HTTP/1.1", "round trip", "findings"];
    out.push(None, row(titles));
    for (facts, url) in all.iter().zip(&urls) {
        let works = |socket: Option<&Socket>| match socket {
            Some(socket) if socket.works => "yes",
            _ => "no",
        };
        let (http2, http1) = (facts.http2.sockets.first(), facts.http1.as_ref());
        let mut sockets = [http2, http1].into_iter().flatten();
        let ping = sockets.find_map(Socket::ping_median);
        let ping = ping.map_or_else(|| "-".to_owned(), time);
        let columns = [
            url.as_str(),
            works(http2),
            works(http1),
            &ping,
            &counts(facts),
        ];
        out.push(Some(color(facts.verdict())), row(columns));
    }
    out
}

/// Returns a URL that leaves room for the other columns.
fn url(facts: &Facts) -> String {
    const MOST: usize = 60;
    let url = clean(&facts.target.to_string());
    if url.chars().count() <= MOST {
        return url;
    }
    let beginning: String = url.chars().take(MOST - 3).collect();
    format!("{beginning}...")
}

fn counts(facts: &Facts) -> String {
    let groups = grouped(&facts.findings);
    let faults = groups.iter().filter(|(found, _)| found.finding.is_fault());
    let faults = faults.count();
    let remarks = groups.len() - faults;
    let counts = [(faults, "fault"), (remarks, "remark")];
    let counts = counts.iter().filter(|(number, _)| *number > 0);
    let counts: Vec<_> = counts.map(|(number, noun)| count(*number, noun)).collect();
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.join(", ")
}
