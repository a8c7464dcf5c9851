//! That the README's example is this program, and that it works.
#![allow(clippy::disallowed_methods, reason = "this test reads a file and starts a process")]

use std::{fs, path::Path, process::Command};

#[test]
fn the_readme_shows_this_program() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("../../README.md")).unwrap();
    let program = fs::read_to_string(here.join("src/main.rs")).unwrap();
    assert!(readme.contains(&format!("```rust\n{program}```")), "they differ");
    assert!(program.lines().count() < 40);
}

#[test]
fn bob_hears_what_ann_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_hello")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello, hello!\n");
}
