//! What is made of connections that end.

use super::{Case, Face, Judge, Place, State, remember};

/// Suspects at a time when nothing was accepted in between: upstream is in trouble, and none of them is.
const SUSPECTS: usize = 8;

impl Judge {
    /// The connection ended, while `first` was the first message without an answer. Gives the one that is convicted.
    pub(in crate::uplink) fn ended(&mut self, first: Option<Face>) -> Option<Place> {
        if let Some((place, _)) = self.testing.take() {
            return self.strike(place);
        }
        if self.comparing_since.is_some() {
            // It ends connections over what it took before: the trouble is its own.
            self.cases.retain(|case| !matches!(case.state, State::Suspect { .. }));
            return None;
        }
        // Some refuse, and hang up upon it; nothing else is suspected then.
        let is_parked = |face: &Face| !self.cases.iter().any(|case| case.face.place == face.place);
        if self.last_refused.as_ref().is_some_and(is_parked) {
            return None;
        }
        let face = self.last_refused.or(first)?;
        if self.hold.is_some() {
            self.failed_probe(face);
            return None;
        }
        let is_known = |case: &Case| case.face.place == face.place && matches!(case.state, State::Suspect { .. });
        if !self.cases.iter().any(is_known) {
            self.cases.retain(|case| case.face.place != face.place);
            let state = State::Suspect { alone: u32::from(self.last_refused.is_some()), compared: 0 };
            self.cases.push_back(Case { face, state, is_here: false, is_out: false, probes: 0 });
        }
        let suspects = self.cases.iter().filter(|case| matches!(case.state, State::Suspect { .. })).count();
        if suspects > SUSPECTS && !self.has_delivered {
            self.cases.retain(|case| !matches!(case.state, State::Suspect { .. }));
        }
        None
    }

    /// Upstream, which takes nothing, ended the connection: other ones are tried before this one.
    fn failed_probe(&mut self, face: Face) {
        let index = self.cases.iter().position(|case| case.face.place == face.place);
        let known = index.and_then(|index| self.cases.remove(index));
        let probes = 1 + known.map_or(0, |case| case.probes);
        self.cases.push_back(Case { face, state: State::Again, is_here: false, is_out: false, probes });
    }

    fn strike(&mut self, place: Place) -> Option<Place> {
        let has_delivered = self.has_delivered;
        let case = self.cases.iter_mut().find(|case| case.face.place == place)?;
        let State::Suspect { alone, compared } = &mut case.state else { return None };
        *if has_delivered { &mut *compared } else { &mut *alone } += 1;
        let (alone, compared, face) = (*alone, *compared, case.face);
        let is_known = self.convicted.contains(&(face.topic, face.is_own));
        let is_guilty = match (face.is_own, is_known) {
            (true, _) => compared >= 2,
            (false, true) => compared >= 1,
            (false, false) => (alone >= 1 && compared >= 2) || compared >= 3,
        };
        if is_guilty {
            self.convict(face);
        }
        is_guilty.then_some(place)
    }

    pub(super) fn convict(&mut self, face: Face) {
        self.has_convicted = true;
        remember(&mut self.convicted, (face.topic, face.is_own));
        self.cases.retain(|case| case.face.place != face.place);
        self.release(face.key);
    }
}
