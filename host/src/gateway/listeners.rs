//! Where one can ask the running gateway: the admin port and the control socket, each with the routes for its callers.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::api;
use super::live::Orders;
use super::running::RunningGateway;
use crate::admin::{AdminPort, ControlSocket, Error};
use crate::telemetry::sink;

pub(super) struct Listeners {
    address: Option<String>,
    port: JoinHandle<Result<(), Error>>,
    stop_port: watch::Sender<bool>,
    socket: JoinHandle<()>,
    stop_socket: watch::Sender<bool>,
}

impl Listeners {
    pub(super) fn start(running: &Arc<RunningGateway>, desk: Orders, port: AdminPort) -> Self {
        let routes = api::routes(running, desk);
        let (stop_port, port_stops) = watch::channel(false);
        let (stop_socket, socket_stops) = watch::channel(false);
        // The spool is open, so the data folder is ours alone.
        let folder = running.config.gateway.data_dir.clone();
        let socket = tokio::spawn(ControlSocket::keep(folder, routes.clone(), socket_stops));
        let address = port.url();
        let port = tokio::spawn(port.serve(routes, port_stops));
        if let Some(address) = &address {
            sink::say(&format!("admin {address}"));
        }
        Self {
            address,
            port,
            stop_port,
            socket,
            stop_socket,
        }
    }

    /// Of the port; `None` while somebody else has it.
    pub(super) fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// No more orders; health and metrics are told to the end.
    pub(super) fn close_socket(&self) {
        self.stop_socket.send_replace(true);
    }

    pub(super) async fn end(self) {
        self.stop_port.send_replace(true);
        if let Ok(Err(error)) = self.port.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the admin port failed"
            );
        }
        // Whoever still waits for an answer gets none: what he asked for is done or is not.
        self.socket.abort();
    }
}
