//! Which files are watched, and what is done when one has new content.

use std::path::PathBuf;

use crate::chain::Artefact;
use crate::config::{Config, Sources};
use crate::gateway::live::desk::Orders;
use crate::gateway::live::request::DriverRequest;
use crate::gateway::live::watch::FileWatch;
use crate::trust::signature_path;

/// Looks at these files; what is new in one is asked of the thread of changes.
pub(super) fn watch(files: &[PathBuf], desk: &Orders) -> std::io::Result<FileWatch> {
    let desk = desk.clone();
    FileWatch::start(files.to_owned(), move |path, content| {
        desk.offer(DriverRequest::Changed {
            path: path.to_owned(),
            content,
        });
    })
}

/// The config's files, and those of the components and signatures that it names.
pub(super) fn watched(config: &Config, origin: &Sources) -> Vec<PathBuf> {
    let mut files = vec![origin.path.clone(), origin.parts_folder()];
    for plugin in config.flows.iter().flat_map(|flow| &flow.plugins) {
        let Artefact::File(path) = &plugin.artefact else {
            continue;
        };
        files.push(path.clone());
        if !plugin.trust.keys.is_empty() {
            files.push(signature_path(path));
        }
    }
    files.extend(config.gateway.trust.missing.iter().cloned());
    files.sort();
    files.dedup();
    files
}
