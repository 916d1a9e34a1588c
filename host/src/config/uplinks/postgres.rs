//! What an uplink into a table has.

use super::super::address::{AddressError, BrokerAddress};
use super::super::connection::{self, Role};
use super::super::fields::Fields;
use super::super::secret;
use super::super::tree::Node;
use super::spoken::{Spoken, batch, connections};
use crate::config::problem::code::ProblemCode;
use crate::uplink::postgres::{Cell, Config};
use crate::uplink::{IdForm, UplinkKind};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &["postgres", "batch", "password", "tls", "connections"];

/// Letters of a name that the server keeps; it cuts what is longer.
const NAME_BYTES: usize = 63;
/// Columns of a row, at most.
const MOST_COLUMNS: usize = 100;

const COLUMNS: [(&str, &str); 5] = [
    ("id", "{id}"),
    ("ts", "{time}"),
    ("device", "{device}"),
    ("topic", "{topic}"),
    ("payload", "{payload}"),
];

pub(super) fn read(fields: &mut Fields<'_>, url: &str, gateway: &str, name: &str) -> Spoken {
    let (address, user, database) = place(fields, url);
    let tls = connection::tls(fields, &address, "postgres");
    let (batch_messages, batch_bytes) = batch(fields);
    let mut section = fields.section("postgres");
    let table = table(&mut section);
    let create = section.flag("create");
    let columns = columns(&mut section);
    section.done();
    let own = Config {
        id: format!("tidegate-{gateway}-{name}"),
        host: address.host,
        port: address.port,
        tls,
        user,
        password: secret::read(fields, "password"),
        database,
        table,
        create,
        columns,
        batch_messages,
        batch_bytes,
        deadlines: connection::deadlines(fields, Role::Uplink),
        backoff: connection::backoff(fields),
    };
    let connections = connections(fields);
    Spoken::answered(fields, UplinkKind::Postgres(own), IdForm::None, connections)
}

/// Where it is, who logs in, and which database.
fn place(fields: &mut Fields<'_>, url: &str) -> (BrokerAddress, String, String) {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |text: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(is_letter)
    };
    let hint = "write postgres://user@host:5432/database, or postgres+tls:// for TLS";
    let mistake = if !matches!(scheme, "postgres" | "postgres+tls") {
        Some((
            format!(
                "the URL has the unknown scheme `{}`",
                crate::words::line(scheme, 16)
            ),
            hint,
        ))
    } else if login.contains([':', '%']) {
        let hint =
            "use the key `password`, and leave the user alone: postgres://user@host/database";
        Some((format!("the URL {}", AddressError::Login), hint))
    } else if !is_name(login) {
        Some(("the URL names no user".to_owned(), hint))
    } else if database.contains('?') {
        let hint = "write postgres+tls:// for TLS; everything else is a key";
        Some(("the URL has more than a database".to_owned(), hint))
    } else if !is_name(database) {
        Some(("the URL names no database".to_owned(), hint))
    } else {
        None
    };
    if let Some((message, hint)) = mistake {
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
        return (nowhere(fields), String::new(), String::new());
    }
    let parsed = BrokerAddress::parse_as(&format!("{scheme}://{server}"), scheme, 5432);
    let address = parsed.unwrap_or_else(|error| {
        let hint = match &error {
            AddressError::Brackets(_) | AddressError::Host(_) | AddressError::Port => error.hint(),
            _ => hint.to_owned(),
        };
        fields.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
        nowhere(fields)
    });
    connection::unusual_port(fields, &address, (scheme, "server"));
    let tls = address.tls || scheme == "postgres+tls";
    (
        BrokerAddress { tls, ..address },
        login.to_owned(),
        database.to_owned(),
    )
}

/// What follows from the scheme is not to be a second mistake.
fn nowhere(fields: &Fields<'_>) -> BrokerAddress {
    BrokerAddress {
        host: String::new(),
        port: 0,
        tls: fields.has("tls"),
        websocket: None,
    }
}

/// Whether the server takes it as the name of a table or column as it is.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES && !name.contains('\0')
}

fn table(section: &mut Fields<'_>) -> Vec<String> {
    let written = section.text("table").unwrap_or("messages");
    let parts: Vec<String> = written.split('.').map(str::to_owned).collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
        let message = format!("`{}.table` is no name of a table", section.path);
        let hint =
            "write \"readings\", or \"schema.readings\"; each part has 1 to 63 bytes".to_owned();
        section.problem(ProblemCode::Choice, "table", message, hint);
    }
    parts
}

/// Each column with what is in it; without any, those that `create` makes.
fn columns(section: &mut Fields<'_>) -> Vec<(String, Cell)> {
    let plain = || {
        COLUMNS
            .iter()
            .filter_map(|(name, cell)| Some(((*name).to_owned(), Cell::parse(cell).ok()?)))
            .collect()
    };
    let Some(mut table) = section.table("columns") else {
        return plain();
    };
    let mut columns = Vec::new();
    for entry in table.entries() {
        let path = format!("{}.{}", table.path, entry.key.escape_debug());
        let Node::Text(text) = &entry.item.node else {
            table.wrong_type(&path, "text", &entry.item);
            continue;
        };
        let cell = match Cell::parse(text) {
            Err(mistake) => Err((
                format!("`{path}` {mistake}"),
                "id, time, payload or payload.NAME may stand in braces alone; gateway, class, topic and device with other text, too",
            )),
            Ok(_) if !is_name(&entry.key) => Err((
                format!("`{path}` is no name of a column"),
                "it has 1 to 63 bytes",
            )),
            Ok(cell) => Ok(cell),
        };
        match cell {
            Ok(cell) => columns.push((entry.key.clone(), cell)),
            Err((message, hint)) => {
                let place = entry.item.place;
                table
                    .check
                    .problem(ProblemCode::Choice, place, message, hint.to_owned());
            }
        }
    }
    if columns.len() > MOST_COLUMNS || (columns.is_empty() && !table.check.has_errors()) {
        let message = format!("`{}` has {} columns", table.path, columns.len());
        let hint = format!("a row has 1 to {MOST_COLUMNS}");
        section.problem(ProblemCode::OutOfRange, "columns", message, hint);
    }
    columns
}
