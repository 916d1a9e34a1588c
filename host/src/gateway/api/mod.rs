//! What the gateway answers: routes for reading and routes for operating, one file a subject, each with the scope that it needs.
//! A transport decides which of them its callers have (`admin`). Memory work is done on the spot, what waits for the disk on the blocking pool.

mod accounts;
pub mod backup;
pub(super) mod certificates;
mod changes;
mod devices;
pub mod health;
pub mod letters;
pub mod log;
mod metrics;
mod page;
pub mod plugins;
pub mod recordings;
mod spool;
pub mod status;
pub mod tap;
pub mod trouble;

use std::sync::Arc;

use axum::extract::FromRef;

use self::backup::RunningBackup;
use self::metrics::Rendering;
use self::page::Page;
use super::live::Orders;
use super::running::RunningGateway;
use crate::admin::{Route, Routes, Scope};

/// What anybody on this machine may read: nothing that a device, a plugin or an operator keeps to itself.
pub fn reading() -> Vec<Route<Api>> {
    let mut routes = page::routes();
    routes.extend([
        Route::get(Scope::Open, "/metrics", metrics::text),
        Route::get(Scope::Open, "/livez", health::alive),
        Route::get(Scope::Open, "/readyz", health::ready),
        Route::get(Scope::Open, "/healthz", health::healthy),
    ]);
    routes
}

/// What only the operator sees and does: settings, who did what; payloads, and what keeps a gateway going; and which plugins
/// run. Looking at payloads is more than reading: it is what devices said.
pub fn operating() -> Vec<Route<Api>> {
    use Scope::{Deploy, Operate, Read};
    vec![
        // The whole account at a glance.
        Route::get(Read, "/v1/status", status::show),
        // How each part is.
        Route::get(Read, "/v1/health", health::show),
        // Who was seen, and is there, a `DeviceQuery`: it changes nothing.
        Route::post(Read, "/v1/devices", devices::list),
        // How much the log says; another level for a while, a `log::Order`.
        Route::get(Read, "/v1/log", log::show),
        Route::post(Operate, "/v1/log", log::change),
        // Queues and dead letters, a `spool::ToolRequest`: look, take out, put in, mend.
        Route::post(Operate, "/v1/spool", spool::ask),
        // Everything the gateway is made of, at one moment, a `backup::BackupRequest`.
        Route::post(Operate, "/v1/backup", backup::ask),
        // Dead letters on their way again, a `letters::RetryRequest`.
        Route::post(Operate, "/v1/parked/retry", letters::retry),
        // What is recorded of the flows, a `recordings::RecordingRequest`.
        Route::post(Operate, "/v1/recordings", recordings::ask),
        // Looking on at a flow, a `tap::TapOrder`, answered with a number; what it has seen since, and its end.
        Route::post(Operate, "/v1/taps", tap::open),
        Route::get(Operate, "/v1/taps/{tap}", tap::fetch),
        Route::post(Operate, "/v1/taps/{tap}/close", tap::close),
        // Every plugin: what runs, what is tried beside it, what it can go back to.
        Route::get(Read, "/v1/plugins", plugins::list),
        // Orders of `live`, each answered with its number.
        Route::post(Deploy, "/v1/plugins/swap", changes::swap),
        Route::post(Deploy, "/v1/plugins/rollback", changes::roll_back),
        Route::post(Deploy, "/v1/plugins/promote", changes::promote),
        // The number of a change under way, which changes nothing.
        Route::post(Read, "/v1/plugins/follow", changes::follow),
        Route::post(Operate, "/v1/reload", changes::reload),
        // What is told of one, `?from=` a line on.
        Route::get(Read, "/v1/changes/{change}", changes::page),
        // What was changed, by whom, and what came of it.
        Route::get(Read, "/v1/history", changes::history),
    ]
}

/// What the handlers work on.
#[derive(Clone)]
pub struct Api {
    running: Arc<RunningGateway>,
    desk: Orders,
    rendering: Arc<Rendering>,
    page: Page,
    backup: Arc<RunningBackup>,
}

/// The routes of this gateway.
pub(super) fn routes(running: &Arc<RunningGateway>, desk: Orders) -> Routes {
    let api = Api {
        running: Arc::clone(running),
        desk,
        rendering: Arc::new(Rendering::of_gateway(
            running.registry.clone(),
            running.current.clone(),
        )),
        page: Page::of(running),
        backup: Arc::default(),
    };
    Routes::new(reading().into_iter().chain(operating()).collect(), api)
}

impl FromRef<Api> for Arc<RunningGateway> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.running)
    }
}

impl FromRef<Api> for Orders {
    fn from_ref(api: &Api) -> Self {
        api.desk.clone()
    }
}

impl FromRef<Api> for Arc<RunningBackup> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.backup)
    }
}

impl FromRef<Api> for Page {
    fn from_ref(api: &Api) -> Self {
        api.page.clone()
    }
}

impl FromRef<Api> for Arc<Rendering> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.rendering)
    }
}
