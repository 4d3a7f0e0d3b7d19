//! Reports a finding of several places once.

use std::fmt::Write as _;

use super::finding::{Found, Place};

/// Returns each finding once, with all places where it was made.
pub(super) fn grouped(all: &[Found]) -> Vec<(&Found, Vec<Place>)> {
    let mut groups: Vec<(&Found, Vec<Place>)> = Vec::new();
    for found in all {
        let mut others = groups.iter_mut();
        match others.find(|(other, _)| other.finding == found.finding) {
            Some((_, places)) if places.contains(&found.place) => {}
            Some((_, places)) => places.push(found.place),
            None => groups.push((found, vec![found.place])),
        }
    }
    groups
}

/// Names places; they are in order.
pub(super) fn named(places: &[Place]) -> String {
    let mut text = String::new();
    let mut last = None;
    for place in places {
        // Writing to a String cannot fail.
        let _ = match (last, place) {
            (None, place) => write!(text, "{place}"),
            (Some(Place::Socket(_)), Place::Socket(number)) => write!(text, " and {number}"),
            (Some(_), place) => write!(text, ", {place}"),
        };
        last = Some(*place);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::finding::Finding;
    use super::*;

    #[test]
    fn a_finding_of_several_places_is_one() {
        let at = |finding: &Finding, place| finding.clone().at(place);
        let (closed, ended) = (Finding::NoClose, Finding::HungUp);
        let found = [
            at(&closed, Place::Socket(1)),
            at(&ended, Place::Socket(1)),
            at(&closed, Place::Socket(2)),
            at(&closed, Place::Http1),
        ];
        let groups = grouped(&found);
        assert_eq!(groups.len(), 2);
        assert_eq!(named(&groups[0].1), "HTTP/2 socket 1 and 2, HTTP/1.1");
        assert_eq!(named(&groups[1].1), "HTTP/2 socket 1");
    }
}
