//! The text of `/metrics`: made by one thread at a time beside the network's, for all who ask meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::sync::watch;
use tokio::time::Instant;

pub(super) async fn text(State(rendering): State<Arc<Rendering>>) -> Response {
    match rendering.text().await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// A text, or why there is none.
type Text = Result<Bytes, String>;

/// Makes the text whenever somebody asks.
pub(super) struct Rendering {
    registry: Registry,
    now: Arc<Mutex<Now>>,
}

/// What is going on.
struct Now {
    /// Who asks waits for this, if it is there.
    under_way: Option<watch::Receiver<Option<Text>>>,
    /// The next one begins no sooner: at most half of a processor goes into it, however many ask.
    next: Instant,
}

impl Rendering {
    pub(super) fn of(registry: Registry) -> Self {
        Self {
            registry,
            now: Arc::new(Mutex::new(Now {
                under_way: None,
                next: Instant::now(),
            })),
        }
    }

    /// The text, not older than this call or made for others who called just before.
    pub(super) async fn text(&self) -> Text {
        let mut rendered = self.under_way();
        let text = rendered
            .wait_for(Option::is_some)
            .await
            .map_err(|error| error.to_string())?;
        text.clone()
            .unwrap_or_else(|| Err("there are no metrics".to_owned()))
    }

    /// Joins the rendering under way, or begins one.
    fn under_way(&self) -> watch::Receiver<Option<Text>> {
        let mut now = locked(&self.now);
        if let Some(under_way) = &now.under_way {
            return under_way.clone();
        }
        let (done, under_way) = watch::channel(None);
        now.under_way = Some(under_way.clone());
        let registry = self.registry.clone();
        let state = Arc::clone(&self.now);
        let next = now.next;
        tokio::spawn(async move {
            tokio::time::sleep_until(next).await;
            let begun = Instant::now();
            let text = tokio::task::spawn_blocking(move || render(&registry)).await;
            let took = begun.elapsed().min(Duration::from_secs(5));
            *locked(&state) = Now {
                under_way: None,
                next: Instant::now() + took,
            };
            done.send_replace(Some(text.unwrap_or_else(|error| Err(error.to_string()))));
        });
        under_way
    }
}

fn render(registry: &Registry) -> Text {
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .map_err(|error| error.to_string())?;
    Ok(text.into())
}

/// Held for memory work only.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use prometheus::core::{Collector, Desc};
    use prometheus::proto::MetricFamily;

    use super::*;

    /// Counts how often it is gathered.
    struct Counting(Arc<AtomicUsize>, Desc);

    impl Collector for Counting {
        fn desc(&self) -> Vec<&Desc> {
            vec![&self.1]
        }

        fn collect(&self) -> Vec<MetricFamily> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Vec::new()
        }
    }

    #[tokio::test]
    async fn whoever_asks_meanwhile_shares_one_rendering() {
        let (registry, gathered) = (Registry::new(), Arc::<AtomicUsize>::default());
        let desc = Desc::new(
            "a".to_owned(),
            "b".to_owned(),
            Vec::new(),
            std::collections::HashMap::new(),
        )
        .unwrap();
        registry
            .register(Box::new(Counting(Arc::clone(&gathered), desc)))
            .unwrap();
        let rendering = Arc::new(Rendering::of(registry));
        let texts: Vec<_> = (0..50).map(|_| rendering.under_way()).collect();
        for mut text in texts {
            text.wait_for(Option::is_some).await.unwrap();
        }
        assert_eq!(gathered.load(Ordering::SeqCst), 1);
        rendering.text().await.unwrap();
        assert_eq!(gathered.load(Ordering::SeqCst), 2);
    }
}
