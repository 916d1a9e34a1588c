//! `tidegate plugin test`: a plugin or flow on cases out of files, in the sandbox and within the limits that it will have.

mod report;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::rig::{BEGINS_US, Rig, RigError, RigRun, component};
use super::watch::until_changed;
use crate::cases::{self, Act, Case, Outcome, WrittenMessage};
use crate::chain::offline;
use crate::cli::{Global, OutputFormat, Surroundings, say};
use crate::config::Problems;
use crate::exit::Exit;
use crate::file;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidegate plugin test                                  build the plugin in this folder, run cases/*.cases
  tidegate plugin test rule.wasm rule.cases             a component
  tidegate plugin test rule.py rule.cases               a single file, built
  tidegate plugin test number my.cases                  a plugin of this program
  tidegate plugin test --case 'keeps what is warm'      one case
  tidegate plugin test --watch                          again whenever a file is saved
  tidegate plugin test --flow climate tidegate.toml climate.cases

A file of cases:
  settings = { limit = 20 }          as in a config; also limits, grants, topics, key, topic
  case NAME                          one case; what stands before the first holds for all of them
  [topic] payload                    a message comes in; behind its topic may stand +retain,
                                     +duplicate, +qos0, +qos1, +qos2, and +name=value, a header
  [topic] b\"\\xff\"                    bytes by escapes; b\"ab\" * 500000 is long
  advance 10m                        time passes, timers tick
  at 2026-03-29T00:59:00Z            the same, until then; as the first of a case: when it begins
  # comment
What has to come of a message, or of time:
  > pass                             it goes on as it is
  > [topic] payload                  a message leaves
  > alarms [topic] payload           through another port
  > nothing                          nothing leaves, whatever the reason
  > filtered, > absorbed             the same, since it was kept back, or went into state
  > dropped                          it is given up, as `on_error = \"drop\"` says
  > rejected WORDS, > failed WORDS   a dead letter: by the plugin, in these words; a trap or a limit
  > refused WORDS                    before the first message: the settings are not taken
What is not written must not come. Without `topics` they are devices/{device}/{metric}.

Ends with 1 when a case fails, with 3 when a file of cases has mistakes, with 4 when the plugin cannot be used.";

/// Arguments of `tidegate plugin test`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Test {
    /// The plugin: a folder with its sources or its one file, a component, or the name of one that is compiled in; with --flow a config.
    #[arg(value_name = "PLUGIN", default_value = ".")]
    target: String,
    /// Files of cases, or folders of *.cases files; a plugin has them in its folder `cases`.
    #[arg(value_name = "CASES")]
    cases: Vec<PathBuf>,
    /// Run this flow of the config, with its plugins and settings.
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// Only the case of this name, or those whose names have these words.
    #[arg(long = "case", value_name = "NAME")]
    case: Option<String>,
    /// Run again whenever something is saved, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

impl Test {
    /// The cases of a plugin's folder.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            target: folder.to_string_lossy().into_owned(),
            cases: Vec::new(),
            flow: None,
            case: None,
            watch: false,
        }
    }
}

/// A file of cases.
struct File {
    path: PathBuf,
    cases: Vec<Case>,
}

/// How a case went.
#[derive(Serialize)]
struct CaseResult {
    name: String,
    file: String,
    line: usize,
    passed: bool,
    differences: Vec<StepDifference>,
}

/// A step of which something else came.
#[derive(Serialize)]
struct StepDifference {
    line: usize,
    #[serde(rename = "in")]
    input: String,
    expected: Vec<String>,
    got: Vec<String>,
    #[serde(skip)]
    pairs: Vec<cases::LinePair>,
    /// What a plugin that failed left behind: trace and last words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// All that was run.
#[derive(Serialize)]
struct Tested {
    plugins: Vec<(String, String)>,
    passed: usize,
    failed: usize,
    cases: Vec<CaseResult>,
}

/// Does what was asked.
pub(super) fn run(global: &Global, arguments: &Test, surroundings: Surroundings) -> Exit {
    loop {
        let exit = once(global, arguments, surroundings);
        if !arguments.watch {
            return exit;
        }
        until_changed(&watched(arguments));
    }
}

/// Runs the cases once.
pub(super) fn once(global: &Global, arguments: &Test, surroundings: Surroundings) -> Exit {
    let files = match files(arguments) {
        Ok(files) => files,
        Err(exit) => return exit,
    };
    match rig(global, arguments, surroundings).and_then(|rig| try_all(&rig, files)) {
        Ok(tested) => {
            match global.output {
                OutputFormat::Text => report::show(&tested),
                OutputFormat::Json => crate::cli::print_json(&tested),
            }
            if tested.failed > 0 {
                Exit::Failed
            } else {
                Exit::Done
            }
        }
        Err(error) => end(global, &error, surroundings),
    }
}

/// Says it, and answers the exit code.
pub(super) fn end(global: &Global, error: &RigError, surroundings: Surroundings) -> Exit {
    match error {
        RigError::Build(error) => error.end(),
        RigError::At { place, error } if matches!(**error, RigError::Config(_)) => {
            if let (OutputFormat::Text, RigError::Config(problems)) = (global.output, &**error) {
                say(&in_cases(place, problems));
                return Exit::Config;
            }
            end(global, error, surroundings)
        }
        RigError::Config(problems) => {
            global.show(problems, surroundings);
            Exit::Config
        }
        error => {
            say(&format!("error: {error}"));
            match error {
                RigError::Chain(_) => Exit::Plugin,
                RigError::At { .. } | RigError::OfConfig(_) | RigError::NotTaken { .. } => {
                    Exit::Config
                }
                _ => Exit::Usage,
            }
        }
    }
}

/// The mistakes of a value in a file of cases, which knows nothing of the flow that stands around it.
fn in_cases(place: &str, problems: &Problems) -> String {
    let mistakes = problems.iter().filter(|problem| !problem.code.is_warning());
    let lines = mistakes.map(|problem| {
        let hint = problem.hint.as_deref().map(|hint| format!("; {hint}"));
        let words = format!("{}{}", problem.message, hint.unwrap_or_default());
        let words = words
            .replace("flow.cases.plugin.0.", "")
            .replace("flow.cases.", "");
        format!("error: {place}: {words}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn rig(global: &Global, arguments: &Test, surroundings: Surroundings) -> Result<Rig, RigError> {
    match &arguments.flow {
        Some(flow) => Rig::of_flow(Path::new(&arguments.target), &global.set, flow),
        None => Rig::of_plugin(component(
            &arguments.target,
            is_quiet(global, surroundings),
        )?),
    }
}

/// Whether cargo keeps to mistakes: who looks on wants to see that something goes on.
pub(super) fn is_quiet(global: &Global, surroundings: Surroundings) -> bool {
    global.quiet > 0 || !surroundings.terminal
}

/// The files that are meant, read; what is wrong with them has been said.
fn files(arguments: &Test) -> Result<Vec<File>, Exit> {
    let paths = paths(arguments);
    if paths.is_empty() {
        let (target, is_file) = (&arguments.target, Path::new(&arguments.target).exists());
        if arguments.flow.is_none() && !is_file && !crate::builtin::is_meant(target) {
            say(&format!("error: {}", RigError::unknown(target)));
            return Err(Exit::Usage);
        }
        say(
            "error: there are no cases: name a file of them, or put one into the plugin's folder `cases`; with --flow the config comes before them",
        );
        return Err(Exit::Usage);
    }
    let mut files = Vec::new();
    let mut is_well = true;
    for path in paths {
        match file::read_text(&path, file::BY_HAND) {
            Err(error) => {
                say(&format!("error: cannot read `{}`: {error}", path.display()));
                is_well = false;
            }
            Ok(text) => match cases::read(&text) {
                Ok(cases) => files.push(File { path, cases }),
                Err(wrong) => {
                    is_well = false;
                    let lines = wrong
                        .0
                        .iter()
                        .map(|(line, why)| format!("error: {}:{line}: {why}", path.display()));
                    say(&lines.collect::<Vec<_>>().join("\n"));
                }
            },
        }
    }
    if !is_well {
        return Err(Exit::Config);
    }
    if let Some(name) = &arguments.case {
        keep(&mut files, name)?;
    }
    Ok(files)
}

/// Keeps the case of that name, else those whose names have it in them.
fn keep(files: &mut [File], name: &str) -> Result<(), Exit> {
    let names: Vec<String> = files
        .iter()
        .flat_map(|file| &file.cases)
        .map(|case| case.name.clone())
        .collect();
    let is_there = names.iter().any(|known| known == name);
    let is_meant = |case: &Case| {
        if is_there {
            case.name == name
        } else {
            case.name.contains(name)
        }
    };
    files
        .iter_mut()
        .for_each(|file| file.cases.retain(is_meant));
    if files.iter().any(|file| !file.cases.is_empty()) {
        return Ok(());
    }
    say(&format!(
        "error: there is no case `{name}`; there are:\n  {}",
        names.join("\n  ")
    ));
    Err(Exit::Usage)
}

fn paths(arguments: &Test) -> Vec<PathBuf> {
    let mut named = arguments.cases.clone();
    if named.is_empty() && arguments.flow.is_none() {
        named.extend(folder_of_cases(&arguments.target));
    }
    with_files_of_folders(named)
}

/// Where a plugin that is a folder has its cases, whether there are any or not.
pub(super) fn folder_of_cases(target: &str) -> Option<PathBuf> {
    let folder = Path::new(target);
    if !folder.is_dir() {
        return None;
    }
    let folder = folder.join("cases");
    Some(
        folder
            .strip_prefix(".")
            .map(Path::to_owned)
            .unwrap_or(folder),
    )
}

/// The same with the files of cases in a folder in its place.
pub(super) fn with_files_of_folders(named: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for path in named {
        let Ok(entries) = std::fs::read_dir(&path) else {
            paths.push(path);
            continue;
        };
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        found.retain(|path| path.extension().is_some_and(|end| end == "cases"));
        found.sort();
        paths.extend(found);
    }
    paths
}

fn watched(arguments: &Test) -> Vec<PathBuf> {
    let mut watched = arguments.cases.clone();
    watched.push(PathBuf::from(&arguments.target));
    watched
}

fn try_all(rig: &Rig, files: Vec<File>) -> Result<Tested, RigError> {
    let all = || {
        let mut tested = Tested {
            plugins: Vec::new(),
            passed: 0,
            failed: 0,
            cases: Vec::new(),
        };
        for file in &files {
            for case in &file.cases {
                let differences = try_case(rig, (&file.path, case), &mut tested.plugins)?;
                let passed = differences.is_empty();
                *if passed {
                    &mut tested.passed
                } else {
                    &mut tested.failed
                } += 1;
                tested.cases.push(CaseResult {
                    name: case.name.clone(),
                    file: file.path.display().to_string(),
                    line: case.line,
                    passed,
                    differences,
                });
            }
        }
        Ok(tested)
    };
    offline(rig.engine(), all)?
}

/// Where what came is not what the case says.
fn try_case(
    rig: &Rig,
    (path, case): (&Path, &Case),
    plugins: &mut Vec<(String, String)>,
) -> Result<Vec<StepDifference>, RigError> {
    let begins_us = match case.steps.get(1).map(|step| &step.act) {
        Some(Act::At(moment)) => *moment,
        _ => BEGINS_US,
    };
    let at = |error: RigError| {
        let wrong = rig.first_wrong(&case.setup);
        error.at(path, wrong.unwrap_or(case.line))
    };
    let mut run = match rig.begin(&case.setup, begins_us).map_err(at)? {
        Ok(run) => run,
        Err(refused) => {
            let start = &case.steps[0];
            return Ok(difference(
                case.line,
                "settings".to_owned(),
                (&start.expected, &[refused]),
                None,
            )
            .into_iter()
            .collect());
        }
    };
    if plugins.is_empty() {
        *plugins = run.plugins();
    }
    let mut found = Vec::new();
    for step in &case.steps {
        found.extend(try_step(&mut run, step).map_err(|error| error.at(path, step.line))?);
    }
    Ok(found)
}

fn try_step(run: &mut RigRun, step: &cases::Step) -> Result<Option<StepDifference>, RigError> {
    let (came, _) = run.act(&step.act)?;
    let (shown, input) = match &step.act {
        Act::Start => ("settings".to_owned(), None),
        Act::Message(sent) => (cases::show_message(sent), Some(sent)),
        Act::Advance(by) => (format!("advance {by:?}"), None),
        Act::At(moment) => (format!("at {}", crate::clock::utc(*moment)), None),
    };
    Ok(difference(step.line, shown, (&step.expected, &came), input))
}

fn difference(
    line: usize,
    input: String,
    (expected, came): (&[Outcome], &[Outcome]),
    sent: Option<&WrittenMessage>,
) -> Option<StepDifference> {
    if cases::agree(expected, came, sent) {
        return None;
    }
    let shown = |outcomes: &[Outcome]| outcomes.iter().map(Outcome::show).collect();
    let detail = came.iter().find_map(|outcome| match outcome {
        Outcome::Failed(detail) => detail.split_once('\n').map(|(_, rest)| rest.to_owned()),
        _ => None,
    });
    Some(StepDifference {
        line,
        input,
        expected: shown(expected),
        got: shown(came),
        pairs: cases::pairs(expected, came, sent),
        detail,
    })
}
