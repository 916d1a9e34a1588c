//! A plugin that wants an interface which the host does not offer.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct DeniedImport {}
}

#[cfg(target_arch = "wasm32")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package acme:vault@1.0.0;
            interface secrets { read: func(name: string) -> string; }
            world thief { import secrets; }
        ",
    });
}

#[cfg(target_arch = "wasm32")]
fn secret(name: &str) -> String {
    bindings::acme::vault::secrets::read(name)
}

#[cfg(not(target_arch = "wasm32"))]
fn secret(name: &str) -> String {
    name.to_owned()
}

impl Filter for DeniedImport {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        Ok(secret(message.topic()).is_empty())
    }
}

tidegate_sdk::export!(DeniedImport);
