//! Which commit a binary was made of. A package says it, by `TIDEGATE_COMMIT`; else git does, where an optimised binary is
//! made: one that is tested would have to be compiled anew with each commit.

use std::path::Path;
use std::process::Command;

/// The commit, or `unknown`.
pub fn commit(root: &Path) -> String {
    println!("cargo::rerun-if-env-changed=TIDEGATE_COMMIT");
    let given = std::env::var("TIDEGATE_COMMIT").ok();
    let is_optimised = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    given
        .filter(|commit| is_name(commit))
        .or_else(|| is_optimised.then(|| of_git(root)).flatten())
        .unwrap_or_else(|| "unknown".to_owned())
}

fn of_git(root: &Path) -> Option<String> {
    let head = git(root, &["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={}", root.join(head).display());
    git(root, &["rev-parse", "--short=12", "HEAD"]).filter(|commit| is_name(commit))
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// It is printed, so it is nothing else.
fn is_name(commit: &str) -> bool {
    (7..=64).contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}
