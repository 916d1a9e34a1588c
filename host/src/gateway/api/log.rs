//! How much the log says, for a while.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use serde::{Deserialize, Serialize};

use crate::admin::{ApiRefusal, ApiResult, Caller, json};
use crate::telemetry::levels::{self, Shown};

/// Another level for a while, or the config's at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    Change {
        level: String,
        /// Of which module; `None`: of all.
        module: Option<String>,
        seconds: u64,
    },
    Back,
}

pub(super) async fn show() -> ApiResult {
    Ok(json(&now()?))
}

pub(super) async fn change(Extension(caller): Extension<Caller>, body: Bytes) -> ApiResult {
    let order: Order = serde_json::from_slice(&body)?;
    match order {
        Order::Back => levels::end(None),
        Order::Change {
            level,
            module,
            seconds,
        } => {
            let who = tokio::task::spawn_blocking(move || caller.words()).await?;
            let time = Duration::from_secs(seconds);
            levels::put(&level, module.as_deref(), time, &who)?;
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                levels::end(Some(Instant::now()));
            });
        }
    }
    show().await
}

fn now() -> Result<Shown, ApiRefusal> {
    levels::shown().ok_or_else(|| levels::Error::Silent.into())
}
