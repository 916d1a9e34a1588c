//! The stage and the play: what is started, what happens when, and what is told.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::layout::{FilterLevel, Layout};
use super::link::LinkProxy;
use super::process::ChildProcess;
use super::scrape::{self, GatewayFigures};
use super::view::{DemoSample, View};
use super::{Closing, Config, Error};
use crate::cli::show;
use crate::message::Qos;
use crate::sim::{self, Connections, Expect, SimConfig, Simulation, Until, Watch};

/// Between two looks at the figures.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A swap takes a fraction of a second, and on a small machine that is busy many: the file is noticed, compiled, proven.
const SWAP_LIMIT: Duration = Duration::from_secs(60);
/// Without any progress for this long the closing tally is made as things are.
const STANDSTILL: Duration = Duration::from_secs(10);
/// Figures must hold still this long before they count as final.
const STILL: Duration = Duration::from_millis(750);
/// One payload in so many is broken on purpose.
const BROKEN_EVERY: u64 = 499;
const TOPIC: &str = "devices/{device}/telemetry";
const WATCHED: &str = "up/#";

/// How the time of sending is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timetable {
    before_cut: Duration,
    before_swaps: Duration,
    between_swaps: Duration,
    after_swaps: Duration,
    after_restore: Duration,
}

impl Timetable {
    fn of(sending: Duration) -> Self {
        Self {
            before_cut: sending.mul_f64(0.2),
            before_swaps: sending.mul_f64(0.15),
            between_swaps: sending.mul_f64(0.15),
            after_swaps: sending.mul_f64(0.15),
            after_restore: sending.mul_f64(0.3),
        }
    }
}

pub struct Scene {
    field: ChildProcess,
    cloud: ChildProcess,
    gateway: ChildProcess,
    link: LinkProxy,
    layout: Layout,
    addresses: Addresses,
    folder: PathBuf,
    simulation: Option<Simulation>,
    began: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    field: SocketAddr,
    cloud: SocketAddr,
    admin: SocketAddr,
}

impl Scene {
    /// Starts brokers, link and gateway.
    pub async fn set<W: Write>(config: &Config, view: &mut View<W>) -> Result<Self, Error> {
        let folder = |source| Error::Folder {
            folder: config.folder.clone(),
            source,
        };
        std::fs::create_dir_all(&config.folder).map_err(folder)?;
        let (field, field_address) =
            ChildProcess::broker(&config.program, "field-broker", &config.folder).await?;
        let (cloud, cloud_address) =
            ChildProcess::broker(&config.program, "upstream-broker", &config.folder).await?;
        let link = LinkProxy::open(cloud_address)
            .await
            .map_err(Error::setup("the link"))?;
        let layout =
            Layout::create(&config.folder, field_address, link.address()).map_err(folder)?;
        let text = format!(
            "Two brokers are up: devices send to mqtt://{field_address}, upstream is mqtt://{cloud_address}."
        );
        tell(view, &text)?;
        let started = Instant::now();
        let (gateway, admin) = ChildProcess::gateway(
            &config.program,
            &layout.config(),
            &layout.data(),
            &config.folder,
        )
        .await?;
        let text = format!(
            "The gateway runs decode-json, filter and threshold; it took {:.1} s to start.",
            started.elapsed().as_secs_f64()
        );
        tell(view, &text)?;
        Ok(Self {
            field,
            cloud,
            gateway,
            link,
            layout,
            addresses: Addresses {
                field: field_address,
                cloud: cloud_address,
                admin,
            },
            folder: config.folder.clone(),
            simulation: None,
            began: Instant::now(),
        })
    }

    /// Traffic, cut, swaps, mend, drain, tally.
    pub async fn play<W: Write>(
        &mut self,
        config: &Config,
        view: &mut View<W>,
    ) -> Result<Closing, Error> {
        let plan = Timetable::of(config.sending);
        self.simulation = Some(Simulation::start(self.simulated(config)?).await?);
        let text = format!(
            "{} devices send {} readings a second; the filter passes those above 20 °C.",
            config.devices,
            show::count(u64::from(config.rate))
        );
        tell(view, &text)?;
        self.watch(view, plan.before_cut).await?;

        self.link.cut();
        tell(
            view,
            "Link cut: upstream is out of reach. The spool takes what is owed.",
        )?;
        self.watch(view, plan.before_swaps).await?;
        self.swap_settings(view).await?;
        self.watch(view, plan.between_swaps).await?;
        self.swap_file(view).await?;
        self.watch(view, plan.after_swaps).await?;

        self.link.restore();
        tell(
            view,
            "Link back: the gateway reconnects and the spool drains, oldest first.",
        )?;
        self.watch(view, plan.after_restore).await?;
        self.close(view).await
    }

    fn simulated(&self, config: &Config) -> Result<SimConfig, Error> {
        let id = std::process::id();
        let settings = |address: SocketAddr, name: &str| {
            let connection =
                sim::broker(&format!("mqtt://{address}"), &format!("demo-{name}-{id}"));
            connection.expect("a socket address makes a URL that parses")
        };
        Ok(SimConfig {
            broker: settings(self.addresses.field, "devices"),
            connections: Connections::ONE,
            devices: config.devices,
            rate: config.rate,
            until: Until::Told,
            topic: TOPIC.to_owned(),
            qos: Qos::AtLeastOnce,
            broken_every: Some(BROKEN_EVERY),
            seed: u64::from(id),
            patience: STANDSTILL,
            watch: Some(Watch {
                broker: settings(self.addresses.cloud, "watcher"),
                filter: WATCHED.to_owned(),
                expect: Expect::Above20,
                settle: STILL,
            }),
        })
    }

    /// Another setting in the config: more readings pass from now on.
    async fn swap_settings<W: Write>(&mut self, view: &mut View<W>) -> Result<(), Error> {
        let before = self.look().await?.figures.swaps;
        self.layout
            .write_config(FilterLevel::Above15)
            .map_err(|source| Error::Folder {
                folder: self.folder.clone(),
                source,
            })?;
        let took = self
            .swapped(view, before, "the filter's new setting")
            .await?;
        let text = format!(
            "Plugin swapped in {} ms with the link down: the filter now passes readings above 15 °C. No restart, nothing dropped.",
            took.as_millis()
        );
        tell(view, &text)
    }

    /// Another build of a plugin: its state is handed over.
    async fn swap_file<W: Write>(&mut self, view: &mut View<W>) -> Result<(), Error> {
        let before = self.look().await?.figures.swaps;
        self.layout
            .rebuild("threshold", "second build")
            .map_err(|source| Error::Folder {
                folder: self.folder.clone(),
                source,
            })?;
        let took = self
            .swapped(view, before, "the new build of threshold")
            .await?;
        let text = format!(
            "Plugin swapped in {} ms: threshold.wasm was replaced, its state per device was handed over.",
            took.as_millis()
        );
        tell(view, &text)
    }

    /// Waits until the gateway has counted one more swap.
    async fn swapped<W: Write>(
        &mut self,
        view: &mut View<W>,
        before: u64,
        what: &'static str,
    ) -> Result<Duration, Error> {
        let changed = Instant::now();
        while changed.elapsed() < SWAP_LIMIT {
            let sample = self.look().await?;
            if sample.figures.swaps > before {
                return Ok(changed.elapsed());
            }
            show(view, sample)?;
            tokio::time::sleep(LOOK_EVERY / 10).await;
        }
        let log = self.folder.join("gateway.log").display().to_string();
        Err(Error::NotSwapped {
            what,
            limit: SWAP_LIMIT,
            log,
        })
    }

    /// Shows the figures for a while.
    async fn watch<W: Write>(&mut self, view: &mut View<W>, time: Duration) -> Result<(), Error> {
        let until = Instant::now() + time;
        loop {
            show(view, self.look().await?)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    async fn look(&mut self) -> Result<DemoSample, Error> {
        self.gateway.check()?;
        let address = self.addresses.admin;
        let (_, text) = scrape::get(address, "/metrics")
            .await
            .map_err(|source| Error::Metrics { address, source })?;
        Ok(DemoSample {
            at: self.began.elapsed(),
            progress: self
                .simulation
                .as_ref()
                .map(Simulation::progress)
                .unwrap_or_default(),
            figures: GatewayFigures::parse(&text),
            cut: self.link.is_cut(),
        })
    }

    /// Ends the sending, waits until nothing moves any more, and adds up.
    async fn close<W: Write>(&mut self, view: &mut View<W>) -> Result<Closing, Error> {
        if let Some(simulation) = &self.simulation {
            simulation.stop_sending();
        }
        tell(view, "The devices stop. What is owed still drains.")?;
        let mut last = self.look().await?;
        let mut moved = Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let sample = self.look().await?;
            show(view, sample)?;
            if (sample.progress, sample.figures) != (last.progress, last.figures) {
                (last, moved) = (sample, Instant::now());
            }
            let sending = self.simulation.as_ref().is_some_and(Simulation::is_sending);
            let limit = if sending || !is_settled(&last) {
                STANDSTILL
            } else {
                STILL
            };
            if moved.elapsed() >= limit {
                break;
            }
        }
        view.settle();
        if let Some(simulation) = self.simulation.take() {
            simulation.finish().await?;
        }
        Ok(Closing::new(last.progress, last.figures))
    }

    /// What can be tried by hand.
    pub fn invitation(&self) -> String {
        let Addresses {
            field,
            cloud,
            admin,
        } = self.addresses;
        let reading =
            r#"{"device":"hand","seq":1,"ts":1700000000000000,"temperature":25.5,"humidity":40.5}"#;
        format!(
            "\nBrokers and gateway go on running until Ctrl-C. See what arrives upstream:\n  \
             mosquitto_sub -h {} -p {} -t 'up/#' -t 'alarms/#' -v\nSend a reading as a device:\n  \
             mosquitto_pub -h {} -p {} -q 1 -t devices/hand/telemetry -m '{reading}'\nMetrics:\n  \
             http://{admin}/metrics\nChange a plugin's settings or replace its file:\n  {}\n  {}",
            cloud.ip(),
            cloud.port(),
            field.ip(),
            field.port(),
            self.layout.config().display(),
            self.layout.plugin("filter").display(),
        )
    }

    /// Ends devices, gateway, link and brokers, in that order.
    pub async fn end(self) {
        drop(self.simulation);
        self.gateway.stop().await;
        self.link.close().await;
        tokio::join!(self.field.stop(), self.cloud.stop());
    }
}

/// Everything that was acknowledged has a fate, and nothing waits.
fn is_settled(sample: &DemoSample) -> bool {
    let DemoSample {
        progress, figures, ..
    } = sample;
    let fates = progress.delivered + figures.filtered + figures.absorbed + figures.dead_letters;
    figures.owed == 0 && figures.waiting == 0 && progress.missing == 0 && fates >= progress.accepted
}

fn tell<W: Write>(view: &mut View<W>, text: &str) -> Result<(), Error> {
    view.tell(text).map_err(Error::setup("output"))
}

fn show<W: Write>(view: &mut View<W>, sample: DemoSample) -> Result<(), Error> {
    view.show(sample).map_err(Error::setup("output"))
}

#[cfg(test)]
mod tests;
