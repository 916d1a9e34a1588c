//! Why a change waits for a restart.

/// In words, for the name of a table or key as [`super::ConfigDifference::other`] has it.
pub fn why_restart(name: &str) -> &'static str {
    match name {
        "gateway" | "spool" | "admin" | "log" => {
            "what concerns the whole gateway (its name, folders, memory, threads, ports, log) is laid out at its start"
        }
        _ => {
            "it gives messages another connection, for `priority`, and each connection is a session of its own at the broker: what is on its way in one would be overtaken or lost if they changed places while messages come"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_them_has_its_reason() {
        assert!(why_restart("spool").contains("at its start"));
        for name in [
            "flow.a.priority",
            "flow.a.to",
            "flow.a.from",
            "flow.a",
            "uplink.a",
        ] {
            assert!(why_restart(name).contains("`priority`"), "{name}");
        }
    }
}
