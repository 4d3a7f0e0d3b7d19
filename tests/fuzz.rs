//! Runs the fuzz targets of the library on the inputs in `fuzz/corpus`, and on some that differ a
//! little from them. `cli/src/fuzz.rs` runs those of the program; `fuzz/run` looks for new inputs.

#[path = "../fuzz/src/lib.rs"]
mod targets;

#[path = "../fuzz/src/corpus.rs"]
mod corpus;

use corpus::run;

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
        .filter_map(|line| line.strip_prefix("name = "))
        .map(|name| name.trim_matches('"'))
        .filter(|name| *name != "h2ws-fuzz");
    let tested = include_str!("fuzz.rs");
    let tested = tested
        .lines()
        .find(|line| line.starts_with("targets! {"))
        .expect("a list");
    let of_program = include_str!("../cli/src/fuzz.rs");
    for name in names {
        assert!(
            tested.split(' ').any(|tested| tested == name)
                || of_program.contains(&format!("corpus::run(\"{name}\", super::{name})")),
            "{name} is not tested"
        );
    }
}
