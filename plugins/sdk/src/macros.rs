//! The macros an author uses.

/// A struct of settings: can be read from the config, and a field it does not know is a mistake that is named.
///
/// ```
/// # use tidegate_sdk::prelude::*;
/// settings! {
///     /// Keeps what is above a limit.
///     pub struct Above {
///         limit: f64,
///         #[serde(default)]
///         inclusive: bool,
///     }
/// }
/// ```
#[macro_export]
macro_rules! settings {
    ($($item:tt)*) => {
        #[derive(Clone, Debug, $crate::serde::Deserialize)]
        #[serde(crate = "::tidegate_sdk::serde", deny_unknown_fields)]
        $($item)*
    };
}

/// A struct or enum that can be read and written: payloads, values of a [`State`](crate::State).
///
/// ```
/// # use tidegate_sdk::prelude::*;
/// record! { pub struct Reading<'a> { device: &'a str, temperature: f64 } }
/// ```
#[macro_export]
macro_rules! record {
    ($($item:tt)*) => {
        #[derive(Clone, Debug, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "::tidegate_sdk::serde")]
        $($item)*
    };
}

/// Makes a type the plugin of this crate: `export!(MyPlugin)`, `export!(MyPlugin: state)`,
/// `export!(MyPlugin: timer)`, `export!(MyPlugin: state, timer)`. Natively it only checks that the type fits: what it
/// names must be implemented, and what is implemented must be named.
///
/// ```compile_fail
/// # use tidegate_sdk::prelude::*;
/// # struct Counter { seen: State<u64> }
/// # impl Transform for Counter {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings) -> Result<Self> { Ok(Self { seen: State::default() }) }
/// #     fn process(&mut self, _: &Message, _: &mut Outputs) -> Result<()> { Ok(()) }
/// # }
/// # impl Timer for Counter {
/// #     fn tick(&mut self, _: &mut Tick) -> Result<()> { Ok(()) }
/// # }
/// impl Stateful for Counter {
///     type Value = u64;
///     fn state(&mut self) -> &mut State<u64> { &mut self.seen }
/// }
/// export!(Counter: timer);      // its state would be lost with the first change of the plugin
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => { $crate::export!($plugin:); };
    ($plugin:ty: $($ability:ident),*) => {
        const _: () = {
            const fn fits<P: $crate::Transform>() {}
            fits::<$plugin>();
            $($crate::__ability!(fits $ability $plugin);)*
            const NAMED: &[&str] = &[$(stringify!($ability)),*];
            {
                use $crate::native::{NoState, NoTimer};
                type Has = $crate::native::Has<$plugin>;
                // What a type implements goes before these, which are in use all the same.
                const _: [bool; 2] = [<Has as NoState>::STATE, <Has as NoTimer>::TIMER];
                assert!(
                    !Has::STATE || $crate::native::names(NAMED, "state"),
                    "the plugin implements `Stateful`, and `export!` does not name it: write `export!(MyPlugin: state)`"
                );
                assert!(
                    !Has::TIMER || $crate::native::names(NAMED, "timer"),
                    "the plugin implements `Timer`, and `export!` does not name it: write `export!(MyPlugin: timer)`"
                );
            }

            #[cfg(target_arch = "wasm32")]
            mod component {
                use super::*;
                type Instance = $crate::native::Instance<$plugin>;
                ::std::thread_local! {
                    static INSTANCE: ::std::cell::RefCell<::std::option::Option<Instance>> = const { ::std::cell::RefCell::new(None) };
                }
                struct Component;
                impl $crate::bindings::Held for Component {
                    type Plugin = $plugin;
                    fn with<R>(run: impl FnOnce(&mut ::std::option::Option<Instance>) -> R) -> R {
                        INSTANCE.with_borrow_mut(run)
                    }
                }
                $crate::bindings::transformer::export!(Component with_types_in $crate::bindings::transformer);
                $($crate::__ability!(export $ability);)*
            }
        };
    };
}

/// The abilities by name: what a type must implement for one, and its exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __ability {
    (fits state $plugin:ty) => {
        const fn state<P: $crate::Stateful>() {}
        state::<$plugin>();
    };
    (fits timer $plugin:ty) => {
        const fn timer<P: $crate::Timer>() {}
        timer::<$plugin>();
    };
    (export state) => {
        $crate::bindings::stateful::export!(Component with_types_in $crate::bindings::stateful);
    };
    (export timer) => {
        $crate::bindings::ticking::export!(Component with_types_in $crate::bindings::ticking);
    };
}
