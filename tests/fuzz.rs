//! Runs the fuzz targets on the inputs in `fuzz/corpus`, and on some that differ a little from them.
//! `fuzz/run` looks for new ones.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

/// Runs a target on its inputs, on each without its last bytes, and on each with one bit changed.
fn run(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
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

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name), targets::$name::run);
            }
        )*
    };
}

targets! { client deflate frames handshakes server splice urls }

#[test]
fn every_target_is_tested() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let names = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("name = "));
    for name in names
        .map(|name| name.trim_matches('"'))
        .filter(|name| *name != "h2ws-fuzz")
    {
        let tested = include_str!("fuzz.rs");
        let tested = tested
            .lines()
            .find(|line| line.starts_with("targets! {"))
            .expect("a list");
        assert!(
            tested.split(' ').any(|tested| tested == name),
            "{name} is not tested here"
        );
    }
}
