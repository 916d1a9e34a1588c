//! What a connection says of us beside messages: that we are there, and before it leaves that we are not.

use bytes::Bytes;

use super::Connection;
use crate::link::Causes;
use crate::message::Qos;
use crate::mqtt::{Established, Event, Publish, Will};

/// No message of a caller is sent with it.
const TOKEN: u64 = u64::MAX;

/// That we are there was said.
pub(super) struct Presence {
    /// To be said before we leave: a broker forgets the will of who takes his leave.
    gone: Publish,
    is_answered: bool,
}

impl Connection {
    /// Says that we are there, if the will has words for it. Not at level 2: over a session that is kept the broker may take
    /// its packet id for one of an earlier connection.
    pub(in crate::mqtt) fn announce(&mut self, will: &Will, established: &Established) {
        let Some(online) = &will.online else {
            return;
        };
        let say = |payload: &Bytes, qos: Qos| Publish {
            topic: will.topic.clone().into(),
            payload: payload.clone(),
            qos,
            retain: will.retain,
            ..Publish::default()
        };
        let highest = Qos::AtLeastOnce.min(established.maximum_qos);
        match self
            .session
            .publish(&say(online, will.qos.min(highest)), TOKEN)
        {
            Ok(()) => {
                self.presence = Some(Presence {
                    gone: say(&will.payload, Qos::AtMostOnce),
                    is_answered: false,
                });
            }
            Err(why) => self.is_unheard(&Causes(&why).to_string()),
        }
    }

    /// Takes the answer to that out of what a turn brought.
    pub(super) fn hear(&mut self, events: &mut Vec<Event>, before: usize) {
        let Some(presence) = self.presence.as_mut().filter(|said| !said.is_answered) else {
            return;
        };
        let is_answer = |event: &mut Event| {
            matches!(
                event,
                Event::Accepted { token: TOKEN } | Event::Refused { token: TOKEN, .. }
            )
        };
        let answer = events.extract_if(before.., is_answer).next();
        presence.is_answered = answer.is_some();
        if let Some(Event::Refused { reason, .. }) = answer {
            self.is_unheard(&reason);
        }
    }

    /// Says that we are gone, as the last before DISCONNECT.
    pub(super) fn say_gone(&mut self) {
        if let Some(presence) = self.presence.take()
            && let Err(error) = self.session.publish(&presence.gone, TOKEN)
        {
            tracing::debug!(%error, "that we are gone was not said");
        }
    }

    fn is_unheard(&self, why: &str) {
        if let Some(manners) = &self.manners {
            manners.unheard(why);
        }
    }
}
