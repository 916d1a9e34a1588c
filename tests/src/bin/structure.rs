//! Prints the structure of the host: files, sizes, circles, arrows that point back up, habits. `just structure [PART [CHECKOUT]]`:
//! a part is a folder below `host/src`; a checkout is the root of another one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use tidegate_tests::binary::workspace;
use tidegate_tests::source_text::{Source, sources_at};
use tidegate_tests::structure::{Graph, functions, percentile, short_docs, tuple_lets, types};

const ROOT: &str = "host/src";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().unwrap_or_default();
    let root = arguments
        .next()
        .map_or_else(|| workspace().to_owned(), PathBuf::from);
    let all = sources_at(&root, ROOT)?;
    let graph = Graph::of(&all, ROOT);
    let below = format!("{ROOT}/{part}");
    let of_part: Vec<&Source> = all
        .iter()
        .filter(|source| source.path.starts_with(&below) && !source.code.trim().is_empty())
        .collect();
    folders(&of_part);
    circles(&graph, &below);
    sizes(&of_part);
    habits(&of_part);
    Ok(())
}

fn folders(sources: &[&Source]) {
    let mut folders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for source in sources {
        let folder = source
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        folders.entry(folder).or_default().push(source.code_lines());
    }
    println!(
        "{:<42} {:>5} {:>7} {:>5}",
        "folder", "files", "lines", "max"
    );
    for (folder, lines) in &folders {
        println!(
            "{folder:<42} {:>5} {:>7} {:>5}",
            lines.len(),
            lines.iter().sum::<usize>(),
            lines.iter().max().unwrap_or(&0)
        );
    }
}

fn circles(graph: &Graph, below: &str) {
    let is_below = |file: usize| graph.files[file].starts_with(below);
    let short = |file: usize| {
        graph.files[file]
            .trim_start_matches(ROOT)
            .trim_start_matches('/')
    };
    let from_here = (0..graph.files.len()).filter(|file| is_below(*file));
    println!(
        "\narrows between files: {}",
        from_here
            .map(|file| graph.arrows[file].len())
            .sum::<usize>()
    );
    let circles: Vec<_> = graph
        .circles()
        .into_iter()
        .filter(|circle| circle.iter().any(|file| is_below(*file)))
        .collect();
    let up: usize = circles
        .iter()
        .map(|circle| graph.arrows_up(circle).len())
        .sum();
    println!(
        "circles of files: {}, arrows that point back up: {up}",
        circles.len()
    );
    for circle in &circles {
        println!(
            "  {} files: {}",
            circle.len(),
            circle
                .iter()
                .map(|file| short(*file))
                .collect::<Vec<_>>()
                .join(" ")
        );
        graph
            .arrows_up(circle)
            .iter()
            .for_each(|(from, to)| println!("    up: {} -> {}", short(*from), short(*to)));
    }
}

fn sizes(sources: &[&Source]) {
    let lines: Vec<usize> = sources.iter().map(|source| source.code_lines()).collect();
    let of_functions = sources.iter().flat_map(|source| {
        functions(source)
            .into_iter()
            .map(|(name, lines)| (lines, name, &source.path))
    });
    let mut of_functions: Vec<_> = of_functions.collect();
    of_functions.sort_by(|one, other| other.cmp(one));
    let lengths: Vec<usize> = of_functions.iter().map(|(lines, ..)| *lines).collect();
    println!();
    for (what, values) in [("files", lines), ("functions", lengths)] {
        let of = |of_hundred| percentile(&values, of_hundred);
        println!(
            "{what}: {}, lines p50 {} p90 {} max {}",
            values.len(),
            of(50),
            of(90),
            of(100)
        );
    }
    for (lines, name, path) in of_functions.iter().take_while(|(lines, ..)| *lines > 40) {
        println!("  over 40: {lines} {name} {path}");
    }
}

fn habits(sources: &[&Source]) {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    sources
        .iter()
        .flat_map(|source| types(source))
        .for_each(|name| *names.entry(name).or_default() += 1);
    let twice = names.values().filter(|count| **count > 1).count();
    println!(
        "\ntype names: {}, of them in several files: {twice}",
        names.len()
    );
    println!(
        "tuple lets: {}",
        sources
            .iter()
            .map(|source| tuple_lets(source))
            .sum::<usize>()
    );
    println!(
        "doc blocks of three words or fewer: {}",
        sources
            .iter()
            .map(|source| short_docs(source).len())
            .sum::<usize>()
    );
}
