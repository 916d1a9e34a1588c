//! The cookbook beside `examples/tasks`: each recipe as it is printed.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::workspace;
use tidegate_tests::cases;

use super::{told, with_cases};

pub fn cases() -> Vec<Trial> {
    cases![every_recipe_does_what_it_says]
}

/// The first block of this language in a section.
fn block<'s>(section: &'s str, language: &str) -> Option<&'s str> {
    let (_, rest) = section.split_once(&format!("```{language}\n"))?;
    rest.split_once("```").map(|(block, _)| block)
}

/// Every section of `examples/tasks/README.md`: its config against the example's, and its messages through that flow.
/// Guarantee: whoever copies a recipe has what the page says, with settings alone.
fn every_recipe_does_what_it_says() -> Result<()> {
    let page = fs::read_to_string(workspace().join("examples/tasks/README.md"))?;
    let config = workspace().join("examples/tasks/tidegate.toml");
    let example = fs::read_to_string(&config)?;
    let config = config.to_str().context("a path is text")?;
    let mut recipes = 0;
    for section in page.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let Some(toml) = block(section, "toml") else {
            continue;
        };
        ensure!(example.contains(toml), "`{title}` is not in the example");
        let flow = toml
            .lines()
            .find_map(|line| line.strip_prefix("[flow.")?.strip_suffix(']'))
            .with_context(|| format!("`{title}` names no flow"))?;
        let messages = block(section, "text").with_context(|| format!("`{title}` shows none"))?;
        let cases = with_cases(&format!("case {title}\n{messages}"))?;
        told(
            cases.path(),
            &["plugin", "test", "--flow", flow, config, "a.cases"],
            "",
        )?
        .expect(0, &["1 passed"])?;
        recipes += 1;
    }
    ensure!(recipes >= 15, "only {recipes} recipes are shown");
    Ok(())
}
