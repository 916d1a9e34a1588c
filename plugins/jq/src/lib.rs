//! Runs a [jq](https://jqlang.org/manual/) program over each payload: what comes out of it goes on.
//!
//! ```toml
//! settings = { program = "{room: .loc.room, celsius: ((.f - 32) * 5 / 9 | . * 100 | round / 100)}" }
//! settings = { program = ".readings[] | select(.t > 20) | . + {device: $device, site: $headers.site}" }
//! settings = { program = "split(\";\") | {t: .[0] | tonumber, state: .[1]}", input = "text" }
//! settings = { program = "\"\\(.name) is \\(.state)\"", output = "text" }
//! ```
//!
//! - `program`: the program. What it gives for a payload becomes a message each, at most 1,000; where it gives nothing (`empty`,
//!   `select`), the message is filtered. Required.
//! - `input`: `"json"`, or `"text"`: the program sees the payload as one text, whatever is in it. Default: `"json"`.
//! - `output`: `"json"`, or `"text"`: where the program gives a text, the payload is that text without quotes, as `jq -r` has it.
//!   Default: `"json"`.
//!
//! Beside the payload there are `$topic`, `$device` (the flow's key), `$headers` (an object of texts) and `now`, the time the gateway
//! received the message at, in seconds. The language is [jaq](https://github.com/01mf02/jaq)'s, which differs from jq in a few corners
//! that its page names. There are no modules, no further inputs (`input`) and no environment; `debug` goes to the gateway's log.
//!
//! A mistake in the program is found when the settings are read, and named by line and column. An error while it runs (`error`, a field
//! of a number) rejects the message with jq's words, and so does what is no JSON. The program is bounded by the limits of every
//! plugin: one that runs for longer than `limits.time` or takes more than `limits.memory` is ended, and its message goes to the
//! dead letters. It keeps nothing from one message to the next.
//!
//! Numbers that the program hands on keep their digits. It counts with whole numbers of any length exactly, and with all others as
//! doubles, as jq does: `0.1 + 0.2` is `0.30000000000000004`, `.a / .b` is a double. `units`, `fields` and `rate` count in decimal digits. Of
//! two members of one name the last counts, where most other plugins reject the payload. What deletes a retained reading (an empty payload) goes on.

mod program;
mod write;

use tidegate_sdk::prelude::*;

use program::Program;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The jq program.
        pub program: String,
        /// What it sees of the payload.
        #[serde(default)]
        pub input: Form,
        /// What payloads are made of what it gives.
        #[serde(default)]
        pub output: Form,
    }
}

settings! {
    /// What a payload is.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Form {
        /// JSON of any kind.
        #[default]
        Json,
        /// Text without quotes.
        Text,
    }
}

/// Messages of one payload at most: less than what a plugin may answer to one call.
const MOST_OUTPUTS: usize = 1_000;

/// The configured plugin.
pub struct Jq {
    program: Program,
    input: Form,
    output: Form,
}

impl Transform for Jq {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let program = Program::new(&settings.program);
        Ok(Self {
            program: program.map_err(|error| format!("`program`: {error}"))?,
            input: settings.input,
            output: settings.output,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let input = match self.input {
            Form::Json => program::json(message.payload())?,
            Form::Text => program::text(message.text()?),
        };
        for (number, output) in self.program.run(message, input).enumerate() {
            let output = output?;
            if number == MOST_OUTPUTS {
                let words = format!("the program gives more than {MOST_OUTPUTS} outputs");
                return Err(words.into());
            }
            out.emit_with(|payload| match self.output {
                Form::Json => write::json(&output, payload),
                Form::Text => write::text(&output, payload),
            })?;
        }
        Ok(())
    }
}

tidegate_sdk::export!(Jq);

#[cfg(test)]
mod tests;
