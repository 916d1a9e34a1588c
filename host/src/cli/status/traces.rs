//! How traces fare, in the account at a glance.

use crate::cli::show::{of, row};
use crate::telemetry::trace::TraceAccount;

/// What becomes of the spans of traced messages.
pub(super) fn row_of(account: &TraceAccount) -> String {
    let mut details = vec![
        format!("{} % of the devices", account.share * 100.0),
        of(account.waiting, "span") + " waiting",
        of(account.dropped, "span") + " without room",
        of(account.refused, "span") + " refused",
    ];
    let trouble = account.trouble.iter();
    details.extend(trouble.map(|why| format!("the collector takes none: {why}")));
    row("traces", &(of(account.sent, "span") + " sent"), &details)
}
