//! Invariants of ARCHITECTURE.md that show in the source text.
pub fn cases() -> Vec<libtest_mimic::Trial> {
    vec![]
}
