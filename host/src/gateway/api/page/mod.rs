//! The page at the loopback port: what `tidegate status` tells, as a drawing and tables, for reading only.
//!
//! All of it is in the binary. The server renders the numbers, so that it says something without scripts; with them it is kept
//! up to date. Nothing may come from elsewhere, and no markup from outside: see the policy that goes with each answer.

mod events;
mod html;
mod view;

use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use self::events::PageEvents;
use self::view::Views;
use crate::admin::{ApiResult, Route, Scope, json};
use crate::gateway::running::RunningGateway;

/// What a browser may load and do: what we serve, and nothing else.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Files of the page: path, kind, content.
const FILES: [(&str, &str, &[u8]); 7] = [
    ("/page/page.css", CSS, include_bytes!("page.css")),
    ("/page/main.js", SCRIPT, include_bytes!("main.js")),
    ("/page/devices.js", SCRIPT, include_bytes!("devices.js")),
    ("/page/drawing.js", SCRIPT, include_bytes!("drawing.js")),
    ("/page/tables.js", SCRIPT, include_bytes!("tables.js")),
    ("/page/words.js", SCRIPT, include_bytes!("words.js")),
    (
        "/page/icon.svg",
        "image/svg+xml",
        include_bytes!("icon.svg"),
    ),
];
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page is made of.
#[derive(Clone)]
pub(super) struct Page {
    views: Arc<Views>,
    events: Arc<PageEvents>,
}

impl Page {
    pub(super) fn of(running: &Arc<RunningGateway>) -> Self {
        let views = Arc::new(Views::of(running));
        let events = Arc::new(PageEvents::of(&views));
        Self { views, events }
    }
}

/// Its routes, for whoever has one.
pub(super) fn routes<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Page: FromRef<S>,
{
    let files = FILES.map(|(path, kind, content)| {
        Route::get(Scope::Open, path, move || async move {
            guarded(([(header::CONTENT_TYPE, kind)], content))
        })
    });
    let own = [
        Route::get(Scope::Open, "/", show),
        Route::get(Scope::Open, "/api/view", view),
        Route::get(Scope::Open, "/api/events", listen),
    ];
    own.into_iter().chain(files).collect()
}

async fn show(State(page): State<Page>) -> ApiResult {
    let html = tokio::task::spawn_blocking(move || html::page(&page.views.now())).await?;
    Ok(guarded((
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        html,
    )))
}

async fn view(State(page): State<Page>) -> ApiResult {
    let view = tokio::task::spawn_blocking(move || json(&page.views.now())).await?;
    Ok(guarded(view))
}

async fn listen(State(page): State<Page>) -> Response {
    guarded(page.events.listen())
}

/// With what keeps a browser from doing more than it is meant to.
fn guarded(answer: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_loads_nothing_from_elsewhere() {
        let texts = FILES
            .iter()
            .map(|(.., content)| String::from_utf8_lossy(content).into_owned());
        let all: String = texts
            .chain([include_str!("index.html").to_owned()])
            .collect();
        // Without compression: with it, it is a third.
        assert!(all.len() < 60 << 10, "{} bytes", all.len());
        for foreign in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "onclick",
            "style=",
            "https://",
        ] {
            assert!(!all.contains(foreign), "{foreign}");
        }
        let addresses = all.matches("http://").count();
        let names = all.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(addresses, names, "something is loaded from elsewhere");
        assert!(
            !include_str!("index.html").contains("<script>")
                && !include_str!("index.html").contains("<style")
        );
    }
}
