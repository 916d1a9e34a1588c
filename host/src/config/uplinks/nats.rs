//! What an uplink into streams of a NATS server has.

use super::super::connection::{Role, nats};
use super::super::fields::Fields;
use super::spoken::{Spoken, connections};
use crate::config::problem::code::ProblemCode;
use crate::uplink::nats::{Config, Subject, SubjectOrder};
use crate::uplink::{IdForm, UplinkKind};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &[
    "nats",
    "user",
    "password",
    "token",
    "creds",
    "tls",
    "inflight",
    "connections",
    "id",
];

pub(super) fn read(fields: &mut Fields<'_>, url: &str, gateway: &str, name: &str) -> Spoken {
    let forms = [("none", IdForm::None), ("envelope", IdForm::Envelope)];
    let id = fields.choice("id", &forms).unwrap_or_default();
    let mut section = fields.section("nats");
    let subject = subject(&mut section);
    let orders = [
        ("strict", SubjectOrder::Strict),
        ("window", SubjectOrder::Window),
    ];
    let order = section.choice("order", &orders).unwrap_or_default();
    let inbox = nats::inbox(&mut section);
    section.done();
    let named = (format!("tidegate-{gateway}-{name}"), url);
    let own = Config {
        server: nats::server(fields, Role::Uplink, named, inbox),
        subject,
        order,
        inflight: u16::try_from(fields.count("inflight", 1..=u32::from(u16::MAX)))
            .unwrap_or(u16::MAX),
    };
    let connections = connections(fields);
    Spoken::answered(fields, UplinkKind::Nats(own), id, connections)
}

fn subject(section: &mut Fields<'_>) -> Subject {
    let written = section.text("subject").unwrap_or("{topic}");
    Subject::parse(written).unwrap_or_else(|mistake| {
        let message = format!("`{}.subject` {mistake}", section.path);
        let hint =
            "write \"tele.{device}\": gateway, class, topic and device may stand in it, in braces"
                .to_owned();
        section.problem(ProblemCode::Choice, "subject", message, hint);
        Subject::any()
    })
}
