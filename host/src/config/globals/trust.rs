//! Whose signatures of plugins count, and whether one is needed.

use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::file;
use crate::trust::{Trust, VerifyingKey};

/// Whose signatures count. A key is the file minisign makes, or the line in it.
pub(super) fn read(fields: &mut Fields<'_>) -> Trust {
    let (mut keys, mut missing) = (Vec::new(), Vec::new());
    for (written, place) in fields.texts("plugin_keys") {
        let in_place = VerifyingKey::parse(written);
        let read = || {
            let path = fields
                .check
                .file(ProblemCode::PluginKey, place, "public key", written);
            file::read_text(&path, file::BY_HAND)
                .ok()
                .map(|text| VerifyingKey::parse(&text))
        };
        match in_place.or_else(|error| read().unwrap_or(Err(error))) {
            Ok(key) => keys.push(key),
            Err(_)
                if fields
                    .check
                    .waits_for_plugins(ProblemCode::PluginKey, written) =>
            {
                missing.push(fields.check.sources.folder().join(written));
            }
            Err(_) if file::is_file(&fields.check.sources.folder().join(written)) => {
                let hint =
                    "`tidegate plugin keygen` makes a pair; the one that ends in .pub belongs here"
                        .to_owned();
                fields.check.problem(
                    ProblemCode::PluginKey,
                    place,
                    format!("`{written}` holds no public key"),
                    hint,
                );
            }
            // The file is not there: said above.
            Err(_) => {}
        }
    }
    let required = fields.flag("require_signature");
    if required && keys.is_empty() && !fields.has("plugin_keys") {
        let hint = "add, for example: plugin_keys = [\"ops.pub\"]".to_owned();
        fields.problem(
            ProblemCode::Conflict,
            "require_signature",
            "a signature is required, and no key is trusted",
            hint,
        );
    }
    Trust {
        keys: keys.into(),
        missing: missing.into(),
        required,
    }
}
