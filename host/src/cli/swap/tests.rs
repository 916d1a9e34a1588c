use super::*;
use crate::cli::swap::told::conclusion;
use crate::gateway::live::PluginVerdict;

#[test]
fn shares_are_percentages_or_parts_of_one() {
    assert_eq!(
        (share("10%"), share("0.1"), share("100 %")),
        (Ok(0.1), Ok(0.1), Ok(1.0))
    );
    assert!(
        ["0", "101%", "-1", "x", "", "%", "NaN"]
            .iter()
            .all(|text| share(text).is_err())
    );
}

#[test]
fn the_first_that_goes_wrong_decides_about_the_exit_code() {
    let verdict = |verdict| {
        let (flow, plugin, running) = ("climate".to_owned(), "rule".to_owned(), "a".repeat(64));
        let undo = Some("tidegate rollback climate/rule --to aaaaaaaaaaaa".to_owned());
        ChangeLine::Verdict(PluginVerdict {
            flow,
            plugin,
            verdict,
            running,
            why: Some("it trapped\x1b".to_owned()),
            undo,
        })
    };
    let exit = |outcomes: &[ChangeOutcome]| {
        outcomes
            .iter()
            .fold(Exit::Done, |exit, outcome| worse(exit, &verdict(*outcome)))
    };
    assert_eq!(
        exit(&[ChangeOutcome::Confirmed, ChangeOutcome::Unchanged]),
        Exit::Done
    );
    for bad in [
        ChangeOutcome::Refused,
        ChangeOutcome::RolledBack,
        ChangeOutcome::NotTried,
    ] {
        assert_eq!(
            exit(&[ChangeOutcome::Confirmed, bad, ChangeOutcome::Suspended]),
            Exit::Refused
        );
        let ChangeLine::Verdict(verdict) = verdict(bad) else {
            unreachable!("it is one")
        };
        let text = conclusion(&verdict);
        assert!(
            text.contains("aaaaaaaaaaaa runs on")
                && text.contains("it trapped")
                && !text.contains('\x1b'),
            "{text}"
        );
    }
    let ChangeLine::Verdict(verdict) = verdict(ChangeOutcome::Confirmed) else {
        unreachable!("it is one")
    };
    let text = conclusion(&verdict);
    assert!(
        text.contains("back: tidegate rollback climate/rule --to aaaaaaaaaaaa\n  it trapped"),
        "what it has against it: {text}"
    );
}
