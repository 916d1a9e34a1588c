use super::*;

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn global_arguments_stand_before_or_after_the_command() {
    let before = Cli::parse_from(["tidegate", "-c", "a.toml", "--set", "a.b=1", "check"]);
    let after = Cli::parse_from([
        "tidegate", "check", "--config", "a.toml", "--set", "a.b=1", "-vv",
    ]);
    assert_eq!(
        (before.global.config, before.global.set),
        (after.global.config, after.global.set)
    );
    assert_eq!(after.global.verbose, 2);
}

#[test]
fn every_command_has_an_example() {
    for command in Cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let leaves: Vec<_> = if command.has_subcommands() {
            command.get_subcommands().collect()
        } else {
            vec![command]
        };
        for leaf in leaves {
            let help = leaf
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("tidegate "),
                "`{}` has no example",
                leaf.get_name()
            );
            // The terminal wraps them: a line that ends before its sentence does would be wrapped twice.
            let lines: Vec<&str> = help.lines().collect();
            let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
            let mut pairs = lines.windows(2);
            let broken = pairs.find(|pair| {
                pair.iter().all(|line| is_prose(line)) && !pair[0].ends_with(['.', ':'])
            });
            assert_eq!(broken, None, "`{}`", leaf.get_name());
        }
    }
}
