//! A gateway that runs and that no command reaches: where its data folder cannot be written there is no control socket in it.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::CommandFailure;
use crate::config::Config;
use crate::spool;

/// Why the gateway of this config is not to be reached, if one has its data folder, and the disk is the reason.
pub fn by_its_disk(config: &Config) -> Option<CommandFailure> {
    let path = &config.gateway.data_dir;
    if !spool::is_held(&config.spool.path) {
        return None;
    }
    Some(CommandFailure::Unreached {
        path: path.clone(),
        why: what_is_wrong(path)?,
        elsewhere: elsewhere(config),
    })
}

fn what_is_wrong(path: &Path) -> Option<&'static str> {
    let about = statvfs(path).ok()?;
    if about.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Some("its disk is read-only")
    } else if about.f_bavail == 0 || (about.f_files > 0 && about.f_favail == 0) {
        Some("its disk is full")
    } else {
        None
    }
}

/// Where it can be seen all the same.
fn elsewhere(config: &Config) -> String {
    let (address, has_tls) = (config.admin.listen, config.admin.tls.is_some());
    let scheme = if has_tls { "https" } else { "http" };
    if address.port() == 0 {
        return "its log says at which port it is seen".to_owned();
    }
    let url = format!("{scheme}://{address}");
    if config.admin.tokens.is_empty() {
        format!("how it does is seen at {url}/readyz and {url}/")
    } else {
        format!("it is asked at its admin port: tidegate --gateway {url} --token-file FILE status")
    }
}
