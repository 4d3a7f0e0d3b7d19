//! The h2ws program.
fn main() {}
