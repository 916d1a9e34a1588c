//! The gateway's routes, by what a caller may call. There are two routers, so that a transport whose callers may only read
//! has nothing else to give away; and each request to operate is looked at once more, whichever way it came.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::caller::{Caller, Scope};

/// Largest request: a component, or a page of messages that are imported, and what is wanted of it.
const BODY_BYTES: usize = (32 << 20) + (64 << 10);

/// Method and path, and who answers.
pub struct Route<S> {
    pub method: &'static str,
    pub path: &'static str,
    handler: MethodRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    pub fn get<T: 'static>(path: &'static str, handler: impl Handler<T, S>) -> Self {
        Self {
            method: "GET",
            path,
            handler: get(handler),
        }
    }

    pub fn post<T: 'static>(path: &'static str, handler: impl Handler<T, S>) -> Self {
        Self {
            method: "POST",
            path,
            handler: post(handler),
        }
    }
}

/// Routes for reading and routes for operating. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Routes {
    reading: Router,
    operating: Router,
}

impl Routes {
    /// Of handlers that all work on `state`.
    pub fn new<S: Clone + Send + Sync + 'static>(
        reading: Vec<Route<S>>,
        operating: Vec<Route<S>>,
        state: S,
    ) -> Self {
        let operating = router(operating)
            .route_layer(middleware::from_fn(operators_only))
            .layer(DefaultBodyLimit::max(BODY_BYTES));
        Self {
            reading: router(reading).with_state(state.clone()),
            operating: operating.with_state(state),
        }
    }

    /// What callers of `scope` are served.
    pub(super) fn within(self, scope: Scope) -> Router {
        match scope {
            Scope::Read => self.reading.fallback(not_here),
            Scope::Operate => self.reading.merge(self.operating),
        }
    }
}

fn router<S: Clone + Send + Sync + 'static>(routes: Vec<Route<S>>) -> Router<S> {
    routes.into_iter().fold(Router::new(), |router, route| {
        router.route(route.path, route.handler)
    })
}

async fn not_here() -> Response {
    let words = "not served at this port; what operates the gateway is asked at its control socket, admin.sock in the data \
                 folder: `tidegate --help` lists the commands that do\n";
    (StatusCode::NOT_FOUND, words).into_response()
}

async fn operators_only(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    if caller.is_some_and(|caller| caller.scope >= Scope::Operate) {
        return next.run(request).await;
    }
    let words = "this operates the gateway, and whoever came this way may only read\n";
    (StatusCode::FORBIDDEN, words).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::admin::CallerOrigin;

    fn routes() -> Routes {
        let reading = vec![Route::get("/health", async || "well")];
        let operating = vec![Route::post("/change", async || "changed")];
        Routes::new(reading, operating, ())
    }

    async fn asked(served: Router, method: &str, path: &str, scope: Option<Scope>) -> u16 {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.body(Body::empty()).unwrap();
        let origin = CallerOrigin::Port;
        if let Some(scope) = scope {
            request.extensions_mut().insert(Caller { origin, scope });
        }
        let served = TowerToHyperService::new(served);
        served.call(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn whoever_may_only_read_is_served_nothing_else() {
        for (scope, health, change) in [(Scope::Read, 200, 404), (Scope::Operate, 200, 200)] {
            let served = routes().within(scope);
            assert_eq!(
                asked(served.clone(), "GET", "/health", Some(scope)).await,
                health
            );
            assert_eq!(asked(served, "POST", "/change", Some(scope)).await, change);
        }
    }

    #[tokio::test]
    async fn a_transport_that_is_given_the_wrong_router_gives_nothing_away() {
        for scope in [None, Some(Scope::Read)] {
            let served = routes().within(Scope::Operate);
            assert_eq!(asked(served, "POST", "/change", scope).await, 403);
        }
    }
}
