//! Tools of other languages: where they are looked for, in which version, and what installs them.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use serde_json::Value;

use super::error::BuildError;
use crate::cli::say;
use crate::file;

/// A tool, and the version that its templates and examples are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) home: Home,
}

/// Where a tool comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Npm,
    Pip,
}

pub(super) const QUICKJS: Tool = Tool {
    name: "componentize-qjs",
    version: "0.4.5",
    home: Home::Npm,
};
pub(super) const ESBUILD: Tool = Tool {
    name: "esbuild",
    version: "0.28.2",
    home: Home::Npm,
};
pub(super) const PYTHON: Tool = Tool {
    name: "componentize-py",
    version: "0.25.1",
    home: Home::Pip,
};
pub(super) const ZIG: Tool = Tool {
    name: "ziglang",
    version: "0.17.1",
    home: Home::Pip,
};

impl Tool {
    /// The tool as a command, from `node_modules` or `.venv` in `folder` or above, else from PATH.
    ///
    /// # Errors
    /// It is not there; the error has what installs it.
    pub(super) fn command(self, folder: &Path) -> Result<Process, BuildError> {
        let installed = folder.ancestors().find_map(|above| self.installed(above));
        let found = installed.or_else(|| self.in_path());
        let Some((command, version)) = found else {
            return Err(BuildError::NoTool {
                tool: self.name,
                version: self.version,
                command: self.install(folder),
            });
        };
        if version != self.version {
            say(&format!(
                "warning: {0} {version} is used; {0} {1} is what plugins are held to: {2}",
                self.name,
                self.version,
                self.install(folder)
            ));
        }
        Ok(command)
    }

    /// The folder `node_modules` in `folder` or above that has it.
    pub(super) fn modules(self, folder: &Path) -> Option<PathBuf> {
        let mut all = folder.ancestors().map(|above| above.join("node_modules"));
        all.find(|modules| modules.join(self.name).is_dir())
    }

    fn installed(self, above: &Path) -> Option<(Process, String)> {
        match self.home {
            Home::Npm => {
                let modules = above.join("node_modules");
                let package = modules.join(self.name).join("package.json");
                let text = file::read_text(&package, file::BY_HAND).ok()?;
                let package: Value = serde_json::from_str(&text).ok()?;
                let version = package["version"].as_str()?.to_owned();
                Some((Process::new(modules.join(".bin").join(self.name)), version))
            }
            Home::Pip => self.asked(&above.join(".venv/bin")),
        }
    }

    fn in_path(self) -> Option<(Process, String)> {
        match self.home {
            Home::Npm => None,
            Home::Pip => self.asked(Path::new("")),
        }
    }

    /// What comes by pip says its version itself.
    fn asked(self, folder: &Path) -> Option<(Process, String)> {
        let (program, before, ask): (_, &[&str], _) = if self == ZIG {
            ("python3", &["-m", "ziglang"], "version")
        } else {
            (self.name, &[], "--version")
        };
        let path = folder.join(program);
        if folder != Path::new("") && !path.exists() {
            return None;
        }
        let mut command = Process::new(&path);
        command.args(before);
        let answer = Process::new(&path)
            .args(before)
            .arg(ask)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&answer.stdout);
        let version = said.split_whitespace().last()?.to_owned();
        answer.status.success().then_some((command, version))
    }

    /// What an author types.
    fn install(self, folder: &Path) -> String {
        let (name, version, folder) = (self.name, self.version, folder.display());
        match self.home {
            Home::Npm => {
                format!("npm install --prefix '{folder}' --save-dev --save-exact {name}@{version}")
            }
            Home::Pip => format!(
                "python3 -m venv '{folder}/.venv' && '{folder}/.venv/bin/pip' install {name}=={version}"
            ),
        }
    }
}

/// Runs a tool to its end; what it says is for the author, who sees it as it comes.
pub(super) fn run(
    tool: &'static str,
    command: &mut Process,
    path: &Path,
) -> Result<(), BuildError> {
    let ended = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(BuildError::Failed {
            tool,
            path: path.to_path_buf(),
        }),
        Err(source) => Err(BuildError::NoProgram {
            program: tool,
            remedy: "it lies where it is looked for, and does not run; install it again",
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_what_installs_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = QUICKJS.command(folder.path()).unwrap_err().to_string();
        let typed = format!(
            "npm install --prefix '{}' --save-dev --save-exact componentize-qjs@0.4.5",
            folder.path().display()
        );
        assert!(error.contains(&typed), "{error}");
    }

    #[test]
    fn a_package_is_found_above_its_rule() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("node_modules/esbuild");
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("package.json"), r#"{"version":"0.28.2"}"#).unwrap();
        let rule = folder.path().join("rules/a");
        std::fs::create_dir_all(&rule).unwrap();
        let command = ESBUILD.command(&rule).unwrap();
        let program = Path::new(command.get_program());
        assert_eq!(program, folder.path().join("node_modules/.bin/esbuild"));
        assert_eq!(
            ESBUILD.modules(&rule),
            Some(folder.path().join("node_modules"))
        );
    }
}
