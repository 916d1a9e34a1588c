//! What an SQLSTATE says about the rows of a statement: <https://www.postgresql.org/docs/current/errcodes-appendix.html>. No sockets,
//! no clock.

/// What is made of an SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SqlVerdict {
    /// One of the rows at least is not taken, now or ever.
    Refused,
    /// The server failed, perhaps over one of them, or nobody foresaw what it says: trials show which.
    Failed,
    /// It is about the table, the user or the database: nothing is taken before somebody has mended that.
    Held,
    /// Nothing is taken for now, whatever it is.
    Away,
    /// It passes, and may be about one of the rows (which is locked, or lies on another server) or about all.
    Passing,
}

impl SqlVerdict {
    /// By the code where it is one of its class that means something else, else by its class.
    pub(super) fn of(sqlstate: &str) -> Self {
        match sqlstate {
            // Too large or too deep for the server, and not by its settings; what a trigger raises.
            "54000" | "54001" | "P0001" => return Self::Refused,
            // A standby; as many connections as there may be; what an operator does to the server.
            "25006" | "53300" | "57P01" | "57P02" | "57P03" => return Self::Away,
            // Cancelled, by a time-out of the server or by hand.
            "57014" => return Self::Failed,
            _ => {}
        }
        match sqlstate.get(..2).unwrap_or_default() {
            // Data that the column does not take; a rule of the table; one of a view.
            "22" | "23" | "44" => Self::Refused,
            // What the statement names is not there, is something else, or may not be used by this user; no such database or schema;
            // a login.
            "42" | "3D" | "3F" | "28" | "0A" | "0L" | "0P" => Self::Held,
            // The connection, which may be a foreign table's; a state of the session; a conflict with another transaction; no room,
            // perhaps in one partition; a row that is locked.
            "08" | "25" | "40" | "53" | "55" | "57" | "58" => Self::Passing,
            _ => Self::Failed,
        }
    }
}

/// What to do about a code that is said of the table, the user or the database.
pub(super) fn hint(sqlstate: &str) -> &'static str {
    match sqlstate {
        "42501" => {
            "grant the user INSERT on the table, SELECT on the columns of its unique index (ON CONFLICT reads them), and USAGE on its schema; for `create` also CREATE there"
        }
        "42P01" | "3F000" => "make the table, or set `create = true`",
        "42703" => "check `postgres.columns` against the table",
        "3D000" => "check the database in `url`",
        _ if sqlstate.starts_with("28") => {
            "check the user in `url`, `password`, and pg_hba.conf of the server"
        }
        _ => "check `postgres` against the table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_verdict_and_an_unknown_one_is_found_out_by_trials() {
        for (codes, verdict) in [
            (
                &[
                    "22P02", "22021", "22003", "23502", "23505", "23514", "44000", "54000", "P0001",
                ][..],
                SqlVerdict::Refused,
            ),
            (
                &[
                    "42P01", "42703", "42501", "42804", "3D000", "3F000", "28P01", "28000", "0A000",
                ],
                SqlVerdict::Held,
            ),
            (
                &["08001", "40001", "40P01", "53100", "55P03", "58030"],
                SqlVerdict::Passing,
            ),
            (&["25006", "53300", "57P01", "57P03"], SqlVerdict::Away),
            (
                &["57014", "XX000", "P0002", "38000", "F0000", "", "?"],
                SqlVerdict::Failed,
            ),
        ] {
            for code in codes {
                assert_eq!(SqlVerdict::of(code), verdict, "{code}");
            }
        }
    }

    #[test]
    fn what_holds_says_what_to_do() {
        assert!(hint("28P01").contains("password") && hint("42P01").contains("create"));
        assert!(
            hint("42501").contains("grant") && hint("42804").contains("columns")
                || hint("42804").contains("postgres")
        );
    }
}
