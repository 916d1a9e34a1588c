//! The files with certificates that sources, uplinks and the admin port name, and until when they count.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use crate::config::Config;
use crate::gateway::current::Current;
use crate::link;
use crate::uplink;
use crate::words::with_causes;

/// One file of one of them.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Certificate {
    /// Of what it is: `source`, `uplink` or `port`.
    pub(in crate::gateway) kind: &'static str,
    pub(in crate::gateway) name: Arc<str>,
    /// Its key in the config: `cert`, `ca`, `client_ca`.
    pub(in crate::gateway) key: &'static str,
    /// Microseconds since 1970, of the certificate in it that ends first; `None` where it does not say.
    pub(in crate::gateway) until: Result<Option<u64>, String>,
}

/// All that this config names. Reads the files.
pub(in crate::gateway) fn all(config: &Config) -> Vec<Certificate> {
    let sources = config.sources.iter().flat_map(|source| {
        let files = source.kind.certificates().into_iter();
        files.map(|file| ("source", &source.name, file))
    });
    let with_fallback = |uplink| {
        std::iter::successors(Some(uplink), |one: &&uplink::Config| {
            one.fallback.as_deref()
        })
    };
    let uplinks = config
        .uplinks
        .iter()
        .flat_map(with_fallback)
        .flat_map(|uplink| {
            let files = uplink.kind.certificates().into_iter();
            files.map(|file| ("uplink", &uplink.name, file))
        });
    let port: Arc<str> = "admin".into();
    let own = config.admin.tls.iter().flat_map(|tls| {
        let files = tls.certificates().into_iter();
        files.map(|file| ("port", &port, file))
    });
    sources
        .chain(uplinks)
        .chain(own)
        .map(|(kind, name, (key, path))| Certificate {
            kind,
            name: Arc::clone(name),
            key,
            until: link::valid_until(path).map_err(|error| with_causes(&error)),
        })
        .collect()
}

/// Until when they count, for the metrics: the files are read whenever somebody asks, since a renewed one lies in the same
/// place.
pub(in crate::gateway) struct Expiry {
    current: Current,
    until: GaugeVec,
}

impl Expiry {
    /// Of what the config names now.
    ///
    /// # Errors
    /// Never: the name is a good one.
    pub(in crate::gateway) fn new(current: Current) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "tidegate_certificate_expiry_timestamp_seconds",
            "When the certificate in a file expires that a source, an uplink or the admin port names, of several in it the first.",
        );
        let until = GaugeVec::new(opts, &["kind", "name", "key"])?;
        Ok(Self { current, until })
    }
}

impl Collector for Expiry {
    fn desc(&self) -> Vec<&Desc> {
        self.until.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.until.reset();
        for one in all(&self.current.now()) {
            if let Ok(Some(until)) = one.until {
                let gauge = self
                    .until
                    .with_label_values(&[one.kind, &*one.name, one.key]);
                gauge.set(until as f64 / 1e6);
            }
        }
        self.until.collect()
    }
}
