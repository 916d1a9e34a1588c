//! The component's side of the contract: what wit-bindgen makes of `wit/tidegate.wit`, and its exports in terms of
//! [`Instance`]. Only [`export!`](crate::export) uses it.

use crate::layout::ONE_LANE;
use crate::native::{self, Instance};
use crate::plugin::{Stateful, Timer, Transform};

pub use wit_bindgen::rt as runtime;

pub mod transformer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "transformer",
        pub_export_macro: true,
        default_bindings_module: "::tidegate_sdk::bindings::transformer",
        runtime_path: "::tidegate_sdk::bindings::runtime",
    });
}

pub mod ticking {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "ticking",
        pub_export_macro: true,
        default_bindings_module: "::tidegate_sdk::bindings::ticking",
        runtime_path: "::tidegate_sdk::bindings::runtime",
    });
}

pub mod stateful {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "stateful",
        pub_export_macro: true,
        default_bindings_module: "::tidegate_sdk::bindings::stateful",
        runtime_path: "::tidegate_sdk::bindings::runtime",
    });
}

use stateful::exports::tidegate::plugin::state;
use ticking::exports::tidegate::plugin::timer;
use transformer::exports::tidegate::plugin::transform;

/// Where a component keeps its one instance.
pub trait Held {
    type Plugin: Transform;
    fn with<R>(run: impl FnOnce(&mut Option<Instance<Self::Plugin>>) -> R) -> R;
}

/// The configured instance; the host calls `configure` before anything else.
fn configured<C: Held, R>(run: impl FnOnce(&mut Instance<C::Plugin>) -> R) -> R {
    C::with(|instance| {
        run(instance
            .as_mut()
            .expect("`configure` was called and succeeded"))
    })
}

impl<C: Held> transform::Guest for C {
    fn configure(settings: String) -> Result<transform::Setup, String> {
        let (instance, setup) = Instance::configure(&settings)?;
        C::with(|held| *held = Some(instance));
        let state_version = setup.state_version | if setup.one_lane { ONE_LANE } else { 0 };
        Ok(transform::Setup {
            ports: setup.ports,
            tick_every_us: setup.tick_every_us,
            state_version,
        })
    }

    fn process(batch: transform::Batch) -> transform::Output {
        let packed = configured::<C, _>(|instance| {
            instance.process(&native::Batch {
                now_us: batch.now_us,
                stride: batch.stride,
                words: &batch.words,
                data: &batch.data,
            })
        });
        transform::Output {
            stride: packed.stride,
            words: packed.words,
            data: packed.data,
        }
    }
}

impl<C: Held<Plugin: Timer>> timer::Guest for C {
    fn tick(now_us: u64) -> timer::Output {
        let packed = configured::<C, _>(|instance| instance.tick(now_us));
        timer::Output {
            stride: packed.stride,
            words: packed.words,
            data: packed.data,
        }
    }
}

impl<C: Held<Plugin: Stateful>> state::Guest for C {
    fn save(changed_only: bool, cursor: u64) -> state::Page {
        let page = configured::<C, _>(|instance| instance.save(changed_only, cursor));
        state::Page {
            next: page.next,
            words: page.words,
            data: page.data,
        }
    }

    fn restore(version: u32, page: state::Page) -> Result<(), String> {
        let page = native::Page {
            next: page.next,
            words: page.words,
            data: page.data,
        };
        configured::<C, _>(|instance| instance.restore(version, &page))
    }
}
