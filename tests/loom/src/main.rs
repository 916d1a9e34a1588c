//! Receipts, and the hand-over from sources to lanes, under every order in which threads can meet: the host's own source,
//! with loom's primitives in the place of those of `message::sync`.

mod chain;
mod message;
mod receipts;

/// The inbox's gauge, with which the models see that its depth is told right.
extern crate self as prometheus;

#[derive(Clone, Default)]
pub struct IntGauge(std::sync::Arc<std::sync::atomic::AtomicI64>);

impl IntGauge {
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
    }

    pub fn sub(&self, less: i64) {
        self.add(-less);
    }

    pub fn get(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn check(name: &str, model: impl Fn() + Sync + Send + 'static) {
    let begun = std::time::Instant::now();
    loom::model(model);
    println!("{name} ... ok in {:.1?}", begun.elapsed());
}

fn main() {
    receipts::all();
    chain::inboxes::all();
}
