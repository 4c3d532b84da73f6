//! What a program that cannot be is told: the compiler's message names the user's type and says what to do.

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
