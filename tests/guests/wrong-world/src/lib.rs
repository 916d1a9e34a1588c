//! A component that exports something else than a plugin does.

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({
        inline: "
            package acme:greeter@1.0.0;
            world greeter { export greet: func(name: string) -> string; }
        ",
    });

    struct Component;

    impl Guest for Component {
        fn greet(name: String) -> String {
            format!("good morning, {name}")
        }
    }

    export!(Component);
}
