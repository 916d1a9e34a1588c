//! Sources, uplinks and classes that are others in the config, while the gateway runs. Those that are new are there before the flows that
//! need them, and those that are gone go when no flow needs them any more.

use super::Driver;
use crate::config::{Config, Difference};

impl Driver {
    /// Uplinks begin, or begin anew; sources do when their routes are known.
    pub(super) fn put_ends(&mut self, new: &Config, difference: &Difference) {
        for name in &difference.classes {
            for (queue, policy) in self.parts.config.put_class(new, name) {
                self.parts.spool.set_policy(queue, policy);
            }
            tracing::info!(class = name, "the class gives up as the config says now");
        }
        for name in &difference.sources.put {
            self.parts.config.put_source(new, name);
        }
        for name in &difference.uplinks.put {
            if let Some(config) = self.parts.config.put_uplink(new, name) {
                tracing::info!(
                    uplink = &**name,
                    "the uplink begins anew as the config says now"
                );
                self.ends.put_uplink(config.clone());
            }
        }
    }

    pub(super) fn remove_ends(&mut self, new: &Config, difference: &Difference) {
        for name in &difference.sources.gone {
            if self.parts.config.remove_source(new, name) {
                self.ends.remove_source(name);
                tracing::info!(
                    source = &**name,
                    "the source is gone; what its broker has for it stays there"
                );
            } else {
                tracing::warn!(
                    source = &**name,
                    "the source stays until no flow takes from it"
                );
            }
        }
        for name in &difference.uplinks.gone {
            if self.parts.config.remove_uplink(new, name) {
                self.ends.remove_uplink(name);
                tracing::info!(
                    uplink = &**name,
                    "the uplink is gone; what is owed to it stays in the spool"
                );
            } else {
                tracing::warn!(
                    uplink = &**name,
                    "the uplink stays until no flow leads to it"
                );
            }
        }
    }
}
