//! That what serves the gateway's routes knows none of them.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate::gateway::api;
use tidegate_tests::cases;
use tidegate_tests::source_text::sources;
use tidegate_tests::structure::Graph;

use super::{complain, hits};

pub fn cases() -> Vec<Trial> {
    cases![
        the_transport_names_no_route_and_no_stage,
        no_file_of_api_and_transport_leads_back_to_itself,
    ]
}

/// Every route of the gateway, and the stages by name, in the files of `admin`.
/// Guarantee: what can be asked is added in `gateway/api`, and another transport serves it without being told.
fn the_transport_names_no_route_and_no_stage() -> Result<()> {
    let admin = sources("host/src/admin")?;
    ensure!(admin.len() > 5, "the transport is not where it was");
    let routes = api::reading().into_iter().chain(api::operating());
    // The root stands in every path.
    let paths = routes.map(|route| route.path).filter(|path| *path != "/");
    let paths: Vec<&str> = paths.collect();
    ensure!(paths.len() > 10, "only {} routes", paths.len());
    let named = |path: &&str| admin.iter().any(|source| source.text.contains(*path));
    let mut found: Vec<String> = paths
        .into_iter()
        .filter(named)
        .map(|path| format!("host/src/admin names `{path}`"))
        .collect();
    for word in [
        "gateway",
        "chain",
        "spool",
        "source",
        "uplink",
        "prometheus",
    ] {
        for path in [format!("crate::{word}"), format!("{word}::")] {
            found.extend(hits(&admin, &path, |_| false));
        }
    }
    complain(found)
}

/// Which file names which in `gateway/api` and `admin`.
/// Guarantee: each subject can be read by itself, and is found by following names in one direction.
fn no_file_of_api_and_transport_leads_back_to_itself() -> Result<()> {
    let graph = Graph::of(&sources("host/src")?, "host/src");
    let folders = ["host/src/gateway/api/", "host/src/admin/"];
    let is_ours = |path: &String| folders.iter().any(|folder| path.starts_with(folder));
    let names = |circle: Vec<usize>| -> Vec<String> {
        let files = circle.into_iter().map(|file| graph.files[file].clone());
        files.collect()
    };
    let circles = graph.circles().into_iter().map(names);
    complain(
        circles
            .filter(|circle| circle.iter().any(is_ours))
            .map(|circle| format!("a circle: {}", circle.join(", ")))
            .collect(),
    )
}
