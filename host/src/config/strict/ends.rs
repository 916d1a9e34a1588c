//! Sources and uplinks: what others on the way could read or write, and what is not acknowledged.

use super::advice::Advice;
use super::{StrictLook, place_in, site};
use crate::config::SourceSpec;
use crate::config::tree::{Table, TomlEntry};
use crate::message::Qos;
use crate::source::{self, Ack};
use crate::uplink;

const OVER_TLS: &str =
    "write mqtts:// or https://, or go through a tunnel such as WireGuard and name its address";

impl<'a> StrictLook<'a> {
    pub(super) fn ends(&mut self) {
        let config = self.config;
        for (entry, table) in self.tables("source") {
            let own = config
                .sources
                .iter()
                .filter(|source| is_of(&source.name, &entry.key));
            let own: Vec<&SourceSpec> = own.collect();
            if let Some(first) = own.first() {
                self.source(entry, table, first);
                self.unacknowledged(entry, table, &own);
            }
        }
        for (entry, table) in self.tables("uplink") {
            let own = config
                .uplinks
                .iter()
                .find(|uplink| uplink.name == entry.key.as_str().into());
            if let Some(own) = own {
                self.uplink(entry, table, own);
            }
        }
        self.outage();
        self.name();
    }

    fn source(&mut self, entry: &'a TomlEntry, table: &'a Table, spec: &SourceSpec) {
        let subject = format!("source.{}", entry.key);
        let url = place_in(table, "url", entry.place);
        match &spec.kind {
            source::SourceKind::Http(own) => {
                let is_near = site::is_within(&own.host) && !site::is_everywhere(&own.host);
                if own.tls.is_none() && !is_near {
                    let message = format!(
                        "`{subject}` takes requests in the clear from every network that this machine is in"
                    );
                    let hint = "write https:// with `tls`, or the address of one network: http://192.168.0.7:8080";
                    self.find(Advice::PlainTcp, &*subject, url, message, hint);
                }
                let has_ca = own.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
                if own.token.is_none() && !has_ca && !site::is_loopback(&own.host) {
                    let place = place_in(table, "open", entry.place);
                    let message =
                        format!("`{subject}` takes messages from everybody who reaches it");
                    let hint = "set `token`, or `client_ca` in `tls`, and leave `open` out";
                    self.find(Advice::OpenPort, subject, place, message, hint);
                }
            }
            source::SourceKind::Modbus(own) => {
                if let source::modbus::ModbusAddress::Net { host, .. } = &own.address
                    && !site::is_within(host)
                {
                    let message = format!(
                        "Modbus to `{host}` crosses networks of others, and Modbus knows no TLS"
                    );
                    let hint = "go through a tunnel such as WireGuard, and name its address";
                    self.find(Advice::PlainTcp, subject, url, message, hint);
                }
            }
            kind => {
                let facts = kind.facts();
                let dials = facts.dials.filter(|host| !site::is_within(host));
                if let Some(host) = dials.filter(|_| facts.tls.is_none()) {
                    self.in_the_clear(&subject, url, host);
                }
                let listens = facts.listens.filter(|at| !site::is_loopback(at.host));
                if listens.is_some() {
                    self.open_to_all(&subject, (entry, table));
                }
            }
        }
    }

    /// A port at which nobody has to show anything.
    fn open_to_all(&mut self, subject: &str, (entry, table): (&'a TomlEntry, &'a Table)) {
        let message = format!("`{subject}` takes messages from everybody who reaches it");
        let hint = "name the address of one network that is yours alone, and accept this; or have the devices speak MQTT or HTTP with a login";
        let place = place_in(table, "open", entry.place);
        self.find(Advice::OpenPort, subject, place, message, hint);
    }

    /// A level at which the field broker forgets what it has sent, for flows that promise to keep it.
    fn unacknowledged(&mut self, entry: &'a TomlEntry, table: &'a Table, own: &[&SourceSpec]) {
        let is_level_0 = own.iter().any(
            |spec| matches!(&spec.kind, source::SourceKind::Mqtt(own) if own.qos == Qos::AtMostOnce),
        );
        let mut routes = own.iter().flat_map(|spec| &spec.routes);
        if is_level_0 && routes.any(|route| route.ack == Ack::Safe) {
            let subject = format!("source.{}", entry.key);
            let message =
                format!("`{subject}` asks for QoS 0: its broker forgets a message once it is sent");
            let place = place_in(table, "qos", entry.place);
            self.find(
                Advice::Qos0,
                subject,
                place,
                message,
                "write qos = 1, or leave it out",
            );
        }
    }

    fn uplink(&mut self, entry: &'a TomlEntry, table: &'a Table, own: &uplink::Config) {
        let subject = format!("uplink.{}", entry.key);
        if let uplink::UplinkKind::File(folder) = &own.kind {
            if folder.keep_bytes.is_none() {
                self.keeps_all(subject, entry, table);
            }
            return;
        }
        let uplink::UplinkFacts {
            host,
            tls,
            has_login,
            ..
        } = own.kind.facts();
        let is_known = has_login || tls.is_some_and(|tls| tls.identity.is_some());
        let url = place_in(table, "url", entry.place);
        if !site::is_within(host) {
            if tls.is_none() {
                self.in_the_clear(&subject, url, host);
            }
            if !is_known {
                let message = format!("`{subject}` shows nothing by which `{host}` could know it");
                let hint = "add `user` and `password`, `token`, or `cert` and `key` in `tls`";
                self.find(Advice::NoIdentity, &*subject, entry.place, message, hint);
            }
        }
        self.levels(entry, table, own);
    }

    fn keeps_all(&mut self, subject: String, entry: &'a TomlEntry, table: &'a Table) {
        let message = format!("`{subject}` keeps every file it has written");
        let place = place_in(table, "files", entry.place);
        let hint = "add `keep` to `files`, as in files = { keep = \"8GiB\" }, or accept it where somebody fetches them";
        self.find(Advice::FilesWithoutKeep, subject, place, message, hint);
    }

    fn levels(&mut self, entry: &'a TomlEntry, table: &'a Table, own: &uplink::Config) {
        let subject = format!("uplink.{}", entry.key);
        if own.kind.has_levels() && own.qos == Qos::AtMostOnce {
            let place = place_in(table, "qos", entry.place);
            let message = format!(
                "`{subject}` publishes with QoS 0: a message counts as delivered once it is written to the socket"
            );
            self.find(
                Advice::Qos0,
                &*subject,
                place,
                message,
                "write qos = 1, or leave it out",
            );
        }
        if own.allows_level_0 {
            let place = place_in(table, "allow_qos0", entry.place);
            let message = format!("`{subject}` goes on with QoS 0 where its broker takes no more");
            let hint = "leave it out, and the alarm says when a broker takes no more";
            self.find(Advice::Qos0, subject, place, message, hint);
        }
    }

    fn in_the_clear(&mut self, subject: &str, place: crate::config::tree::Place, host: &str) {
        let message =
            format!("`{subject}` speaks with `{host}` in the clear, over networks of others");
        self.find(Advice::PlainTcp, subject, place, message, OVER_TLS);
    }

    /// Nobody upstream hears that this gateway has vanished.
    fn outage(&mut self) {
        let is_broker = |uplink: &&uplink::Config| uplink.kind.broker().is_some();
        let mut brokers = self.config.uplinks.iter().filter(is_broker).peekable();
        let Some(first) = brokers.peek().map(|uplink| uplink.owner.to_string()) else {
            return;
        };
        if brokers.any(|uplink| {
            uplink
                .kind
                .broker()
                .is_some_and(|broker| broker.will.is_some())
        }) {
            return;
        }
        let found = self
            .tables("uplink")
            .into_iter()
            .find(|(entry, _)| entry.key == first);
        let Some((entry, _)) = found else { return };
        let place = entry.place;
        let message =
            "no uplink leaves a last will: nobody upstream hears when this gateway is gone";
        let hint = "add, for example: will = { topic = \"gateways/barn-7/status\", payload = \"offline\", online = \"online\", retain = true }";
        self.find(
            Advice::OutageUntold,
            format!("uplink.{first}"),
            place,
            message,
            hint,
        );
    }

    /// Client ids are made of the gateway's name, and that is the machine's where nobody says otherwise.
    fn name(&mut self) {
        let tables = [self.tables("source"), self.tables("uplink")].concat();
        let is_nameless = |(_, table): &&(&TomlEntry, &'a Table)| {
            let url = table.get("url").map(|item| &item.node);
            let is_mqtt = matches!(url, Some(crate::config::tree::Node::Text(url)) if url.starts_with("mqtt"));
            is_mqtt && table.get("client_id").is_none()
        };
        let has_name = self
            .config
            .origin
            .tree
            .table("gateway")
            .is_some_and(|gateway| gateway.get("name").is_some());
        let Some((entry, _)) = tables.iter().find(is_nameless).filter(|_| !has_name) else {
            return;
        };
        let place = self.place_or("gateway", "name", entry.place);
        let message = "the gateway is called as its machine is: `name` is not set";
        let hint = "add to [gateway], for example: name = \"barn-7\", another one on each machine";
        self.find(Advice::DefaultName, "gateway", place, message, hint);
    }
}

/// Whether a source as it runs is the one in the config, or its part for flows with `priority`.
fn is_of(running: &str, written: &str) -> bool {
    running == written
        || running
            .strip_prefix(written)
            .is_some_and(|rest| rest.starts_with(':'))
}
