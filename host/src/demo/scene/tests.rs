use super::*;

#[test]
fn the_plan_fills_the_time_of_sending_and_no_more() {
    let sending = Duration::from_secs(30);
    let plan = Timetable::of(sending);
    let total = plan.before_cut
        + plan.before_swaps
        + plan.between_swaps
        + plan.after_swaps
        + plan.after_restore;
    assert!(total <= sending && total >= sending.mul_f64(0.9));
}

#[test]
fn settled_means_every_message_has_a_fate_and_nothing_waits() {
    let mut sample = DemoSample::default();
    sample.progress.accepted = 10;
    sample.progress.delivered = 6;
    sample.figures.filtered = 4;
    assert!(is_settled(&sample));
    sample.figures.owed = 1;
    assert!(!is_settled(&sample));
    sample.figures.owed = 0;
    sample.figures.filtered = 3;
    assert!(!is_settled(&sample));
}
