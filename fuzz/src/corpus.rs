//! Runs a target on the inputs that are kept of it.

use std::path::Path;

/// Runs a target on its inputs, on each without its last bytes, and on each with one bit changed.
pub(crate) fn run(name: &str, target: fn(&[u8])) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = manifest.ancestors().map(|above| above.join("fuzz/corpus"));
    let mut corpus = corpus.filter(|corpus| corpus.is_dir());
    let directory = corpus.next().expect("a corpus").join(name);
    let files = std::fs::read_dir(&directory).expect("the target has a corpus");
    let mut count = 0;
    for file in files {
        let path = file.expect("a file").path();
        let input = std::fs::read(&path).expect("a readable file");
        let mut changed = input.clone();
        if let Some(byte) = changed.get_mut(input.len() / 2) {
            *byte ^= 1 << (count % 8);
        }
        for (kind, input) in [
            ("", &input[..]),
            ("without its last third, ", &input[..input.len() / 3 * 2]),
            ("with a changed bit, ", &changed),
        ] {
            let ran = std::panic::catch_unwind(|| target(input));
            assert!(ran.is_ok(), "{kind}{} ({input:02x?})", path.display());
        }
        count += 1;
    }
    assert!(count >= 5, "only {count} inputs in {}", directory.display());
}
