//! The program: checked when the settings are read, run for each message.

use jaq_core::compile::Undefined;
use jaq_core::data::JustLut;
use jaq_core::load::{Arena, Error as Unread, File, Loader};
use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{Compiler, Ctx, Exn, Filter, Vars};
use jaq_json::{Map, Num, Val, read};
use tidegate_sdk::json;
use tidegate_sdk::prelude::*;

/// What filters see: values, and nothing beside them.
type Data = JustLut<Val>;

/// Letters of an error at most: jq's words hold the values that they are about.
const LONGEST_ERROR: usize = 300;

/// Names of the variables beside the payload, in the order of their values.
const VARIABLES: [&str; 3] = ["$topic", "$device", "$headers"];

/// A program that was understood.
pub struct Program {
    filter: Filter<Data>,
    /// Which of the variables it names: the others are not made.
    named: [bool; 3],
}

impl Program {
    /// Understands a program, or says what in it is not, and where.
    pub fn new(code: &str) -> Result<Self, String> {
        let definitions = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let arena = Arena::default();
        let modules = Loader::new(definitions)
            .load(&arena, File { code, path: () })
            .map_err(|errors| first(errors).map_or_else(unnamed, |error| not_read(code, error)))?;
        let filter = Compiler::default()
            .with_funs(functions())
            .with_global_vars(VARIABLES)
            .compile(modules)
            .map_err(|errors| first(errors).map_or_else(unnamed, |error| not_known(code, error)))?;
        let named = VARIABLES.map(|name| code.contains(name));
        Ok(Self { filter, named })
    }

    /// What it gives for an input, one by one; the first error is the last.
    pub fn run<'p>(
        &'p self,
        message: &Message<'_>,
        input: Val,
    ) -> impl Iterator<Item = Result<Val>> + 'p {
        let [topic, device, headers] = self.named;
        let values = [
            topic.then(|| text(message.topic())),
            device.then(|| text(message.key())),
            headers.then(|| all_headers(message)),
        ];
        let values = Vars::new(values.map(Option::unwrap_or_default));
        let context = Ctx::<Data>::new(&self.filter.lut, values);
        let mut outputs = self.filter.id.run((context, input));
        std::iter::from_fn(move || match outputs.next()? {
            Ok(output) => Some(Ok(output)),
            Err(ended) => why_ended(ended).map(|words| Err(words.into())),
        })
    }
}

/// A payload as a value. Strict, and no deeper than other plugins take it: jaq's own reader takes more than JSON, and recurses.
pub fn json(payload: &[u8]) -> Result<Val> {
    let value = json::value(payload)?;
    read::parse_single(value.bytes())
        .map_err(|error| format!("payload is not valid JSON: {error}").into())
}

/// A text as a value.
pub fn text(text: &str) -> Val {
    Val::utf8_str(text.as_bytes().to_vec())
}

fn all_headers(message: &Message<'_>) -> Val {
    let mut headers = Map::default();
    for (name, value) in message.headers() {
        headers
            .entry(text(name))
            .or_insert_with(|| text(&String::from_utf8_lossy(value)));
    }
    Val::obj(headers)
}

/// `None` when the program has ended itself without a fault.
fn why_ended(ended: Exn<'_, Val>) -> Option<String> {
    let halted = match ended.get_err() {
        Ok(error) => {
            let words = match error.into_val() {
                Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
                other => other.to_string(),
            };
            let words: String = words.chars().take(LONGEST_ERROR).collect();
            return Some(format!("jq: {words}"));
        }
        Err(halted) => halted,
    };
    match halted.get_halt() {
        Ok(0) => None,
        Ok(code) => Some(format!("the program halted with {code}")),
        Err(_) => Some("the program ended without a result".to_owned()),
    }
}

/// Everything that programs may call. What reaches beyond the message is the gateway's own, or there is none.
fn functions() -> impl Iterator<Item = Fun<Data>> {
    const OWN: [&str; 4] = ["now", "env", "debug_empty", "stderr_empty"];
    let theirs = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| !OWN.contains(name));
    theirs.chain([
        run((OWN[0], v(0), |_| {
            bome(Ok(Val::Num(Num::Float(host::now_us() as f64 / 1e6))))
        })),
        run((OWN[1], v(0), |_| bome(Ok(Val::obj(Map::default()))))),
        run((OWN[2], v(0), |(_, value)| {
            host::debug(&shown(&value));
            Box::new(std::iter::empty())
        })),
        run((OWN[3], v(0), |(_, value)| {
            host::debug(&shown(&value));
            Box::new(std::iter::empty())
        })),
    ])
}

fn shown(value: &Val) -> String {
    value.to_string().chars().take(LONGEST_ERROR).collect()
}

/// Of the faults of the program the first; its own modules, the standard ones, have none.
fn first<E>(errors: Vec<(File<&str, ()>, E)>) -> Option<E> {
    errors.into_iter().next().map(|(_, error)| error)
}

fn unnamed() -> String {
    "it is no jq program".to_owned()
}

/// What cannot be read, and where.
fn not_read(code: &str, error: Unread<&str>) -> String {
    let said = match error {
        Unread::Io(imports) => imports
            .into_iter()
            .next()
            .map(|(path, _)| ("there are no modules to be had".to_owned(), path)),
        Unread::Lex(errors) => errors
            .into_iter()
            .next()
            .map(|(expected, found)| (format!("expected {}", expected.as_str()), found)),
        Unread::Parse(errors) => errors
            .into_iter()
            .next()
            .map(|(expected, found)| (format!("expected {}", expected.as_str()), found)),
    };
    said.map_or_else(unnamed, |(what, found)| placed(code, &what, found))
}

/// What there is none of, and where it is named.
fn not_known(code: &str, errors: Vec<(&str, Undefined)>) -> String {
    let Some((name, kind)) = errors.into_iter().next() else {
        return unnamed();
    };
    let what = match kind {
        Undefined::Filter(arity) => format!("there is no filter `{name}` with {arity} arguments"),
        kind => format!("there is no {} `{name}`", kind.as_str()),
    };
    placed(code, &what, name)
}

/// With line and column of `part`, which lies in `code`.
fn placed(code: &str, what: &str, part: &str) -> String {
    const SHOWN: usize = 20;
    let offset = (part.as_ptr() as usize)
        .checked_sub(code.as_ptr() as usize)
        .filter(|offset| offset + part.len() <= code.len());
    let Some(before) = offset.and_then(|offset| code.get(..offset)) else {
        return what.to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before
        .chars()
        .rev()
        .take_while(|letter| *letter != '\n')
        .count()
        + 1;
    let rest = code[before.len()..].lines().next().unwrap_or_default();
    let rest: String = rest.chars().take(SHOWN).collect();
    let near = match rest.trim_end() {
        "" => "the end".to_owned(),
        rest => format!("`{rest}`"),
    };
    format!("{what} at line {line}, column {column}, before {near}")
}
