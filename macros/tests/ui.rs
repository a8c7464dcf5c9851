//! What compiles, and what the compiler says about what does not.
//!
//! After a change to an error, `TRYBUILD=overwrite cargo test -p annulus-macros --test ui` writes the
//! new text.

#[test]
fn strict_crates_compile() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[test]
fn errors_point_at_the_code_and_say_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
