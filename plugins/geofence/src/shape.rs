//! Circles and polygons on the earth, and whether a place is in them.

use tidegate_sdk::prelude::*;

/// The earth's mean radius, metres.
const EARTH: f64 = 6_371_008.8;

/// Metres from the first corner of a polygon, and radius of a circle, at most.
const FURTHEST: f64 = 100_000.0;

/// Degrees beyond which a plane is no map.
const MOST_LATITUDE: f64 = 85.0;

/// Corners of a polygon at most.
const MOST_CORNERS: usize = 500;

/// A place in degrees.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    latitude: f64,
    longitude: f64,
}

impl Place {
    /// Checks that there is such a place.
    pub fn new(latitude: f64, longitude: f64) -> Result<Self> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return Err(format!("there is no place at {latitude}, {longitude}").into());
        }
        Ok(Self {
            latitude,
            longitude,
        })
    }

    /// Metres between two places.
    fn distance(self, other: Self) -> f64 {
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let across = (other.longitude - self.longitude).to_radians();
        let half = ((to - from) / 2.0).sin().powi(2)
            + from.cos() * to.cos() * (across / 2.0).sin().powi(2);
        2.0 * EARTH * half.sqrt().min(1.0).asin()
    }

    /// Metres east and north of it on a plane through `self`. The shorter way around the earth is meant.
    fn plane(self, other: Self) -> [f64; 2] {
        let east = (other.longitude - self.longitude + 540.0).rem_euclid(360.0) - 180.0;
        let north = other.latitude - self.latitude;
        let metres = EARTH * std::f64::consts::PI / 180.0;
        [
            east * metres * self.latitude.to_radians().cos(),
            north * metres,
        ]
    }
}

/// A fence's shape.
#[derive(Debug)]
pub enum Shape {
    /// A middle, and a radius in metres.
    Circle(Place, f64),
    /// The first corner, and all corners on a plane through it.
    Polygon(Place, Vec<[f64; 2]>),
}

impl Shape {
    /// A circle of so many metres.
    pub fn circle([latitude, longitude]: [f64; 2], radius: f64) -> Result<Self> {
        let center =
            Place::new(latitude, longitude).map_err(|error| format!("`center`: {error}"))?;
        if !(radius > 0.0 && radius <= FURTHEST) {
            return Err(format!("`radius` is more than 0, and {FURTHEST} metres at most").into());
        }
        Ok(Self::Circle(center, radius))
    }

    /// A polygon by its corners.
    pub fn polygon(corners: &[[f64; 2]]) -> Result<Self> {
        if !(3..=MOST_CORNERS).contains(&corners.len()) {
            return Err(format!("`polygon` has 3 to {MOST_CORNERS} corners").into());
        }
        let places = corners
            .iter()
            .map(|[latitude, longitude]| Place::new(*latitude, *longitude));
        let places: Vec<Place> = places
            .collect::<Result<_>>()
            .map_err(|error| format!("`polygon`: {error}"))?;
        let first = places[0];
        if places
            .iter()
            .any(|place| place.latitude.abs() > MOST_LATITUDE)
        {
            return Err(
                format!("`polygon` goes beyond {MOST_LATITUDE} degrees: take a circle").into(),
            );
        }
        if places.iter().any(|place| first.distance(*place) > FURTHEST) {
            return Err(format!("`polygon` is wider than {FURTHEST} metres").into());
        }
        let plane = places.iter().map(|place| first.plane(*place)).collect();
        Ok(Self::Polygon(first, plane))
    }

    /// Whether a place is in it, or no further beyond its border than `margin` metres.
    pub fn holds(&self, place: Place, margin: f64) -> bool {
        match self {
            Self::Circle(center, radius) => center.distance(place) <= radius + margin,
            Self::Polygon(first, corners) => {
                let at = first.plane(place);
                let sides = || corners.iter().zip(corners.iter().cycle().skip(1));
                let crossed = sides().filter(|(from, to)| is_crossed(at, **from, **to));
                crossed.count() % 2 == 1
                    || margin > 0.0 && sides().any(|(from, to)| to_side(at, *from, *to) <= margin)
            }
        }
    }
}

/// Whether a line from the place to the east crosses a side.
fn is_crossed([x, y]: [f64; 2], [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> bool {
    (y1 > y) != (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
}

/// Metres from a place to a side.
fn to_side([x, y]: [f64; 2], [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> f64 {
    let (along, up) = (x2 - x1, y2 - y1);
    let length = along * along + up * up;
    let part = if length > 0.0 {
        (((x - x1) * along + (y - y1) * up) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (x - x1 - part * along).hypot(y - y1 - part * up)
}
