//! The gateway's routes, each with the scope that a caller needs. There is a router for each scope, so that a transport whose
//! callers may only read has nothing else to give away; and each request beyond that is looked at once more, whichever way it came.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::caller::{Caller, CallerOrigin, Scope};

/// Largest request: a component, or a page of messages that are imported, and what is wanted of it.
const BODY_BYTES: usize = (32 << 20) + (64 << 10);

/// Method and path, what a caller needs, and who answers.
pub struct Route<S> {
    pub method: &'static str,
    pub path: &'static str,
    /// Least scope of a caller.
    pub scope: Scope,
    handler: MethodRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    pub fn get<T: 'static>(scope: Scope, path: &'static str, handler: impl Handler<T, S>) -> Self {
        Self {
            method: "GET",
            path,
            scope,
            handler: get(handler),
        }
    }

    pub fn post<T: 'static>(scope: Scope, path: &'static str, handler: impl Handler<T, S>) -> Self {
        Self {
            method: "POST",
            path,
            scope,
            handler: post(handler),
        }
    }
}

/// All routes, by scope. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Routes {
    parts: Vec<(Scope, Router)>,
}

impl Routes {
    /// Of handlers that all work on `state`.
    pub fn new<S: Clone + Send + Sync + 'static>(routes: Vec<Route<S>>, state: S) -> Self {
        let mut parts: Vec<(Scope, Router<S>)> = Vec::new();
        for route in routes {
            // One path may have methods of several scopes, so each method is guarded by itself.
            let handler = if route.scope == Scope::Open {
                route.handler
            } else {
                let guard = middleware::from_fn_with_state(route.scope, callers_of);
                route.handler.route_layer(guard)
            };
            let own = Router::new().route(route.path, handler);
            parts.push((route.scope, own));
        }
        let finished = |(scope, router): (Scope, Router<S>)| {
            let router = if scope == Scope::Open {
                router
            } else {
                router.layer(DefaultBodyLimit::max(BODY_BYTES))
            };
            (scope, router.with_state(state.clone()))
        };
        Self {
            parts: parts.into_iter().map(finished).collect(),
        }
    }

    /// What callers of `scope` at most are served.
    pub(super) fn within(self, scope: Scope) -> Router {
        let parts = self.parts.into_iter();
        let served = parts
            .filter(|(needed, _)| *needed <= scope)
            .fold(Router::new(), |served, (_, part)| served.merge(part));
        if scope == Scope::Open {
            served.fallback(not_here)
        } else {
            served
        }
    }
}

async fn not_here() -> Response {
    let words = "not served at this port; what operates the gateway is asked at its control socket, admin.sock in the data \
                 folder, or here with a token, once [admin.access] has one: `tidegate --help` lists the commands that do\n";
    (StatusCode::NOT_FOUND, words).into_response()
}

async fn callers_of(State(needed): State<Scope>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    if caller.is_some_and(|caller| caller.scope >= needed) {
        return next.run(request).await;
    }
    let needed = needed.word();
    match caller.map(|caller| &caller.origin) {
        Some(CallerOrigin::Port { token: None, .. }) => stranger(&format!(
            "this needs a token of scope `{needed}`: Authorization: Bearer …\n"
        )),
        _ => {
            let words = format!("this needs scope `{needed}`, and whoever asks has less\n");
            (StatusCode::FORBIDDEN, words).into_response()
        }
    }
}

/// Whoever asks has to say who it is.
pub(super) fn stranger(words: &str) -> Response {
    let how = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, how, words.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    fn routes() -> Routes {
        let routes = vec![
            Route::get(Scope::Open, "/health", async || "well"),
            Route::post(Scope::Operate, "/change", async || "changed"),
            Route::get(Scope::Read, "/change", async || "as it is"),
            Route::post(Scope::Deploy, "/swap", async || "swapped"),
        ];
        Routes::new(routes, ())
    }

    const ALL: [Scope; 4] = [Scope::Open, Scope::Read, Scope::Operate, Scope::Deploy];

    async fn asked(served: Router, method: &str, path: &str, scope: Option<Scope>) -> u16 {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(scope) = scope {
            let token = (scope > Scope::Open).then(|| "own".into());
            let peer = "127.0.0.1:1".parse().unwrap();
            let origin = CallerOrigin::Port { peer, token };
            request.extensions_mut().insert(Caller { origin, scope });
        }
        let served = TowerToHyperService::new(served);
        served.call(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn whoever_may_only_read_is_served_nothing_else() {
        for scope in ALL {
            let served = routes().within(scope);
            let found = asked(served.clone(), "POST", "/change", Some(scope)).await;
            let expected = match scope {
                Scope::Open => 404,
                Scope::Read => 405,
                _ => 200,
            };
            assert_eq!(found, expected, "{scope:?}");
            assert_eq!(asked(served, "GET", "/health", Some(scope)).await, 200);
        }
    }

    #[tokio::test]
    async fn a_transport_that_is_given_the_wrong_router_gives_nothing_away() {
        let needs = [
            ("POST", "/change", Scope::Operate),
            ("GET", "/change", Scope::Read),
            ("POST", "/swap", Scope::Deploy),
        ];
        for (method, path, needed) in needs {
            for scope in ALL {
                let served = routes().within(Scope::Deploy);
                let found = asked(served, method, path, Some(scope)).await;
                let expected = match scope {
                    scope if scope >= needed => 200,
                    Scope::Open => 401,
                    _ => 403,
                };
                assert_eq!(found, expected, "{method} {path} {scope:?}");
            }
            let served = routes().within(Scope::Deploy);
            assert_eq!(asked(served, method, path, None).await, 403);
        }
    }
}
