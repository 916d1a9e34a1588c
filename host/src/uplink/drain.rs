//! One connection after the other, by what upstream speaks.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::carrier::{Carrier, CarrierEnded};
use super::error::Error;
use super::judge::Haste;
#[cfg(feature = "kafka")]
use super::kafka;
use super::part::Shard;
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "s3")]
use super::s3;
use super::serve::{Parting, Uplink};
use super::settings::{Config, UplinkKind};
use super::shared::UplinkContext;
use super::{batch, file, http, mqtt, nats};
use crate::link::{Causes, Redial, Stop};
use crate::message::OwedQueues;

/// The pause before an attempt that comes at once, where the other end ended the connection.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Whether upstream is there, in words: nothing is sent and nothing stays there. A broker is asked by whoever asks, over `mqtt`.
///
/// # Errors
/// In words for the operator: why it is not, and what to do.
pub async fn reach(kind: &UplinkKind) -> Result<String, String> {
    match kind {
        UplinkKind::Mqtt(_) => Ok(String::new()),
        UplinkKind::Http(server) => http::reach(server).await.map_err(|error| in_words(&error)),
        UplinkKind::Nats(own) => nats::reach(own).await.map_err(|error| in_words(&error)),
        UplinkKind::File(folder) => file::reach(folder).await.map_err(|error| in_words(&error)),
        #[cfg(feature = "postgres")]
        UplinkKind::Postgres(own) => postgres::reach(own).await.map_err(|error| in_words(&error)),
        #[cfg(feature = "kafka")]
        UplinkKind::Kafka(own) => kafka::reach(own).await.map_err(|error| in_words(&error)),
        #[cfg(feature = "s3")]
        UplinkKind::S3(own) => s3::reach(own).await.map_err(|error| in_words(&error)),
    }
}

fn in_words(error: &dyn std::error::Error) -> String {
    Causes(error).to_string()
}

/// One connection, dialled again whenever it is lost.
pub(super) async fn drain(
    config: Config,
    part: Shard,
    owed: OwedQueues,
    shared: UplinkContext,
    stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    let boot = owed.backlog.boot();
    let mut uplink = Uplink::new(&config, part, owed, &shared);
    let name = config.name;
    let link = &shared.metrics.link;
    match config.kind {
        UplinkKind::Mqtt(broker) => {
            let redial = mqtt::redial(broker, name, link);
            keep_sending::<mqtt::MqttCarrier>(redial, &mut uplink, &shared, stop).await
        }
        UplinkKind::Http(server) => {
            let redial = batch::redial(server, name, link);
            keep_sending::<http::HttpCarrier>(redial, &mut uplink, &shared, stop).await
        }
        UplinkKind::Nats(own) => {
            let redial = nats::redial(own, name, link);
            keep_sending::<nats::NatsCarrier>(redial, &mut uplink, &shared, stop).await
        }
        UplinkKind::File(folder) => {
            let redial = file::redial(folder, boot, name, link);
            keep_sending::<file::FileCarrier>(redial, &mut uplink, &shared, stop).await
        }
        #[cfg(feature = "postgres")]
        UplinkKind::Postgres(own) => {
            let redial = batch::redial(own, name, link);
            keep_sending::<postgres::PostgresCarrier>(redial, &mut uplink, &shared, stop).await
        }
        #[cfg(feature = "kafka")]
        UplinkKind::Kafka(own) => {
            let redial = batch::redial(own, name, link);
            keep_sending::<kafka::KafkaCarrier>(redial, &mut uplink, &shared, stop).await
        }
        #[cfg(feature = "s3")]
        UplinkKind::S3(own) => {
            let redial = batch::redial(own, name, link);
            keep_sending::<s3::S3Carrier>(redial, &mut uplink, &shared, stop).await
        }
    }
}

async fn keep_sending<C: Carrier>(
    mut redial: Redial<C::Dial>,
    uplink: &mut Uplink,
    shared: &UplinkContext,
    mut stop: watch::Receiver<Stop>,
) -> Result<(), Error> {
    let failed = || shared.duty.iter().for_each(|duty| duty.failed());
    while let Some(up) = redial.connect_or(&mut stop, failed).await {
        let mut carrier = C::from(up);
        let unfit = if uplink.is_unfit(&carrier.limits()) {
            Some(CarrierEnded::Level0Only)
        } else {
            uplink.mute(&mut carrier, &mut stop).await
        };
        if let Some(unfit) = unfit {
            carrier.close().await;
            redial.lost(&unfit);
            failed();
            continue;
        }
        let shaky = redial.is_alarming();
        carrier.online(&mut redial);
        uplink.post.take().await;
        let served = uplink.serve(carrier, shaky, &mut stop).await;
        uplink.post.leave(Instant::now());
        match served {
            Ok(()) => break,
            Err(Parting::Lost(CarrierEnded::Renewal)) => redial.renew(),
            Err(Parting::Lost(ended)) => {
                match uplink.haste(&ended) {
                    Haste::Now => redial.hasten(Duration::ZERO),
                    Haste::AtOnce => redial.hasten(AT_ONCE),
                    Haste::Soon => redial.worked(),
                    Haste::Later => {}
                }
                redial.lost_as(uplink.failure(&ended), &ended);
            }
            Err(Parting::Broken(error)) => {
                redial.left();
                return Err(error);
            }
        }
    }
    redial.left();
    Ok(())
}
