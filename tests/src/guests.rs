//! placeholder until branch sdk
pub fn path(_: &str) -> Option<std::path::PathBuf> {
    None
}
