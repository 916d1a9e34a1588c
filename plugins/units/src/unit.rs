//! The units, and the way from one to another.

use tidegate_sdk::json::Decimal;
use tidegate_sdk::prelude::*;

/// What a unit measures, its names, and how many of the kind's own unit are in it: `times / by`, and for temperatures what is
/// added before that, so that it counts from absolute zero. All of them are exact by definition, but `hp` (550 ft·lbf/s) and
/// `mmHg`, which are given to the digits that are in use.
type Unit = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const UNITS: &[Unit] = &[
    ("a temperature", &["K"],               "1", "1", "0"),
    ("a temperature", &["°C", "C"],         "1", "1", "273.15"),
    ("a temperature", &["°F", "F"],         "5", "9", "459.67"),
    ("a pressure", &["Pa"],                 "1", "1", "0"),
    ("a pressure", &["hPa", "mbar"],        "100", "1", "0"),
    ("a pressure", &["kPa"],                "1000", "1", "0"),
    ("a pressure", &["MPa"],                "1000000", "1", "0"),
    ("a pressure", &["bar"],                "100000", "1", "0"),
    ("a pressure", &["atm"],                "101325", "1", "0"),
    ("a pressure", &["psi"],                "6894.757293168361", "1", "0"),
    ("a pressure", &["mmHg"],               "133.322387415", "1", "0"),
    ("a length", &["m"],                    "1", "1", "0"),
    ("a length", &["mm"],                   "1", "1000", "0"),
    ("a length", &["cm"],                   "1", "100", "0"),
    ("a length", &["km"],                   "1000", "1", "0"),
    ("a length", &["in"],                   "0.0254", "1", "0"),
    ("a length", &["ft"],                   "0.3048", "1", "0"),
    ("a length", &["yd"],                   "0.9144", "1", "0"),
    ("a length", &["mi"],                   "1609.344", "1", "0"),
    ("a speed", &["m/s"],                   "1", "1", "0"),
    ("a speed", &["km/h"],                  "1000", "3600", "0"),
    ("a speed", &["mph"],                   "0.44704", "1", "0"),
    ("a speed", &["kn"],                    "1852", "3600", "0"),
    ("a speed", &["ft/s"],                  "0.3048", "1", "0"),
    ("a mass", &["kg"],                     "1", "1", "0"),
    ("a mass", &["g"],                      "1", "1000", "0"),
    ("a mass", &["t"],                      "1000", "1", "0"),
    ("a mass", &["oz"],                     "0.028349523125", "1", "0"),
    ("a mass", &["lb"],                     "0.45359237", "1", "0"),
    ("an energy", &["J"],                   "1", "1", "0"),
    ("an energy", &["kJ"],                  "1000", "1", "0"),
    ("an energy", &["MJ"],                  "1000000", "1", "0"),
    ("an energy", &["Wh"],                  "3600", "1", "0"),
    ("an energy", &["kWh"],                 "3600000", "1", "0"),
    ("an energy", &["MWh"],                 "3600000000", "1", "0"),
    ("an energy", &["cal"],                 "4.184", "1", "0"),
    ("an energy", &["kcal"],                "4184", "1", "0"),
    ("an energy", &["BTU"],                 "1055.05585262", "1", "0"),
    ("a power", &["W"],                     "1", "1", "0"),
    ("a power", &["kW"],                    "1000", "1", "0"),
    ("a power", &["MW"],                    "1000000", "1", "0"),
    ("a power", &["hp"],                    "745.69987158227022", "1", "0"),
    ("a volume", &["l", "L"],               "1", "1", "0"),
    ("a volume", &["ml", "mL"],             "1", "1000", "0"),
    ("a volume", &["m³", "m3"],             "1000", "1", "0"),
    ("a volume", &["gal"],                  "3.785411784", "1", "0"),
    ("a volume", &["ft³", "ft3"],           "28.316846592", "1", "0"),
    ("a flow", &["l/min", "L/min"],         "1", "1", "0"),
    ("a flow", &["l/h", "L/h"],             "1", "60", "0"),
    ("a flow", &["m³/h", "m3/h"],           "1000", "60", "0"),
    ("a flow", &["gal/min"],                "3.785411784", "1", "0"),
    ("a voltage", &["V"],                   "1", "1", "0"),
    ("a voltage", &["mV"],                  "1", "1000", "0"),
    ("a voltage", &["kV"],                  "1000", "1", "0"),
    ("a current", &["A"],                   "1", "1", "0"),
    ("a current", &["mA"],                  "1", "1000", "0"),
    ("a time", &["s"],                      "1", "1", "0"),
    ("a time", &["ms"],                     "1", "1000", "0"),
    ("a time", &["min"],                    "60", "1", "0"),
    ("a time", &["h"],                      "3600", "1", "0"),
    ("a time", &["d"],                      "86400", "1", "0"),
    ("a share", &["1"],                     "1", "1", "0"),
    ("a share", &["%"],                     "1", "100", "0"),
    ("a share", &["‰"],                     "1", "1000", "0"),
    ("a share", &["ppm"],                   "1", "1000000", "0"),
];

/// Digits behind the point of a number that is counted with exactly, where all of them are too many.
const FINEST: u8 = 20;

/// `(value + before) * times / by + after`.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    before: Decimal,
    times: Decimal,
    by: Decimal,
    after: Decimal,
}

impl Conversion {
    /// From one unit to another of its kind.
    pub fn between(from: &str, to: &str) -> Result<Self> {
        let (from, to) = (find("from", from)?, find("to", to)?);
        if from.0 != to.0 {
            return Err(format!(
                "`{}` is {}, and `{}` is {}",
                from.1[0], from.0, to.1[0], to.0
            )
            .into());
        }
        let number = |text: &str| Decimal::parse(text.as_bytes());
        let conversion = || {
            Some(Self {
                before: number(from.4)?,
                times: number(from.2)?.times(number(to.3)?)?,
                by: number(from.3)?.times(number(to.2)?)?,
                after: Decimal::from(0).minus(number(to.4)?)?,
            })
        };
        Ok(conversion().ok_or("these units are too far apart")?)
    }

    /// By a factor and an offset.
    pub fn linear(factor: Decimal, offset: Decimal) -> Self {
        Self {
            before: 0.into(),
            times: factor,
            by: 1.into(),
            after: offset,
        }
    }

    /// The converted number; `None` when it has too many digits even for a double.
    pub fn apply(&self, number: Decimal) -> Option<Decimal> {
        // Digits that nobody measures are no reason to count with a double, which would show that in others.
        let rounded = || self.exactly(number.rounded(FINEST));
        self.exactly(number).or_else(rounded).or_else(|| {
            // More than 38 digits in between: as many as a double has.
            let [before, times, by, after] =
                [self.before, self.times, self.by, self.after].map(Decimal::to_f64);
            let result = (number.to_f64() + before) * times / by + after;
            Decimal::parse(format!("{result:e}").as_bytes())
        })
    }

    fn exactly(&self, number: Decimal) -> Option<Decimal> {
        // The offset behind the division as well, so that nothing is rounded before it.
        let sum = number.plus(self.before)?.times(self.times)?;
        sum.plus(self.after.times(self.by)?)?.over(self.by)
    }
}

fn find(setting: &str, name: &str) -> Result<&'static Unit> {
    let unit = UNITS.iter().find(|unit| unit.1.contains(&name));
    Ok(unit.ok_or_else(|| {
        let known: Vec<&str> = UNITS.iter().map(|unit| unit.1[0]).collect();
        format!(
            "`{setting}` is no unit known here: `{name}`; there are: {}",
            known.join(", ")
        )
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_beyond_all_measure_leave_no_trace() {
        for (from, to, text, shown) in [
            ("°C", "°F", "1e-35", "32"),
            (
                "°C",
                "K",
                "0.1000000000000000000000000000000000001",
                "273.25",
            ),
            (
                "°F",
                "°C",
                "-4.000000000000000000000000000000000001e1",
                "-40",
            ),
        ] {
            let conversion = Conversion::between(from, to).unwrap();
            let result = conversion.apply(Decimal::parse(text.as_bytes()).unwrap());
            assert_eq!(result.unwrap().to_json(), shown, "{text} {from} {to}");
        }
    }

    #[test]
    fn every_unit_leads_to_every_other_of_its_kind_and_back() {
        for (kind, names, ..) in UNITS {
            for (_, others, ..) in UNITS.iter().filter(|unit| unit.0 == *kind) {
                let there = Conversion::between(names[0], others[0]).unwrap();
                let back = Conversion::between(others[0], names[0]).unwrap();
                let value = there.apply(Decimal::parse(b"12.5").unwrap()).unwrap();
                let value = back.apply(value).unwrap().to_f64();
                assert!((value - 12.5).abs() < 1e-8, "{names:?} {others:?}: {value}");
            }
        }
    }
}
