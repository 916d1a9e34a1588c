//! What the fields of the sentences are.

use tidegate_sdk::prelude::*;

use crate::fields::{Fields, Members};

/// One or more fields of a sentence, in their order, and what they are called.
#[derive(Debug)]
pub enum Part {
    /// A number.
    Number(&'static str),
    /// A number, and its unit in a field behind it.
    Of(&'static str, char),
    /// A number, and a letter behind it: the first for more than 0, the second for less.
    Sided(&'static str, char, char),
    /// A speed, and the letter of its unit, by which it is called.
    Speed(&'static str),
    /// Degrees to the north or south: two fields.
    Latitude(&'static str),
    /// Degrees to the east or west: two fields.
    Longitude(&'static str),
    /// The time of day.
    Time,
    /// A day of six digits.
    Date,
    /// A day in three fields.
    LongDate,
    /// Words as they are.
    Text(&'static str),
    /// `A` where it is so, else `V`.
    Valid(&'static str),
    /// One of the words, by its letter.
    Word(&'static str, &'static [(&'static str, &'static str)]),
    /// So many whole numbers, of which those that are there are a list.
    List(&'static str, usize),
    /// Satellites in view: four fields each, to the end.
    Satellites,
    /// Transducers: four fields each, to the end.
    Transducers,
    /// Something that is not told.
    Skip,
}

use Part::{
    Date, Latitude, List, LongDate, Longitude, Number, Of, Satellites, Sided, Skip, Speed, Text,
    Time, Transducers, Valid, Word,
};

const VALID: Part = Valid("valid");
const LATITUDE: Part = Latitude("latitude");
const LONGITUDE: Part = Longitude("longitude");
const VARIATION: Part = Sided("magnetic_variation", 'E', 'W');
const RELATIVE: Part = Word("reference", &[("R", "relative"), ("T", "true")]);
const DEPTH: &[Part] = &[
    Of("depth_feet", 'f'),
    Of("depth", 'M'),
    Of("depth_fathoms", 'F'),
];

/// The fields of a sentence; `None` where it is not known.
pub fn parts(sentence: &str) -> Option<&'static [Part]> {
    position(sentence)
        .or_else(|| satellite(sentence))
        .or_else(|| heading(sentence))
        .or_else(|| weather(sentence))
        .or_else(|| voyage(sentence))
}

fn position(sentence: &str) -> Option<&'static [Part]> {
    Some(match sentence {
        "GGA" => &[
            Time,
            LATITUDE,
            LONGITUDE,
            Number("quality"),
            Number("satellites"),
            Number("hdop"),
            Of("altitude", 'M'),
            Of("geoid_separation", 'M'),
            Number("correction_age"),
            Text("correction_station"),
        ],
        "GLL" => &[LATITUDE, LONGITUDE, Time, VALID, Text("mode")],
        "GNS" => &[
            Time,
            LATITUDE,
            LONGITUDE,
            Text("mode"),
            Number("satellites"),
            Number("hdop"),
            Number("altitude"),
            Number("geoid_separation"),
            Number("correction_age"),
            Text("correction_station"),
        ],
        "RMC" => &[
            Time,
            VALID,
            LATITUDE,
            LONGITUDE,
            Number("speed_knots"),
            Number("course"),
            Date,
            VARIATION,
            Text("mode"),
            Text("navigation"),
        ],
        "VTG" => &[
            Of("course", 'T'),
            Of("course_magnetic", 'M'),
            Of("speed_knots", 'N'),
            Of("speed_kmh", 'K'),
            Text("mode"),
        ],
        "ZDA" => &[Time, LongDate, Number("zone_hours"), Number("zone_minutes")],
        _ => return None,
    })
}

fn satellite(sentence: &str) -> Option<&'static [Part]> {
    Some(match sentence {
        "GSA" => &[
            Text("selection"),
            Number("fix"),
            List("satellites", 12),
            Number("pdop"),
            Number("hdop"),
            Number("vdop"),
            Text("system"),
        ],
        "GST" => &[
            Time,
            Number("rms"),
            Number("deviation_major"),
            Number("deviation_minor"),
            Number("orientation"),
            Number("deviation_latitude"),
            Number("deviation_longitude"),
            Number("deviation_altitude"),
        ],
        "GSV" => &[
            Number("of"),
            Number("number"),
            Number("in_view"),
            Satellites,
        ],
        _ => return None,
    })
}

fn heading(sentence: &str) -> Option<&'static [Part]> {
    Some(match sentence {
        "HDG" => &[
            Number("heading_magnetic"),
            Sided("magnetic_deviation", 'E', 'W'),
            VARIATION,
        ],
        "HDM" => &[Of("heading_magnetic", 'M')],
        "HDT" => &[Of("heading_true", 'T')],
        "THS" => &[Number("heading_true"), Text("mode")],
        "ROT" => &[Number("rate_of_turn"), VALID],
        "RSA" => &[
            Number("rudder_starboard"),
            Valid("starboard_valid"),
            Number("rudder_port"),
            Valid("port_valid"),
        ],
        _ => return None,
    })
}

fn weather(sentence: &str) -> Option<&'static [Part]> {
    Some(match sentence {
        "MDA" => &[
            Of("pressure_inhg", 'I'),
            Of("pressure_bar", 'B'),
            Of("temperature", 'C'),
            Of("water_temperature", 'C'),
            Number("humidity"),
            Number("absolute_humidity"),
            Of("dew_point", 'C'),
            Of("wind_direction", 'T'),
            Of("wind_direction_magnetic", 'M'),
            Of("wind_speed_knots", 'N'),
            Of("wind_speed_ms", 'M'),
        ],
        "MTW" => &[Of("water_temperature", 'C')],
        "MWD" => &[
            Of("wind_direction", 'T'),
            Of("wind_direction_magnetic", 'M'),
            Of("wind_speed_knots", 'N'),
            Of("wind_speed_ms", 'M'),
        ],
        "MWV" => &[Number("wind_angle"), RELATIVE, Speed("wind_speed"), VALID],
        "VWR" | "VWT" => &[
            Sided("wind_angle", 'R', 'L'),
            Of("wind_speed_knots", 'N'),
            Of("wind_speed_ms", 'M'),
            Of("wind_speed_kmh", 'K'),
        ],
        "XDR" => &[Transducers],
        _ => return None,
    })
}

fn voyage(sentence: &str) -> Option<&'static [Part]> {
    Some(match sentence {
        "DBK" | "DBS" | "DBT" => DEPTH,
        "DPT" => &[Number("depth"), Number("offset"), Number("range")],
        "RMB" => &[
            VALID,
            Sided("cross_track_nm", 'R', 'L'),
            Text("origin"),
            Text("destination"),
            Latitude("destination_latitude"),
            Longitude("destination_longitude"),
            Number("range_nm"),
            Number("bearing"),
            Number("closing_speed_knots"),
            Valid("arrived"),
            Text("mode"),
        ],
        "RPM" => &[
            Word("source", &[("S", "shaft"), ("E", "engine")]),
            Number("number"),
            Number("rotational_speed"),
            Number("pitch"),
            VALID,
        ],
        "VBW" => &[
            Number("water_speed_along_knots"),
            Number("water_speed_across_knots"),
            Valid("water_valid"),
            Number("ground_speed_along_knots"),
            Number("ground_speed_across_knots"),
            Valid("ground_valid"),
        ],
        "VHW" => &[
            Of("heading_true", 'T'),
            Of("heading_magnetic", 'M'),
            Of("water_speed_knots", 'N'),
            Of("water_speed_kmh", 'K'),
        ],
        "VLW" => &[
            Of("water_distance_nm", 'N'),
            Of("water_trip_nm", 'N'),
            Of("ground_distance_nm", 'N'),
            Of("ground_trip_nm", 'N'),
        ],
        "XTE" => &[
            VALID,
            Skip,
            Sided("cross_track", 'R', 'L'),
            Word("unit", &[("N", "nm"), ("K", "km")]),
        ],
        _ => return None,
    })
}

impl Part {
    /// Reads its fields, and appends what they are.
    ///
    /// # Errors
    /// Something stands in a field that it cannot have.
    pub fn write(&self, fields: &mut Fields<'_>, members: &mut Members<'_>) -> Result<()> {
        match self {
            Number(name) => members.raw(name, fields.number()?.as_deref()),
            Of(name, unit) => members.raw(name, fields.number_of(*unit)?.as_deref()),
            Sided(name, more, less) => {
                members.raw(name, fields.sided(*more, *less)?.as_deref());
            }
            Latitude(name) => members.raw(name, fields.degrees(90, 'N', 'S')?.as_deref()),
            Longitude(name) => members.raw(name, fields.degrees(180, 'E', 'W')?.as_deref()),
            Time => {
                let time = fields.time()?;
                members.time(time);
            }
            Date => {
                let date = fields.date()?;
                members.date(date);
            }
            LongDate => {
                let date = fields.long_date()?;
                members.date(date);
            }
            Text(name) => {
                if let Some(words) = fields.next() {
                    members.text(name, words);
                }
            }
            Valid(name) => match fields.next() {
                None => {}
                Some("A") => members.raw(name, Some("true")),
                Some("V") => members.raw(name, Some("false")),
                Some(other) => return Err(fields.wrong(other, "`A` or `V`")),
            },
            Word(name, words) => {
                if let Some(letter) = fields.next() {
                    let word = words.iter().find(|(known, _)| *known == letter);
                    let (_, word) = word.ok_or_else(|| fields.wrong(letter, "letter of it"))?;
                    members.text(name, word);
                }
            }
            Speed(name) => speed(name, fields, members)?,
            List(name, count) => list(name, *count, fields, members)?,
            Satellites => satellites(fields, members)?,
            Transducers => transducers(fields, members)?,
            Skip => drop(fields.next()),
        }
        Ok(())
    }
}

fn speed(name: &str, fields: &mut Fields<'_>, members: &mut Members<'_>) -> Result<()> {
    let speed = fields.number()?;
    let unit = match fields.next() {
        None if speed.is_none() => return Ok(()),
        Some("K") => "kmh",
        Some("M") => "ms",
        Some("N") => "knots",
        Some("S") => "mph",
        other => return Err(fields.wrong(other.unwrap_or_default(), "unit of a speed")),
    };
    members.raw(&format!("{name}_{unit}"), speed.as_deref());
    Ok(())
}

fn list(
    name: &str,
    count: usize,
    fields: &mut Fields<'_>,
    members: &mut Members<'_>,
) -> Result<()> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.extend(fields.number()?);
    }
    members.list(name, numbers, |number, json| {
        json.extend_from_slice(number.as_bytes());
    });
    Ok(())
}

/// An identification of the signal may stand behind the last one.
fn satellites(fields: &mut Fields<'_>, members: &mut Members<'_>) -> Result<()> {
    let mut satellites = Vec::new();
    while fields.has_more() {
        let number = fields.number()?;
        if !fields.has_more() {
            break;
        }
        let place = [fields.number()?, fields.number()?, fields.number()?];
        if number.is_some() {
            satellites.push((number, place));
        }
    }
    members.list("satellites", satellites, |(number, place), json| {
        let mut satellite = Members::begin(json);
        satellite.raw("satellite", number.as_deref());
        for (name, value) in ["elevation", "azimuth", "snr"].iter().zip(&place) {
            satellite.raw(name, value.as_deref());
        }
        satellite.end();
    });
    Ok(())
}

fn transducers(fields: &mut Fields<'_>, members: &mut Members<'_>) -> Result<()> {
    let mut transducers = Vec::new();
    while fields.has_more() {
        let kind = fields.next();
        let value = fields.number()?;
        transducers.push((kind, value, fields.next(), fields.next()));
    }
    members.list(
        "transducers",
        transducers,
        |(kind, value, unit, name), json| {
            let mut transducer = Members::begin(json);
            let mut word = |member: &str, word: Option<&str>| {
                if let Some(word) = word {
                    transducer.text(member, word);
                }
            };
            word("name", name);
            word("type", kind);
            word("unit", unit);
            transducer.raw("value", value.as_deref());
            transducer.end();
        },
    );
    Ok(())
}
