//! Which requests read the values of a group: as few as its gaps allow, without the registers that the device refuses. No
//! sockets; time is an argument.

use std::time::{Duration, Instant};

use super::decode::{Reading, read};
use super::map::{Area, Device, Point};

/// A refused value is asked for again so often: firmware is updated.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(3_600);

/// Registers, or bits, that are read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegisterRange {
    pub(super) area: Area,
    pub(super) address: u16,
    pub(super) count: u16,
    /// Which values of the group lie in them, by address.
    points: Vec<usize>,
}

/// A value that the device refuses.
#[derive(Clone, Debug)]
pub(super) struct RefusedPoint {
    pub(super) point: usize,
    /// The name of the exception.
    pub(super) why: &'static str,
    since: Instant,
    again: Instant,
}

/// The requests of a group, which learn from what is refused.
#[derive(Clone, Debug)]
pub(super) struct ReadPlan {
    gap: u16,
    max: u16,
    requests: Vec<RegisterRange>,
    pub(super) refused: Vec<RefusedPoint>,
}

/// One poll under way.
#[derive(Debug)]
pub(super) struct ReadRound {
    todo: Vec<PlannedRange>,
    /// What was asked for and answered.
    answered: Vec<PlannedRange>,
    /// Values that were refused when they were asked for alone.
    bad: Vec<(Option<usize>, usize, &'static str)>,
    /// Requests of the plan that were refused.
    split: Vec<usize>,
    /// For each value of the group.
    readings: Vec<Option<Reading>>,
}

/// A request, and which one of the plan it is a part of; none of a value that is asked for again.
type PlannedRange = (Option<usize>, RegisterRange);

impl ReadPlan {
    pub(super) fn new(device: &Device, points: &[Point]) -> Self {
        let (gap, max) = (device.gap, device.max);
        Self {
            requests: join(points, (0..points.len()).collect(), &[], (gap, max)),
            gap,
            max,
            refused: Vec::new(),
        }
    }

    /// Since when something is refused.
    pub(super) fn refused_since(&self) -> Option<Instant> {
        self.refused.iter().map(|refused| refused.since).min()
    }

    /// The requests of a poll that begins now.
    pub(super) fn begin(&self, points: &[Point], now: Instant) -> ReadRound {
        let own = self.requests.iter().cloned().enumerate();
        let own = own.map(|(index, request)| (Some(index), request));
        let due = self.refused.iter().filter(|refused| refused.again <= now);
        let again = due.map(|refused| (None, RegisterRange::of(points, vec![refused.point])));
        let mut todo: Vec<_> = own.chain(again).collect();
        todo.reverse();
        ReadRound {
            todo,
            answered: Vec::new(),
            bad: Vec::new(),
            split: Vec::new(),
            readings: vec![None; points.len()],
        }
    }

    /// Ends a poll in which every request was answered; whether the refused values are others now. What was halved stays in
    /// parts where no value of it was refused alone: it is a hole between them that the device does not read over.
    pub(super) fn learn(
        &mut self,
        points: &[Point],
        round: ReadRound,
        now: Instant,
    ) -> (Vec<Option<Reading>>, bool) {
        let before: Vec<_> = self.refused.iter().map(|one| one.point).collect();
        for &(_, point, why) in &round.bad {
            let known = self.refused.extract_if(.., |known| known.point == point);
            let since = known.map(|known| known.since).min().unwrap_or(now);
            let again = now + ASK_AGAIN;
            self.refused.push(RefusedPoint {
                point,
                why,
                since,
                again,
            });
        }
        self.refused.sort_by_key(|refused| refused.point);
        let mut requests = Vec::new();
        for (index, request) in self.requests.drain(..).enumerate() {
            if !round.split.contains(&index) {
                requests.push(request);
                continue;
            }
            let bad: Vec<_> = round
                .bad
                .iter()
                .filter(|(origin, ..)| *origin == Some(index))
                .map(|(_, point, _)| *point)
                .collect();
            if bad.is_empty() {
                let parts = round.answered.iter();
                let parts = parts.filter(|(origin, _)| *origin == Some(index));
                requests.extend(parts.map(|(_, part)| part.clone()));
            } else {
                let good = request
                    .points
                    .into_iter()
                    .filter(|point| !bad.contains(point));
                requests.extend(join(points, good.collect(), &bad, (self.gap, self.max)));
            }
        }
        for (_, request) in round.answered.iter().filter(|(origin, _)| origin.is_none()) {
            self.refused
                .retain(|known| !request.points.contains(&known.point));
            requests.push(request.clone());
        }
        self.requests = requests;
        let is_other = before != self.refused.iter().map(|one| one.point).collect::<Vec<_>>();
        (round.readings, is_other)
    }
}

impl ReadRound {
    /// What to ask for next.
    pub(super) fn next(&mut self) -> Option<PlannedRange> {
        self.todo.pop()
    }

    /// Takes the values of a request out of the bytes that came for it.
    pub(super) fn answered(
        &mut self,
        points: &[Point],
        (origin, request): PlannedRange,
        data: &[u8],
    ) {
        for &index in &request.points {
            let point = &points[index];
            self.readings[index] = Some(read(point, point.address - request.address, data));
        }
        self.answered.push((origin, request));
    }

    /// The device can give none of it now.
    pub(super) fn failed(&mut self, request: &RegisterRange, why: &'static str) {
        for &index in &request.points {
            self.readings[index] = Some(Err(why));
        }
    }

    /// The device refuses it for what it is: its halves are asked for, unless it `is_whole`, which is all or nothing.
    pub(super) fn refused(
        &mut self,
        points: &[Point],
        (origin, request): PlannedRange,
        why: &'static str,
        is_whole: bool,
    ) {
        self.split
            .extend(origin.filter(|origin| !self.split.contains(origin)));
        let halves = if is_whole {
            None
        } else {
            request.halves(points)
        };
        if let Some((first, second)) = halves {
            self.todo.push((origin, second));
            self.todo.push((origin, first));
            return;
        }
        self.bad
            .extend(request.points.into_iter().map(|point| (origin, point, why)));
    }
}

impl RegisterRange {
    /// One that reads all of these, which lie in one area.
    fn of(points: &[Point], which: Vec<usize>) -> Self {
        let all = || which.iter().map(|index| &points[*index]);
        let address = all().map(|point| point.address).min().unwrap_or_default();
        let end = all().map(Point::end).max().unwrap_or_default();
        Self {
            area: which
                .first()
                .map_or(Area::Holding, |first| points[*first].area),
            address,
            count: u16::try_from(end - u32::from(address)).unwrap_or(u16::MAX),
            points: which,
        }
    }

    /// Two that read a half of it each; none where all of its values lie in the same registers.
    fn halves(&self, points: &[Point]) -> Option<(Self, Self)> {
        let range = |place: usize| {
            let point = &points[self.points[place]];
            (point.address, point.end())
        };
        let cuts = (1..self.points.len()).filter(|place| range(*place) != range(place - 1));
        let cut = cuts.min_by_key(|place| place.abs_diff(self.points.len() / 2))?;
        let (first, second) = self.points.split_at(cut);
        Some((
            Self::of(points, first.to_vec()),
            Self::of(points, second.to_vec()),
        ))
    }
}

/// Joins values to requests of at most `max` registers, over at most `gap` that nobody asked for and none that is `barred`.
fn join(
    points: &[Point],
    mut which: Vec<usize>,
    barred: &[usize],
    (gap, max): (u16, u16),
) -> Vec<RegisterRange> {
    which.sort_by_key(|index| {
        let point = &points[*index];
        (point.area, point.address, point.count())
    });
    let mut requests: Vec<RegisterRange> = Vec::new();
    for index in which {
        let point = &points[index];
        let most = if point.area.is_bits() {
            u32::from(max) * 16
        } else {
            u32::from(max)
        };
        let joins = |last: &RegisterRange| {
            let begin = u32::from(last.address);
            let end = begin + u32::from(last.count);
            let is_barred = |bad: &&usize| {
                let bad = &points[**bad];
                bad.area == point.area
                    && u32::from(bad.address) < u32::from(point.address)
                    && bad.end() > end
            };
            last.area == point.area
                && u32::from(point.address) <= end + u32::from(gap)
                && point.end().max(end) - begin <= most
                && !barred.iter().any(|bad| is_barred(&bad))
        };
        match requests.pop_if(|last| joins(last)) {
            Some(last) => {
                let all = last.points.into_iter().chain([index]).collect();
                requests.push(RegisterRange::of(points, all));
            }
            None => requests.push(RegisterRange::of(points, vec![index])),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::map::{ByteOrder, Size, ValueFormat, point};
    use super::*;

    fn holding(address: u16, size: Size) -> Point {
        let name = format!("h{address}");
        point(
            &name,
            Area::Holding,
            address,
            ValueFormat::Unsigned(size, ByteOrder::default()),
        )
    }

    fn device(gap: u16, max: u16) -> Device {
        Device {
            name: "d".into(),
            station: 1,
            stale_after: 3,
            gap,
            max,
            groups: Vec::new(),
        }
    }

    fn ranges(plan: &ReadPlan) -> Vec<(u16, u16)> {
        plan.requests
            .iter()
            .map(|request| (request.address, request.count))
            .collect()
    }

    /// Polls a device that refuses every request that touches a register of `holes`; how many it took.
    fn poll(
        plan: &mut ReadPlan,
        points: &[Point],
        holes: &[u16],
        now: Instant,
    ) -> (Vec<Option<Reading>>, usize) {
        let mut round = plan.begin(points, now);
        let mut asked = 0;
        while let Some(part) = round.next() {
            asked += 1;
            let range = part.1.address..part.1.address + part.1.count;
            if holes.iter().any(|hole| range.contains(hole)) {
                round.refused(points, part, "illegal-data-address", false);
            } else {
                let data: Vec<u8> = range.flat_map(u16::to_be_bytes).collect();
                round.answered(points, part, &data);
            }
        }
        (plan.learn(points, round, now).0, asked)
    }

    #[test]
    fn values_are_joined_as_far_as_gap_and_max_allow() {
        let points: Vec<_> = [8, 0, 1, 4, 300]
            .map(|address| holding(address, Size::One))
            .into();
        assert_eq!(
            ranges(&ReadPlan::new(&device(0, 125), &points)),
            [(0, 2), (4, 1), (8, 1), (300, 1)]
        );
        assert_eq!(
            ranges(&ReadPlan::new(&device(2, 125), &points)),
            [(0, 5), (8, 1), (300, 1)]
        );
        assert_eq!(
            ranges(&ReadPlan::new(&device(3, 125), &points)),
            [(0, 9), (300, 1)]
        );
        assert_eq!(
            ranges(&ReadPlan::new(&device(3, 5), &points)),
            [(0, 5), (8, 1), (300, 1)]
        );
        let bits: Vec<_> = (0..40)
            .map(|bit| point("b", Area::Coil, bit, ValueFormat::Flag))
            .collect();
        assert_eq!(
            ranges(&ReadPlan::new(&device(0, 1), &bits)),
            [(0, 16), (16, 16), (32, 8)]
        );
        let shared = [
            holding(0, Size::Two),
            holding(1, Size::One),
            holding(0, Size::One),
        ];
        assert_eq!(ranges(&ReadPlan::new(&device(0, 125), &shared)), [(0, 2)]);
    }

    #[test]
    fn a_refused_value_is_found_once_left_out_and_asked_for_again_in_an_hour() {
        let points: Vec<_> = (0..100)
            .map(|address| holding(address, Size::One))
            .collect();
        let (mut plan, start) = (ReadPlan::new(&device(0, 125), &points), Instant::now());
        let (readings, asked) = poll(&mut plan, &points, &[61], start);
        assert!(asked <= 15 && readings.iter().filter(|one| one.is_some()).count() == 99);
        assert_eq!(
            plan.refused.iter().map(|one| one.point).collect::<Vec<_>>(),
            [61]
        );
        assert_eq!(poll(&mut plan, &points, &[61], start).1, 2);
        let later = start + ASK_AGAIN;
        assert_eq!(poll(&mut plan, &points, &[61], later).1, 3);
        assert_eq!(poll(&mut plan, &points, &[61], later).1, 2);
        let (readings, _) = poll(&mut plan, &points, &[], later + ASK_AGAIN);
        assert!(readings.iter().all(Option::is_some) && plan.refused.is_empty());
    }

    #[test]
    fn a_hole_between_two_values_parts_them_for_good() {
        let points = [holding(0, Size::One), holding(3, Size::One)];
        let (mut plan, now) = (ReadPlan::new(&device(4, 125), &points), Instant::now());
        assert_eq!(poll(&mut plan, &points, &[1], now).1, 3);
        assert_eq!(poll(&mut plan, &points, &[1], now).1, 2);
        assert!(plan.refused.is_empty());
    }

    #[test]
    fn a_function_that_is_refused_costs_one_request() {
        let points: Vec<_> = (0..50).map(|address| holding(address, Size::One)).collect();
        let (mut plan, now) = (ReadPlan::new(&device(0, 125), &points), Instant::now());
        let mut round = plan.begin(&points, now);
        let part = round.next().unwrap();
        round.refused(&points, part, "illegal-function", true);
        assert!(round.next().is_none());
        plan.learn(&points, round, now);
        assert_eq!((plan.refused.len(), ranges(&plan).len()), (50, 0));
    }

    proptest! {
        #[test]
        fn whatever_is_refused_the_rest_is_read_and_the_next_poll_asks_for_nothing_twice(
            at in prop::collection::btree_set(0_u16..120, 1..40),
            wide in any::<u64>(),
            holes in prop::collection::btree_set(0_u16..124, 0..8),
            gap in 0_u16..6,
            max in 4_u16..125,
        ) {
            let size = |place: usize| if wide >> (place % 64) & 1 == 1 { Size::Two } else { Size::One };
            let points: Vec<_> = at.iter().enumerate().map(|(place, address)| holding(*address, size(place))).collect();
            let holes: Vec<_> = holes.into_iter().collect();
            let now = Instant::now();
            let mut plan = ReadPlan::new(&device(gap, max), &points);
            for request in &plan.requests {
                prop_assert!(request.count <= max);
            }
            let is_whole = |point: &Point| !holes.iter().any(|hole| (u32::from(point.address)..point.end()).contains(&u32::from(*hole)));
            // Twice, where a hole that nobody asked for is found second.
            for _ in 0..3 {
                let (readings, asked) = poll(&mut plan, &points, &holes, now);
                prop_assert!(asked <= 4 * points.len() + 2);
                for (point, reading) in points.iter().zip(&readings) {
                    prop_assert_eq!(reading.is_some(), is_whole(point));
                    if let Some(reading) = reading {
                        let expected = super::super::decode::read(point, 0, &[point.address.to_be_bytes(), (point.address + 1).to_be_bytes()].concat());
                        prop_assert_eq!(reading, &expected);
                    }
                }
            }
            let (_, asked) = poll(&mut plan, &points, &holes, now);
            prop_assert_eq!(asked, plan.requests.len());
        }
    }
}
