//! A plugin that is made, built, tested, and brought into a running gateway; and the guide, word for word.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::Config;
use tidegate_tests::binary::{tidegate, workspace};
use tidegate_tests::cases;

use super::{Told, cargo, run, told};
use crate::scene::{Scene, plugin_file};

pub fn cases() -> Vec<Trial> {
    cases![
        a_new_plugin_builds_offline_and_passes_its_cases,
        what_passes_its_cases_is_swapped_in_and_nothing_else,
        the_guide_works_as_it_is_written,
    ]
}

/// `new` and `test` in an empty folder, with no network for cargo; then with a rule that is wrong.
/// Guarantee: the first five minutes work, and a second `new` overwrites nothing.
fn a_new_plugin_builds_offline_and_passes_its_cases() -> Result<()> {
    let folder = tempfile::tempdir()?;
    told(folder.path(), &["plugin", "new", "my-rule"], "")?.expect(0, &["cd my-rule"])?;
    let project = folder.path().join("my-rule");
    told(&project, &["plugin", "test"], "")?
        .expect(0, &["5 cases: 5 passed, 0 failed", "my_rule"])?;
    told(&project, &["plugin", "build"], "")?.expect(0, &["my_rule.wasm"])?;
    let code = project.join("src/lib.rs");
    let text = fs::read_to_string(&code)?;
    fs::write(&code, text.replace("> self.limit", "< self.limit"))?;
    let failed = [
        "FAIL  keeps what is warm",
        "my-rule.cases:5: ",
        "expected",
        "3 passed, 2 failed",
    ];
    told(&project, &["plugin", "test"], "")?.expect(1, &failed)?;
    fs::write(&code, text.replace("self.limit", "self.limt"))?;
    told(&project, &["plugin", "test"], "")?.expect(1, &["limt"])?;
    told(folder.path(), &["plugin", "new", "my-rule"], "")?.expect(1, &["is there already"])?;
    ensure!(
        fs::read_to_string(&code)?.contains("limt"),
        "what was there is gone"
    );
    told(folder.path(), &["plugin", "new", "../x"], "")?.expect(2, &["my-rule"])
}

/// A plugin that runs in a gateway is changed and brought in by `dev`; then with a rule that its cases forbid.
/// Guarantee: what has passed runs, and what has not changes nothing.
fn what_passes_its_cases_is_swapped_in_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    told(folder.path(), &["plugin", "new", "dev-rule"], "")?.expect(0, &[])?;
    let project = folder.path().join("dev-rule");
    let built = told(&project, &["plugin", "build"], "")?;
    let path = built.out.split("  ").next().context("a path is printed")?;
    let config = Config::forwarding()
        .step("all", &plugin_file("rule", "rule.wasm"))
        .put("flow.all.plugin.0", "settings = { limit = 20 }");
    let scene = Scene::with(&config, &[("rule.wasm", fs::read(path)?)])?;
    let data_dir = scene.gateway.folder().join("data");
    let data_dir = data_dir.to_str().context("a path is text")?;
    let dev = || {
        told(
            &project,
            &[
                "plugin",
                "dev",
                "all/rule",
                "--once",
                "--data-dir",
                data_dir,
            ],
            "",
        )
    };
    let code = project.join("src/lib.rs");
    let text = fs::read_to_string(&code)?;
    let better = "host::info(\"seen\");\n        Ok(message.number(\"temperature\")? > self.limit)";
    fs::write(
        &code,
        text.replace("Ok(message.number(\"temperature\")? > self.limit)", better),
    )?;
    dev()?.expect(0, &["5 passed", "swapped", "runs now"])?;
    let running = || {
        told(
            folder.path(),
            &["plugins", "--data-dir", data_dir, "-o", "json"],
            "",
        )
        .map(|told| told.out)
    };
    let before = running()?;
    fs::write(&code, text.replace("> self.limit", "< self.limit"))?;
    dev()?.expect(1, &["FAIL  keeps what is warm", "nothing is swapped in"])?;
    ensure!(running()? == before, "something was swapped in");
    Ok(())
}

/// `plugins/README.md`: its files and commands, in their order.
/// Guarantee: whoever follows it sees what it shows.
fn the_guide_works_as_it_is_written() -> Result<()> {
    let guide = fs::read_to_string(workspace().join("plugins/README.md"))?;
    let (path, more) = guide
        .split_once("## More than a filter")
        .context("the guide's second part is gone")?;
    let folder = tempfile::tempdir()?;
    let mut follower = Follower {
        at: folder.path().to_owned(),
        file: None,
        commands: 0,
    };
    let mut lines = path.lines();
    while let Some(line) = lines.next() {
        follower.note(line);
        if let Some(language) = line
            .strip_prefix("```")
            .filter(|language| !language.is_empty())
        {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            follower.follow(language, &block)?;
        }
    }
    ensure!(
        follower.commands >= 6,
        "only {} commands were found",
        follower.commands
    );
    let block = more
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    fs::write(
        follower.at.join("src/lib.rs"),
        block.context("the larger plugin is gone")?,
    )?;
    told(&follower.at, &["plugin", "build"], "")?.expect(0, &["above.wasm"])
}

/// Somebody who does what the guide says.
struct Follower {
    at: PathBuf,
    /// Where the next block belongs, and whether it goes behind what is there.
    file: Option<(String, bool)>,
    commands: usize,
}

impl Follower {
    fn note(&mut self, line: &str) {
        let named = line.split('`').nth(1).filter(|_| line.ends_with("`:"));
        if let Some(name) = named {
            self.file = Some((name.to_owned(), line.starts_with("At the end of")));
        }
    }

    fn follow(&mut self, language: &str, block: &[&str]) -> Result<()> {
        if language == "console" {
            return self.type_all(block);
        }
        let Some((name, is_more)) = self.file.take() else {
            return Ok(());
        };
        let mut options = OpenOptions::new();
        options.write(true).append(is_more).truncate(!is_more);
        let mut file = options
            .open(self.at.join(&name))
            .with_context(|| format!("`{name}` is not there"))?;
        Ok(writeln!(file, "{}", block.join("\n"))?)
    }

    fn type_all(&mut self, block: &[&str]) -> Result<()> {
        let mut lines = block.iter().peekable();
        while let Some(line) = lines.next() {
            let command = line
                .strip_prefix("$ ")
                .with_context(|| format!("no command: {line}"))?;
            let mut shown = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                shown.push(*line);
            }
            let told = typed(&self.at, command)?;
            ensure!(
                told.code == Some(0),
                "`{command}` failed:\n{}\n{}",
                told.out,
                told.err
            );
            for line in shown.iter().filter(|line| !line.contains('…')) {
                ensure!(
                    told.out.contains(line),
                    "`{command}` does not say `{line}`:\n{}\n{}",
                    told.out,
                    told.err
                );
            }
            self.commands += 1;
            if let Some((_, to)) = command.split_once("cd ") {
                self.at
                    .push(to.split([' ', '&']).next().unwrap_or_default());
            }
        }
        Ok(())
    }
}

fn typed(folder: &Path, command: &str) -> Result<Told> {
    let program = tidegate()?.parent().context("a program lies in a folder")?;
    let path = format!("{}:{}", program.display(), std::env::var("PATH")?);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .envs(cargo());
    run(&mut shell, "")
}
