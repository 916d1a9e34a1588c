//! Expressions: read once, and run for each message.

use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, IdedExpr, ParseErrors, Value, extensions};
use tidegate_sdk::json;
use tidegate_sdk::prelude::*;
use tidegate_sdk::{Error, Missing};

use super::{numbers, value};

/// Letters of an error at most: its words may hold the values that it is about.
const LONGEST_ERROR: usize = 300;
/// Letters of an expression at most.
const LONGEST: usize = 10_000;

/// What functions are called on, or belong to.
const RECEIVERS: [&str; 6] = ["''.", "[].", "{}.", "optional.none().", "math.", "lists."];
/// Those of them that are no fields.
const LIBRARIES: [&str; 3] = ["math", "lists", "optional"];

/// One that was understood.
pub struct Expression {
    tree: IdedExpr,
    /// All names in it.
    names: Vec<String>,
}

/// What expressions may call.
pub struct Language(Arc<Env>);

/// Why there is no value.
#[derive(Debug)]
pub enum Failure {
    /// A field that is not there.
    Missing(String),
    Other(String),
}

impl Failure {
    /// Of a setting.
    pub fn of(self, setting: &str) -> Error {
        match self {
            Self::Missing(name) => Box::new(Missing(format!("field `{name}` is missing"))),
            Self::Other(words) => format!("`{setting}`: {words}").into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error.to_string())
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::UndeclaredReference(name) | ExecutionError::NoSuchKey(name) => {
                Self::Missing(shortened(&name))
            }
            error => Self::Other(shortened(&error.to_string())),
        }
    }
}

impl Language {
    pub fn new() -> Result<Self> {
        let mut env = Env::stdlib();
        env.add_extension(extensions::strings)?;
        env.add_extension(extensions::math)?;
        env.add_extension(extensions::lists)?;
        numbers::add_to(&mut env)?;
        Ok(Self(Arc::new(env)))
    }

    /// Understands an expression, or says what in it is not, and where.
    pub fn read(&self, text: &str) -> Result<Expression, String> {
        if text.chars().count() > LONGEST {
            return Err(format!("it has more than {LONGEST} letters"));
        }
        let program = self.0.compile(text).map_err(|errors| words(&errors))?;
        let references = program.references();
        let functions = references.functions();
        let unknown = functions.into_iter().find(|name| !self.has(name));
        if let Some(name) = unknown {
            return Err(format!("there is no function `{name}`"));
        }
        let names = references.variables().into_iter();
        let names = names.filter(|name| !LIBRARIES.contains(name));
        let names = names.map(str::to_owned).collect();
        let mut tree = program.expression().clone();
        numbers::count_with_doubles(&mut tree);
        Ok(Expression { tree, names })
    }

    /// Whether there is such a function: called without arguments it has no fitting form, and is known all the same.
    fn has(&self, function: &str) -> bool {
        let is_named = function
            .chars()
            .all(|letter| letter == '_' || letter.is_alphanumeric());
        let is_operator = function.starts_with('_') || function.contains('@');
        if !is_named || is_operator {
            return true;
        }
        std::iter::once("").chain(RECEIVERS).any(|receiver| {
            let call = self.0.compile(&format!("{receiver}{function}()"));
            let context = Context::with_env(Arc::clone(&self.0));
            !matches!(
                call.map(|call| call.execute(&context)),
                Ok(Err(ExecutionError::UndeclaredReference(_))) | Err(_)
            )
        })
    }

    /// Whether it is true.
    pub fn truth(
        &self,
        expression: &Expression,
        message: &Message<'_>,
        payload: json::Value<'_>,
    ) -> Result<bool, Failure> {
        match self.run(expression, message, payload)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(Failure::Other(format!(
                "it gives a value of the kind `{}`, and a truth is needed",
                other.type_of()
            ))),
        }
    }

    /// What it gives, as JSON.
    pub fn value(
        &self,
        expression: &Expression,
        message: &Message<'_>,
        payload: json::Value<'_>,
    ) -> Result<String, Failure> {
        let value = self.run(expression, message, payload)?;
        value::to_json(&value).map_err(Failure::Other)
    }

    fn run(
        &self,
        expression: &Expression,
        message: &Message<'_>,
        payload: json::Value<'_>,
    ) -> Result<Value, Failure> {
        let mut context = Context::with_env(Arc::clone(&self.0));
        let members = payload.members()?.unwrap_or_default();
        for name in &expression.names {
            let value = match name.as_str() {
                "payload" => value::of_json(payload)?,
                "topic" => Value::from(message.topic()),
                "device" => Value::from(message.key()),
                "headers" => headers(message),
                "received" => Value::Float(host::now_us() as f64 / 1e6),
                name => match members.iter().find(|member| member.name == name) {
                    Some(member) => value::of_json(member.value)?,
                    None => continue,
                },
            };
            context.add_variable_from_value(name.as_str(), value);
        }
        Ok(Value::resolve(&expression.tree, &context)?)
    }
}

/// Of several of one name the first counts.
fn headers(message: &Message<'_>) -> Value {
    let mut map = HashMap::new();
    for (name, value) in message.headers() {
        let value = String::from_utf8_lossy(value).into_owned();
        map.entry(Key::from(name.to_owned()))
            .or_insert_with(|| Value::from(value));
    }
    Value::Map(Map { map: Arc::new(map) })
}

/// The first mistake, and where it is.
fn words(errors: &ParseErrors) -> String {
    let Some(first) = errors.errors.first() else {
        return "it cannot be read".to_owned();
    };
    let message = first.msg.trim_start_matches("Syntax error: ");
    let message = message.split(" expecting {").next().unwrap_or_default();
    let message = message.replace("'<EOF>'", "the end");
    let (line, column) = first.pos;
    shortened(&format!("{message} at line {line}, column {column}"))
}

fn shortened(words: &str) -> String {
    words.chars().take(LONGEST_ERROR).collect()
}
