//! The sessions of `docs/cli.md`, which tests run and compare with what is written there.

/// Returns the output that is documented for a command, which stands behind `$ ` in its block.
#[track_caller]
pub(crate) fn output(command: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
    let page = std::fs::read_to_string(path).expect("docs/cli.md");
    let start = page.find(&format!("$ {command}\n")).expect(command);
    let block = page[start..].split("```").next().expect("a block");
    let (_, output) = block.split_once('\n').expect("lines");
    output.trim_end().to_owned()
}

/// Replaces numbers, with the units of times, and the lengths of gaps and bars, which differ in every
/// run.
pub(crate) fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut chars = text.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        let mut skip = |also: &dyn Fn(char) -> bool| while chars.next_if(|c| also(*c)).is_some() {};
        match c {
            '0'..='9' => {
                skip(&|c| c.is_ascii_digit() || ".,nµms".contains(c));
                shape.push('N');
            }
            ' ' => {
                skip(&|c| c == ' ');
                shape.push(' ');
            }
            c => shape.push(c),
        }
    }
    shape
}
