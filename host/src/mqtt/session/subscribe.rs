//! SUBSCRIBE and UNSUBSCRIBE, and what is granted.

use super::{LAST_ID, Session};
use crate::message::Qos;
use crate::mqtt::{Event, Subscription, wire};

/// Filters in one SUBSCRIBE or UNSUBSCRIBE at most: some brokers hang up on the ninth.
const MOST_FILTERS: usize = 8;

/// What was asked for at once, in one SUBSCRIBE or several, and the answers so far.
#[derive(Debug, Default)]
pub(super) struct Asking {
    open: Vec<(u16, Vec<(String, Qos)>)>,
    refused: Vec<(String, String)>,
    lowered: Vec<(String, Qos)>,
}

impl Asking {
    fn has(&self, packet_id: u16) -> bool {
        self.open.iter().any(|(id, _)| *id == packet_id)
    }

    fn refuse<'f>(&mut self, filters: impl IntoIterator<Item = &'f Subscription>, why: &str) {
        self.refused.extend(
            filters
                .into_iter()
                .map(|wanted| (wanted.filter.clone(), why.to_owned())),
        );
    }

    fn into_event(self) -> Event {
        Event::Subscribed {
            refused: self.refused,
            lowered: self.lowered,
        }
    }
}

impl Session {
    /// SUBACK came in; tells what was granted once all that was asked for with it is answered.
    pub(super) fn subscribed(&mut self, packet_id: u16, codes: &[u8]) -> Option<Event> {
        let Some(place) = self.asked.iter().position(|asking| asking.has(packet_id)) else {
            self.stray("SUBACK", packet_id);
            return None;
        };
        let asking = &mut self.asked[place];
        let (_, filters) = asking
            .open
            .extract_if(.., |(id, _)| *id == packet_id)
            .next()?;
        // Codes stand in the order of the filters (MQTT 5 3.9.3); what is over means nothing, and what has none is not granted.
        let mut codes = codes.iter();
        for (filter, wanted) in filters {
            let Some(code) = codes.next() else {
                let why = "the broker's answer has no code for it";
                asking.refused.push((filter, why.to_owned()));
                continue;
            };
            match (self.wire.subscribe_refusal(*code), Qos::from_level(*code)) {
                (Some(why), _) => asking.refused.push((filter, why)),
                (None, Some(granted)) if granted < wanted => asking.lowered.push((filter, granted)),
                (None, _) => {}
            }
        }
        let is_answered = asking.open.is_empty();
        is_answered.then(|| self.asked.swap_remove(place).into_event())
    }

    /// Queues as many SUBSCRIBEs as it takes; filters that cannot be sent are told as refused.
    pub(in crate::mqtt) fn subscribe(&mut self, subscriptions: &[Subscription]) {
        let mut asking = Asking::default();
        let mut plain = Vec::new();
        let mut marked = Vec::new();
        let has_ids = self
            .established
            .as_ref()
            .is_some_and(|established| established.subscription_ids);
        for wanted in subscriptions {
            match wire::check_filter(&wanted.filter) {
                Err(why) => asking.refuse([wanted], why),
                Ok(()) if has_ids && wanted.id.is_some() => marked.push([wanted]),
                Ok(()) => plain.push(wanted),
            }
        }
        let packets = plain
            .chunks(MOST_FILTERS)
            .chain(marked.iter().map(|one| one.as_slice()));
        for wanted in packets {
            let id = wanted
                .first()
                .and_then(|wanted| wanted.id)
                .filter(|_| has_ids);
            match self.put_subscribe(wanted, id, &asking) {
                Ok(packet_id) => {
                    asking.open.push((
                        packet_id,
                        wanted
                            .iter()
                            .map(|wanted| (wanted.filter.clone(), wanted.qos))
                            .collect(),
                    ));
                }
                Err(why) => asking.refuse(wanted.iter().copied(), why),
            }
        }
        if asking.open.is_empty() {
            self.ready.push(asking.into_event());
        } else {
            self.asked.push(asking);
        }
    }

    fn put_subscribe(
        &mut self,
        wanted: &[&Subscription],
        id: Option<u32>,
        asking: &Asking,
    ) -> Result<u16, &'static str> {
        let packet_id = self.subscribe_id(asking).ok_or("too many are unanswered")?;
        let before = self.out.len();
        self.wire.subscribe(packet_id, wanted, id, &mut self.out);
        if self.out.len() - before > self.packet_limit() as usize {
            self.out.truncate(before);
            return Err("it is larger than the broker takes");
        }
        Ok(packet_id)
    }

    /// Queues as many UNSUBSCRIBEs as it takes. What cannot be sent is left: it costs messages that nobody wants, and no more.
    pub(in crate::mqtt) fn unsubscribe(&mut self, filters: &[String]) {
        let filters: Vec<_> = filters
            .iter()
            .filter(|filter| wire::check_filter(filter).is_ok())
            .cloned()
            .collect();
        for some in filters.chunks(MOST_FILTERS) {
            let Some(packet_id) = self.subscribe_id(&Asking::default()) else {
                return;
            };
            let before = self.out.len();
            let written = self
                .wire
                .unsubscribe(packet_id, some.to_vec(), &mut self.out);
            if written.is_err() || self.out.len() - before > self.packet_limit() as usize {
                self.out.truncate(before);
                continue;
            }
            self.unsubscribing += 1;
        }
    }

    fn subscribe_id(&mut self, asking: &Asking) -> Option<u16> {
        (LAST_ID..u16::MAX).find_map(|_| {
            let id = self.next_subscribe;
            self.next_subscribe = if id == u16::MAX { LAST_ID + 1 } else { id + 1 };
            let is_free = !asking.has(id) && !self.asked.iter().any(|asking| asking.has(id));
            is_free.then_some(id)
        })
    }
}
