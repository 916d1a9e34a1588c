use super::*;
use crate::cli::swap::told::conclusion;
use crate::gateway::live::Verdict;

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
        Line::Verdict(Verdict {
            flow,
            plugin,
            verdict,
            running,
            why: Some("it trapped\x1b".to_owned()),
            undo,
        })
    };
    let exit = |outcomes: &[Outcome]| {
        outcomes
            .iter()
            .fold(Exit::Done, |exit, outcome| worse(exit, &verdict(*outcome)))
    };
    assert_eq!(exit(&[Outcome::Confirmed, Outcome::Unchanged]), Exit::Done);
    for bad in [Outcome::Refused, Outcome::RolledBack, Outcome::NotTried] {
        assert_eq!(
            exit(&[Outcome::Confirmed, bad, Outcome::Suspended]),
            Exit::Refused
        );
        let Line::Verdict(verdict) = verdict(bad) else {
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
    let Line::Verdict(verdict) = verdict(Outcome::Confirmed) else {
        unreachable!("it is one")
    };
    let text = conclusion(&verdict);
    assert!(
        text.contains("back: tidegate rollback climate/rule --to aaaaaaaaaaaa\n  it trapped"),
        "what it has against it: {text}"
    );
}
