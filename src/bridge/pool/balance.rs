//! Load balancing: pure functions that choose a server by counts or names.

use sha1::{Digest, Sha1};

/// Returns the index with the fewest open; ties take turns.
pub(super) fn least(open: &[usize], turn: usize) -> Option<usize> {
    let fewest = *open.iter().min()?;
    let ties: Vec<_> = (0..open.len()).filter(|&at| open[at] == fewest).collect();
    ties.get(turn % ties.len()).copied()
}

/// Returns the index of the name that `key` belongs to, by rendezvous hashing: when
/// a name is added or removed, only keys of that name move. The result is the same
/// in every process, so replicas agree.
pub(super) fn rendezvous<'a>(
    key: &[u8],
    names: impl IntoIterator<Item = &'a str>,
) -> Option<usize> {
    let scores = names.into_iter().map(|name| score(key, name));
    let best = scores.enumerate().max_by_key(|(_, score)| *score)?;
    Some(best.0)
}

/// The standard library's hasher may change between releases, and replicas may be
/// built by different compilers.
fn score(key: &[u8], name: &str) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(name);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fewest_open_wins_and_ties_take_turns() {
        assert_eq!(least(&[], 0), None);
        assert_eq!(least(&[2, 1, 3], 7), Some(1));
        let order: Vec<_> = (0..4).map(|turn| least(&[1, 5, 1, 1], turn)).collect();
        assert_eq!(order, [Some(0), Some(2), Some(3), Some(0)]);
    }

    #[test]
    fn keys_spread_evenly() {
        let names = ["a", "b", "c", "d"];
        let mut count = [0; 4];
        for key in 0..4000_u32 {
            count[rendezvous(&key.to_be_bytes(), names).unwrap()] += 1;
        }
        assert!(
            count.iter().all(|count| (850..1150).contains(count)),
            "{count:?}"
        );
    }

    /// Replicas of other versions must agree. The values were computed with Python's
    /// hashlib.
    #[test]
    fn a_key_stays_where_earlier_versions_put_it() {
        let names = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
        let of = |key: &str| rendezvous(key.as_bytes(), names).unwrap();
        let placed = ["ann", "bob", "cid", "dan", "eve", "fay"].map(of);
        assert_eq!(placed, [1, 1, 0, 1, 0, 0]);
    }

    proptest! {
        #[test]
        fn only_keys_of_the_removed_name_move(
            names in prop::collection::btree_set("[a-z]{1,8}", 2..12),
            keys in prop::collection::vec(any::<[u8; 8]>(), 1..50),
            gone: prop::sample::Index,
        ) {
            let names: Vec<_> = names.into_iter().collect();
            let gone = gone.get(&names);
            let left: Vec<_> = names.iter().filter(|name| *name != gone).collect();
            for key in keys {
                let of = |names: &[&String]| {
                    let at = rendezvous(&key, names.iter().map(|name| name.as_str()));
                    names[at.unwrap()].clone()
                };
                let before = of(&names.iter().collect::<Vec<_>>());
                if before != *gone {
                    prop_assert_eq!(before, of(&left));
                }
            }
        }

        #[test]
        fn least_has_a_minimal_count(
            open in prop::collection::vec(0_usize..5, 1..9), turn: usize,
        ) {
            let picked = least(&open, turn).unwrap();
            prop_assert!(open.iter().all(|other| open[picked] <= *other));
        }
    }
}
