//! What most cases start from: configs in three lanes, and a gateway between two brokers with a watch behind.

use std::fs;

use anyhow::{Result, ensure};
use tidegate_tests::tally::{Sent, Verdict};
use tidegate_tests::{Broker, Gateway, Load, Plan, Watch, wait_until};

/// Short back-offs, so that a case does not wait for a link that is there again.
const BACKOFF: &str = r#"{ first = "50ms", cap = "400ms", jitter = 0.2 }"#;

/// One source and one uplink at these URLs, and the flows.
pub fn config(field: &str, cloud: &str, flows: &str) -> String {
    format!(
        "[source.field]\nurl = \"{field}\"\nbackoff = {BACKOFF}\n\n[uplink.cloud]\nurl = \"{cloud}\"\nbackoff = {BACKOFF}\n\n{flows}"
    )
}

/// A flow of all readings to `up/<topic>` in three lanes; `plugins` are its `[[flow.all.plugin]]` tables.
pub fn flow(plugins: &str) -> String {
    format!(
        "[flow.all]\nfrom = \"field\"\ntopics = [\"devices/{{device}}/telemetry\"]\nto = {{ out = \"cloud:telemetry\" }}\ntopic = \"up/{{topic}}\"\nlanes = 3\n\n{plugins}"
    )
}

/// A plugin of [`flow`] from a file beside the config; a case cannot wait a minute for a version to be confirmed, and a busy
/// machine may keep an honest call waiting.
pub fn plugin_file(name: &str, file: &str) -> String {
    format!(
        "[[flow.all.plugin]]\nname = \"{name}\"\nplugin = \"{file}\"\nprobation = {{ time = \"2s\", messages = 500 }}\nlimits = {{ time = \"5s\" }}\n\n"
    )
}

/// Everything that [`flow`] brings upstream.
pub const UP: &str = "up/#";

/// Checks that what was sent has come out at least once, in order per device.
pub fn expect_at_least_once(verdict: &Verdict) -> Result<()> {
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// Waits until all that was acknowledged has arrived, then compares. What never comes shows as lost.
pub fn compare(sent: &Sent, watch: Watch) -> Result<Verdict> {
    let (all, mut seen) = (sent.count() as u64, 0);
    // A time-out here is not the finding: the comparison says how much is missing.
    while seen < all && wait_until("more has arrived", || watch.count() > seen).is_ok() {
        seen = watch.count();
    }
    Ok(sent.against(&watch.stop()?, |_, _| true))
}

/// A gateway between two embedded brokers.
pub struct Scene {
    pub field: Broker,
    pub cloud: Broker,
    pub watch: Watch,
    pub gateway: Gateway,
}

impl Scene {
    /// These flows, and these files beside the config.
    pub fn with(flows: &str, files: &[(&str, Vec<u8>)]) -> Result<Self> {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let setup = Gateway::with(config(&field.url(), &cloud.url(), flows));
        for (file, content) in files {
            let path = setup.folder().join(file);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, content)?;
        }
        let watch = Watch::start(cloud.address(), UP)?;
        let gateway = setup.start()?;
        Ok(Self {
            field,
            cloud,
            watch,
            gateway,
        })
    }

    /// The config with other flows.
    pub fn config(&self, flows: &str) -> String {
        config(&self.field.url(), &self.cloud.url(), flows)
    }

    /// A load on the field broker.
    pub fn load(&self, plan: Plan) -> Load {
        Load::start(self.field.address(), plan)
    }
}
