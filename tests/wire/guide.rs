//! The guide's diffs show code that compiles.

/// Each diff of the migrating guide is followed by the code that it leads to, which is compiled as a
/// documentation test, so that a line that is added does not go stale.
#[test]
fn added_lines_of_diffs_are_in_compiled_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/migrating.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let mut checked = 0;
    for section in guide.split("\n# From ").skip(1) {
        let blocks: Vec<_> = section.split("```").skip(1).step_by(2).collect();
        let compiled: Vec<_> = blocks
            .iter()
            .filter(|block| block.starts_with("rust\n") || block.starts_with("rust,no_run\n"))
            .flat_map(|block| block.lines().map(str::trim))
            .collect();
        let diffs = blocks.iter().filter(|block| block.starts_with("diff\n"));
        let kept = diffs
            .flat_map(|diff| diff.lines().skip(1))
            .filter_map(|line| line.strip_prefix(['+', ' ']));
        for line in kept {
            let line = line.trim();
            let is_there = line == "Ok(())" || compiled.contains(&line);
            assert!(is_there, "not compiled: {line}");
            checked += 1;
        }
    }
    assert!(checked > 15, "{checked}");
}
