//! A schema as it is needed for reading and writing, and its fingerprint.

use std::collections::BTreeMap;

use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::{self, Map, Value};

/// Types within one another: what JSON may be nested as well.
const DEEPEST: usize = 64;

/// A type.
#[derive(Clone, Debug)]
pub enum Kind {
    /// No value.
    Null,
    /// True or false.
    Boolean,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number of single precision.
    Float,
    /// A number of double precision.
    Double,
    /// Any bytes.
    Bytes,
    /// So many bytes.
    Fixed(usize),
    /// A number whose point stands before so many digits, in bytes, or in so many bytes.
    Decimal(u32, Option<usize>),
    /// A text.
    String,
    /// One of these words.
    Enum(Vec<String>),
    /// A list.
    Array(Box<Kind>),
    /// Values by name.
    Map(Box<Kind>),
    /// One of these types.
    Union(Vec<Kind>),
    /// Fields, one after the other.
    Record(Vec<Field>),
    /// A type that has a name, by its place among those.
    Named(usize),
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct Field {
    /// What it is called.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// What it is where nothing is said, as JSON.
    pub default: Option<String>,
}

/// A schema.
#[derive(Debug)]
pub struct Schema {
    /// The type of a value.
    pub root: Kind,
    named: Vec<Kind>,
    /// CRC-64-AVRO of its canonical form.
    pub fingerprint: u64,
}

impl Schema {
    /// Reads a schema out of the settings: JSON, or a text that is JSON or the name of a type.
    ///
    /// # Errors
    /// It is none; the words name `schema`.
    pub fn new(written: Value) -> Result<Self> {
        let value = match &written {
            Value::String(text) if text.trim_start().starts_with(['{', '[', '"']) => {
                serde_json::from_str(text)
                    .map_err(|error| format!("`schema` is not valid JSON: {error}"))?
            }
            _ => written,
        };
        let mut reader = Reader::default();
        let root = reader.kind(&value, "", 0);
        let root = root.map_err(|error| format!("`schema`: {error}"))?;
        Ok(Self {
            root,
            named: reader.named,
            fingerprint: fingerprint(reader.canonical.as_bytes()),
        })
    }

    /// A type itself, where it is named.
    pub fn resolve<'s>(&'s self, kind: &'s Kind) -> &'s Kind {
        match kind {
            Kind::Named(place) => &self.named[*place],
            kind => kind,
        }
    }

    /// Whether a value has such a field; `None` where it is no record.
    pub fn has_field(&self, name: &str) -> Option<bool> {
        match self.resolve(&self.root) {
            Kind::Record(fields) => Some(fields.iter().any(|field| field.name == name)),
            _ => None,
        }
    }
}

/// Reads types, and writes their canonical form beside.
#[derive(Debug, Default)]
struct Reader {
    named: Vec<Kind>,
    places: BTreeMap<String, usize>,
    canonical: String,
}

impl Reader {
    fn kind(&mut self, value: &Value, namespace: &str, depth: usize) -> Result<Kind> {
        if depth > DEEPEST {
            return Err(format!("types are nested deeper than {DEEPEST}").into());
        }
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(kinds) => self.union(kinds, namespace, depth),
            Value::Object(members) => self.object(members, namespace, depth),
            other => Err(format!("`{other}` is no type").into()),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<Kind> {
        if let Some(kind) = primitive(name) {
            self.quoted(name);
            return Ok(kind);
        }
        let full = full_name(name, namespace);
        let place = self.places.get(&full);
        let place = *place.ok_or_else(|| format!("no type is called `{name}`"))?;
        self.quoted(&full);
        Ok(Kind::Named(place))
    }

    fn union(&mut self, kinds: &[Value], namespace: &str, depth: usize) -> Result<Kind> {
        self.canonical.push('[');
        let mut read = Vec::new();
        for (place, kind) in kinds.iter().enumerate() {
            self.comma(place);
            let kind = self.kind(kind, namespace, depth + 1)?;
            if matches!(kind, Kind::Union(_)) {
                return Err("a union has another one in it".into());
            }
            read.push(kind);
        }
        self.canonical.push(']');
        match read.is_empty() {
            true => Err("a union is empty".into()),
            false => Ok(Kind::Union(read)),
        }
    }

    fn object(
        &mut self,
        members: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Kind> {
        let kind = members.get("type").ok_or("a type is without `type`")?;
        let Value::String(name) = kind else {
            return self.kind(kind, namespace, depth + 1);
        };
        match name.as_str() {
            "array" | "map" => {
                let key = if name == "array" { "items" } else { "values" };
                let inside = members
                    .get(key)
                    .ok_or_else(|| format!("`{name}` is without `{key}`"))?;
                let opening = format!("{{\"type\":\"{name}\",\"{key}\":");
                self.canonical.push_str(&opening);
                let inside = Box::new(self.kind(inside, namespace, depth + 1)?);
                self.canonical.push('}');
                Ok(match key {
                    "items" => Kind::Array(inside),
                    _ => Kind::Map(inside),
                })
            }
            "record" | "error" | "enum" | "fixed" => self.named(name, members, namespace, depth),
            other => {
                let kind = self.by_name(other, namespace)?;
                Ok(match (&kind, scale(members)?) {
                    (Kind::Bytes, Some(scale)) => Kind::Decimal(scale, None),
                    _ => kind,
                })
            }
        }
    }

    fn named(
        &mut self,
        kind: &str,
        members: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Kind> {
        let name = text(members, "name").ok_or_else(|| format!("`{kind}` is without `name`"))?;
        let own = text(members, "namespace").unwrap_or(namespace);
        let full = full_name(name, own);
        let is_word = |word: &str| {
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !word.is_empty() && word.bytes().all(is_letter)
        };
        if !full.split('.').all(is_word) {
            return Err(format!("`{full}` is no name").into());
        }
        let place = self.named.len();
        // Until it is known, so that it may have itself in it.
        self.named.push(Kind::Null);
        if self.places.insert(full.clone(), place).is_some() {
            return Err(format!("two types are called `{full}`").into());
        }
        let space = full.rsplit_once('.').map_or("", |(space, _)| space);
        self.canonical.push_str("{\"name\":");
        self.quoted(&full);
        let canonical_kind = if kind == "error" { "record" } else { kind };
        let opening = format!(",\"type\":\"{canonical_kind}\",");
        self.canonical.push_str(&opening);
        let read = match kind {
            "enum" => self.symbols(&full, members)?,
            "fixed" => {
                let size = members.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| format!("`{full}` is without `size`"))?;
                let rest = format!("\"size\":{size}");
                self.canonical.push_str(&rest);
                match scale(members)? {
                    Some(scale) => Kind::Decimal(scale, Some(size)),
                    None => Kind::Fixed(size),
                }
            }
            _ => self.fields(&full, members, space, depth)?,
        };
        self.canonical.push('}');
        self.named[place] = read;
        Ok(Kind::Named(place))
    }

    fn symbols(&mut self, name: &str, members: &Map<String, Value>) -> Result<Kind> {
        let symbols = members.get("symbols").and_then(Value::as_array);
        let symbols = symbols.ok_or_else(|| format!("`{name}` is without `symbols`"))?;
        self.canonical.push_str("\"symbols\":[");
        let mut read: Vec<String> = Vec::new();
        for (place, symbol) in symbols.iter().enumerate() {
            let symbol = symbol
                .as_str()
                .filter(|symbol| !symbol.is_empty() && !read.iter().any(|other| other == symbol));
            let symbol = symbol.ok_or_else(|| {
                format!("`{name}` has a symbol that is none, or stands there twice")
            })?;
            self.comma(place);
            self.quoted(symbol);
            read.push(symbol.to_owned());
        }
        self.canonical.push(']');
        Ok(Kind::Enum(read))
    }

    fn fields(
        &mut self,
        record: &str,
        members: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Kind> {
        let fields = members.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| format!("`{record}` is without `fields`"))?;
        self.canonical.push_str("\"fields\":[");
        let mut read: Vec<Field> = Vec::new();
        for (place, field) in fields.iter().enumerate() {
            let members = field.as_object();
            let name = members.and_then(|members| text(members, "name"));
            let (Some(members), Some(name)) = (members, name) else {
                return Err(format!("`{record}` has a field without `name`").into());
            };
            if read.iter().any(|other| other.name == name) {
                return Err(format!("`{record}` has two fields `{name}`").into());
            }
            let kind = members.get("type");
            let kind = kind.ok_or_else(|| format!("`{record}.{name}` is without `type`"))?;
            self.comma(place);
            self.canonical.push_str("{\"name\":");
            self.quoted(name);
            self.canonical.push_str(",\"type\":");
            let kind = self.kind(kind, namespace, depth + 1);
            self.canonical.push('}');
            read.push(Field {
                name: name.to_owned(),
                kind: kind.map_err(|error| format!("`{record}.{name}`: {error}"))?,
                default: members.get("default").map(Value::to_string),
            });
        }
        self.canonical.push(']');
        Ok(Kind::Record(read))
    }

    fn comma(&mut self, place: usize) {
        if place > 0 {
            self.canonical.push(',');
        }
    }

    fn quoted(&mut self, text: &str) {
        self.canonical.push('"');
        self.canonical.push_str(text);
        self.canonical.push('"');
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

fn text<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    members.get(name).and_then(Value::as_str)
}

fn full_name(name: &str, namespace: &str) -> String {
    match namespace {
        _ if name.contains('.') => name.to_owned(),
        "" => name.to_owned(),
        space => format!("{space}.{name}"),
    }
}

/// The scale of a decimal; `None` of any other type.
fn scale(members: &Map<String, Value>) -> Result<Option<u32>> {
    if text(members, "logicalType") != Some("decimal") {
        return Ok(None);
    }
    let scale = members.get("scale").map_or(Some(0), Value::as_u64);
    let scale = scale.and_then(|scale| u32::try_from(scale).ok().filter(|scale| *scale <= 38));
    scale.map_or_else(
        || Err("a decimal has a `scale` that is none, or more than 38".into()),
        |scale| Ok(Some(scale)),
    )
}

/// The fingerprint of the specification: a CRC of 64 bits, from the low one on.
fn fingerprint(canonical: &[u8]) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    canonical.iter().fold(EMPTY, |print, byte| {
        let mut row = (print ^ u64::from(*byte)) & 0xff;
        for _ in 0..8 {
            row = (row >> 1) ^ (EMPTY * (row & 1));
        }
        print >> 8 ^ row
    })
}
