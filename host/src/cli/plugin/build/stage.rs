//! Where sources lie while they are built: a copy, with the module and the contract beside them, so that no tool writes into
//! an author's folder; and whether what was built last is of these sources.
//!
//! ```text
//! <folder>/target/<language>/<name>.wasm     the component
//! <folder>/target/<language>/<name>.sources  digest of what it was built of
//! <folder>/target/<language>/code/           what was compiled of it
//! <folder>/target/<language>/stage/          the copy
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::BuildError;
use crate::cli::plugin::language::{Language, PluginSource};
use crate::file;
use crate::trust;

/// Sources, and how deep their folders may lie.
const MOST_SOURCES: usize = 1_000;
const DEEPEST: usize = 8;
/// Bytes of one of them: tables of numbers are sources, too.
const LONGEST: u64 = 16 << 20;

/// The contract, for tools that read it.
pub(super) const CONTRACT: &str = include_str!("../../../../../wit/tidegate.wit");

/// A copy that is built in.
pub(super) struct BuildStage {
    /// The folder of the copy.
    pub(super) folder: PathBuf,
    /// The copy of the entry in it.
    pub(super) entry: PathBuf,
    /// Where the component goes.
    pub(super) component: PathBuf,
    digest: String,
    digest_path: PathBuf,
}

/// Where stands what a component was built of.
pub(super) fn digest_path(component: &Path) -> PathBuf {
    component.with_extension("sources")
}

fn write(path: &Path, content: &[u8]) -> Result<(), BuildError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, content))
        .map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> BuildError {
    BuildError::Write {
        path: path.to_path_buf(),
        source,
    }
}

impl BuildStage {
    /// Copies the sources, and adds the module where they have none.
    pub(super) fn open(source: &PluginSource) -> Result<Self, BuildError> {
        let target = source.folder.join("target").join(source.language.folder());
        let folder = target.join("stage");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&folder, error));
            }
            _ => {}
        }
        let mut texts = Vec::new();
        gather(source, &source.folder, DEEPEST, &mut texts)?;
        for (path, text) in source.language.module() {
            if !texts.iter().any(|(known, _)| known == Path::new(path)) {
                texts.push((PathBuf::from(path), text.as_bytes().to_vec()));
            }
        }
        texts.sort();
        let mut all = vec![env!("CARGO_PKG_VERSION").as_bytes().to_vec()];
        for (path, text) in &texts {
            write(&folder.join(path), text)?;
            all.push(path.to_string_lossy().into_owned().into_bytes());
            all.push(trust::digest(text).as_bytes().to_vec());
        }
        let entry = source
            .entry
            .strip_prefix(&source.folder)
            .unwrap_or(&source.entry);
        all.push(entry.to_string_lossy().into_owned().into_bytes());
        let component = target.join(format!("{}.wasm", source.name));
        Ok(Self {
            entry: folder.join(entry),
            digest: trust::digest(&all.join(&b'\n')).to_string(),
            digest_path: digest_path(&component),
            component,
            folder,
        })
    }

    /// Whether the component there is was built of these sources.
    pub(super) fn is_built(&self) -> bool {
        let before = file::read_text(&self.digest_path, file::BY_HAND);
        self.component.is_file() && before.is_ok_and(|before| before == self.digest)
    }

    /// What was made is the component from now on.
    pub(super) fn keep(&self, made: &Path) -> Result<(), BuildError> {
        fs::rename(made, &self.component).map_err(|source| failed(&self.component, source))?;
        write(&self.digest_path, self.digest.as_bytes())
    }

    /// Writes the contract and a world of it for tools that read a folder; the answer is the folder.
    pub(super) fn contract(&self, world: &str) -> Result<PathBuf, BuildError> {
        let folder = self.folder.join("wit");
        write(&folder.join("world.wit"), world.as_bytes())?;
        write(
            &folder.join("deps/tidegate/tidegate.wit"),
            CONTRACT.as_bytes(),
        )?;
        Ok(folder)
    }

    /// Text of a file of the copy.
    pub(super) fn text(&self, path: &Path) -> Result<String, BuildError> {
        file::read_text(path, LONGEST).map_err(|source| BuildError::Read {
            path: path.to_path_buf(),
            source,
        })
    }

    /// Writes a file of the copy.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), BuildError> {
        write(path, text.as_bytes())
    }
}

/// Sources below `folder`, by their paths from the plugin's folder. What is hidden, installed or built is none of them.
fn gather(
    source: &PluginSource,
    folder: &Path,
    depth: usize,
    texts: &mut Vec<(PathBuf, Vec<u8>)>,
) -> Result<(), BuildError> {
    let unread = |path: &Path| {
        let path = path.to_path_buf();
        move |source| BuildError::Read { path, source }
    };
    for entry in fs::read_dir(folder).map_err(unread(folder))? {
        let path = entry.map_err(unread(folder))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(".");
        let is_none = name.starts_with('.')
            || ["target", "node_modules", "__pycache__"].contains(&name)
            || is_other_rule(source, folder, &path);
        if is_none {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                gather(source, &path, depth - 1, texts)?;
            }
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !ending.is_some_and(|ending| source.language.endings().contains(&ending)) {
            continue;
        }
        if texts.len() >= MOST_SOURCES {
            return Err(BuildError::TooMany {
                path: source.folder.clone(),
                most: MOST_SOURCES,
            });
        }
        let text = file::read(&path, LONGEST).map_err(unread(&path))?;
        let own = path.strip_prefix(&source.folder).unwrap_or(&path);
        texts.push((own.to_path_buf(), text));
    }
    Ok(())
}

/// Of C and Go all sources of a folder are one program; where a file was named, it is that file.
fn is_other_rule(source: &PluginSource, folder: &Path, path: &Path) -> bool {
    let is_named = source.entry.file_name() != Some(source.language.entry().as_ref());
    let is_program = matches!(source.language, Language::C | Language::Go)
        && matches!(
            path.extension().and_then(|ending| ending.to_str()),
            Some("c" | "go")
        );
    is_named && is_program && folder == source.folder && path != source.entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(folder: &Path, name: &str) -> BuildStage {
        BuildStage::open(&PluginSource::find(&folder.join(name)).unwrap()).unwrap()
    }

    #[test]
    fn what_is_built_is_of_these_sources_or_built_again() {
        let folder = tempfile::tempdir().unwrap();
        let rule = folder.path().join("a.py");
        fs::write(&rule, "one").unwrap();
        let stage = staged(folder.path(), "a.py");
        assert!(!stage.is_built());
        let making = stage.component.with_extension("making");
        fs::write(&making, "").unwrap();
        stage.keep(&making).unwrap();
        assert!(staged(folder.path(), "a.py").is_built());
        fs::write(&rule, "two").unwrap();
        assert!(!staged(folder.path(), "a.py").is_built());
    }

    #[test]
    fn the_module_is_put_beside_a_rule_that_has_none_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.js"), "").unwrap();
        fs::write(folder.path().join("b.c"), "").unwrap();
        fs::write(folder.path().join("c.c"), "").unwrap();
        let stage = staged(folder.path(), "a.js");
        assert!(
            stage
                .text(&stage.folder.join("tidegate.js"))
                .unwrap()
                .contains("define")
        );
        fs::write(folder.path().join("tidegate.js"), "mine").unwrap();
        let stage = staged(folder.path(), "a.js");
        assert_eq!(
            stage.text(&stage.folder.join("tidegate.js")).unwrap(),
            "mine"
        );
        let stage = staged(folder.path(), "b.c");
        assert!(stage.folder.join("b.c").exists() && !stage.folder.join("c.c").exists());
    }
}
