//! The table that rows go into, as the server's catalog has it, and the statements that are made of that. Names come from the config and
//! are quoted; types are the server's own words for them.

use tokio_postgres::{Client, Error, Statement};

use super::Config;
use super::row::RowShape;
use super::settings::Cell;
use crate::uplink::form::column::Column;

/// The table, and what is put into it by one statement.
#[derive(Clone, Debug)]
pub(super) struct TargetTable {
    /// How values of each column are written, in the order of the config.
    pub(super) shapes: Vec<RowShape>,
    /// Inserts rows from an array for each column.
    pub(super) insert: Statement,
    /// Finds out whether this user may, and changes nothing.
    pub(super) check: String,
    /// The columns by which the server knows a repeat.
    pub(super) key: Vec<String>,
}

/// Columns of a table by name: the type as it is cast to, and its name in the catalog. Without a length: a cast to one would cut what is
/// too long, and say nothing.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, -1), coalesce(b.typname, t.typname)::text \
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype \
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";

/// The columns of each unique index that holds for all rows and at once.
const KEYS: &str = "SELECT array_agg(a.attname::text ORDER BY k.n)::text[] \
     FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n) \
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
     WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
     AND i.indpred IS NULL AND i.indexprs IS NULL AND k.n <= i.indnkeyatts GROUP BY i.indexrelid";

impl TargetTable {
    /// Looks the table up, and makes it where that is asked for and it is not there.
    pub(super) async fn find(client: &Client, config: &Config) -> Result<Self, Error> {
        let name = quoted_name(&config.table);
        let find = "SELECT to_regclass($1::text)::oid";
        let mut found: Option<u32> = client.query_one(find, &[&name]).await?.try_get(0)?;
        if found.is_none() && config.create {
            make(client, config).await?;
            found = client.query_one(find, &[&name]).await?.try_get(0)?;
        }
        // One that is not there has no columns, and the server says so.
        let oid = found.unwrap_or_default();
        let mut types = Vec::new();
        for row in client.query(COLUMNS, &[&oid]).await? {
            let (name, cast, kind): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            types.push((name, cast, RowShape::of(&kind)));
        }
        let mut keys: Vec<Vec<String>> = Vec::new();
        for row in client.query(KEYS, &[&oid]).await? {
            keys.push(row.try_get(0)?);
        }
        let columns: Vec<(&str, &str, RowShape)> = config
            .columns
            .iter()
            .map(|(name, _)| {
                let found = types.iter().find(|(known, ..)| known == name);
                found.map_or(
                    (name.as_str(), "text", RowShape::Plain),
                    |(_, cast, shape)| (name.as_str(), cast.as_str(), *shape),
                )
            })
            .collect();
        let key = key(keys, config);
        let insert = client.prepare(&insert(&name, &columns, &key)).await?;
        let check = check(&name, &columns, &key);
        client.batch_execute(&check).await?;
        Ok(Self {
            shapes: columns.iter().map(|(.., shape)| *shape).collect(),
            insert,
            check,
            key,
        })
    }
}

/// The smallest unique key that has the column of the id, of columns that are filled: whatever is new has another one.
fn key(keys: Vec<Vec<String>>, config: &Config) -> Vec<String> {
    let is_id = |name: &String| {
        config
            .columns
            .iter()
            .any(|(known, cell)| known == name && *cell == Cell::One(Column::Id))
    };
    let is_filled = |name: &String| config.columns.iter().any(|(known, _)| known == name);
    keys.into_iter()
        .filter(|key| key.iter().any(is_id) && key.iter().all(is_filled))
        .min_by_key(Vec::len)
        .unwrap_or_default()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_name(parts: &[String]) -> String {
    let parts: Vec<_> = parts.iter().map(|part| quoted(part)).collect();
    parts.join(".")
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

fn conflict(key: &[String]) -> String {
    if key.is_empty() {
        return String::new();
    }
    let names = list(key.iter().map(String::as_str));
    format!(" ON CONFLICT ({names}) DO NOTHING")
}

/// Name, type to cast to, and how its values are written.
type InsertColumn<'a> = (&'a str, &'a str, RowShape);

fn insert(table: &str, columns: &[InsertColumn<'_>], key: &[String]) -> String {
    let names = list(columns.iter().map(|(name, ..)| *name));
    let numbered = |make: &dyn Fn(usize, &InsertColumn<'_>) -> String| {
        let made: Vec<_> = (1..)
            .zip(columns)
            .map(|(number, column)| make(number, column))
            .collect();
        made.join(", ")
    };
    let casts = numbered(&|number, (_, cast, shape)| match shape {
        RowShape::Bytes => format!("c{number}"),
        _ => format!("c{number}::{cast}"),
    });
    let arrays = numbered(&|number, (.., shape)| match shape {
        RowShape::Bytes => format!("${number}::bytea[]"),
        _ => format!("${number}::text[]"),
    });
    let aliases = numbered(&|number, _| format!("c{number}"));
    let conflict = conflict(key);
    format!(
        "INSERT INTO {table} ({names}) SELECT {casts} FROM unnest({arrays}) AS tidegate({aliases}){conflict}"
    )
}

/// An EXPLAIN looks at rights as the statement would, and does nothing.
fn check(table: &str, columns: &[(&str, &str, RowShape)], key: &[String]) -> String {
    let names = list(columns.iter().map(|(name, ..)| *name));
    let nothing = vec!["NULL"; columns.len()].join(", ");
    let conflict = conflict(key);
    format!("EXPLAIN INSERT INTO {table} ({names}) VALUES ({nothing}){conflict}")
}

/// Makes the table. That it is being made by somebody else at the same time, another connection of ours perhaps, is no failure:
/// `IF NOT EXISTS` does not see that.
async fn make(client: &Client, config: &Config) -> Result<(), Error> {
    const MADE_MEANWHILE: [&str; 3] = ["23505", "42P07", "42710"];
    match client.batch_execute(&create(config)).await {
        Err(error)
            if error
                .code()
                .is_some_and(|code| MADE_MEANWHILE.contains(&code.code())) =>
        {
            Ok(())
        }
        made => made,
    }
}

fn create(config: &Config) -> String {
    let columns: Vec<_> = config
        .columns
        .iter()
        .map(|(name, cell)| {
            let kind = match cell {
                Cell::One(Column::Id) => "text PRIMARY KEY",
                Cell::One(Column::Time) => "timestamptz",
                Cell::One(Column::Payload | Column::Member(_)) => "jsonb",
                Cell::One(_) | Cell::Text(_) => "text",
            };
            format!("{} {kind}", quoted(name))
        })
        .collect();
    let (table, columns) = (quoted_name(&config.table), columns.join(", "));
    format!("CREATE TABLE IF NOT EXISTS {table} ({columns})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_values_are_arrays_of_parameters() {
        let columns = [
            ("id", "text", RowShape::Plain),
            ("at\"; DROP", "timestamp with time zone", RowShape::Plain),
            ("raw", "bytea", RowShape::Bytes),
        ];
        let table = quoted_name(&["farm".to_owned(), "read\"ings".to_owned()]);
        assert_eq!(
            insert(&table, &columns, &["id".to_owned()]),
            "INSERT INTO \"farm\".\"read\"\"ings\" (\"id\", \"at\"\"; DROP\", \"raw\") \
             SELECT c1::text, c2::timestamp with time zone, c3 \
             FROM unnest($1::text[], $2::text[], $3::bytea[]) AS tidegate(c1, c2, c3) ON CONFLICT (\"id\") DO NOTHING"
        );
        assert_eq!(
            check("\"t\"", &columns[..1], &[]),
            "EXPLAIN INSERT INTO \"t\" (\"id\") VALUES (NULL)"
        );
    }
}
