//! What most cases start from: a gateway between two brokers with a watch behind.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_tests::cut::Cuttable;
use tidegate_tests::tally::{Sent, Verdict};
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Setup, Watch, wait_until};

/// A plugin from a file beside the config; a case cannot wait a minute for a version to be confirmed, and a busy machine may
/// keep an honest call waiting.
pub fn plugin_file(name: &str, file: &str) -> String {
    format!(
        "name = \"{name}\"\nplugin = \"{file}\"\nprobation = {{ time = \"2s\", messages = 500 }}\nlimits = {{ time = \"5s\" }}\n"
    )
}

/// [`Config::forwarding`] under the topics as they come.
pub fn unnamed() -> Config {
    Config::forwarding().without("flow.all.topic")
}

/// A load that is sent as fast as it is acknowledged, to its end.
pub fn send_all(field: &Broker, total: usize) -> Result<Sent> {
    let plan = Plan {
        rate: None,
        total: Some(total),
        ..Plan::default()
    };
    Load::start(field.address(), plan).wait()
}

/// Everything that [`Config::forwarding`] brings upstream.
pub const UP: &str = "up/#";

/// Kills the gateway so many times, each at a random moment of its first `longest` milliseconds, with `link` there and dark in
/// turns; it is there at the end.
pub fn kill_at_random(
    mut setup: Setup,
    link: Option<&Cuttable>,
    kills: usize,
    longest: u64,
) -> Result<Setup> {
    for kill in 0..kills {
        match link {
            Some(link) if kill % 3 == 2 => link.go_dark(),
            Some(link) => link.back(),
            None => {}
        }
        let gateway = setup.launch()?;
        // The time until the kill is the experiment; nothing is synchronised by it.
        std::thread::park_timeout(Duration::from_millis(fastrand::u64(100..longest)));
        setup = gateway.kill()?;
    }
    if let Some(link) = link {
        link.back();
    }
    Ok(setup)
}

/// Checks that what was sent has come out at least once, in order per device.
pub fn expect_at_least_once(verdict: &Verdict) -> Result<()> {
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// The same where nothing may come twice either.
pub fn expect_exactly_once(sent: &Sent, watch: Watch) -> Result<Verdict> {
    let verdict = compare(sent, watch)?;
    ensure!(verdict.is_exactly_once(), "{verdict}");
    Ok(verdict)
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
    /// This config between two brokers, and these files beside it.
    pub fn with(config: &Config, files: &[(&str, Vec<u8>)]) -> Result<Self> {
        Self::between(Broker::embedded()?, Broker::embedded()?, config, files)
    }

    /// The same with these brokers.
    pub fn between(
        field: Broker,
        cloud: Broker,
        config: &Config,
        files: &[(&str, Vec<u8>)],
    ) -> Result<Self> {
        let setup = Gateway::with(config.clone().between(&field.url(), &cloud.url()));
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

    /// This config between these brokers.
    pub fn here(&self, config: &Config) -> Config {
        let config = config.clone();
        config.between(&self.field.url(), &self.cloud.url())
    }

    /// A load on the field broker.
    pub fn load(&self, plan: Plan) -> Load {
        Load::start(self.field.address(), plan)
    }
}
