use super::*;

#[test]
fn a_folder_that_cannot_be_made_is_told_from_one_that_can() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    let why = |path: &Path| unmakeable(path).map(|(_, why)| why);
    assert_eq!((why(&at("a/b/c")), why(folder.path())), (None, None));
    assert_eq!(why(&at("file/data")), Some("is not a folder"));
    assert_eq!(why(&at("link")), Some("is a link that leads nowhere"));
    assert_eq!(why(Path::new("/dev/null/x")), Some("is not a folder"));
    assert_eq!(
        why(Path::new("/proc/tidegate")),
        Some("is the kernel's and keeps nothing")
    );
}
