//! The fields of a sentence, one after the other, and the members that are made of them.

use std::io::Write as _;

use tidegate_sdk::calendar;
use tidegate_sdk::foreign::text;
use tidegate_sdk::json::{Decimal, plain_number};
use tidegate_sdk::prelude::*;

/// Digits of a degree behind the point: a millimetre.
const DIGITS: u8 = 8;

/// The fields that were not read yet.
#[derive(Debug)]
pub struct Fields<'t> {
    sentence: &'t str,
    rest: Option<&'t str>,
    number: usize,
}

impl<'t> Fields<'t> {
    /// Those of a sentence.
    pub fn new(sentence: &'t str, fields: &'t str) -> Self {
        Self {
            sentence,
            rest: Some(fields),
            number: 0,
        }
    }

    /// The next one; `None` where it is empty, or there are no more.
    pub fn next(&mut self) -> Option<&'t str> {
        self.number += 1;
        let rest = self.rest?;
        let (field, rest) = match rest.split_once(',') {
            Some((field, rest)) => (field, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        Some(field.trim()).filter(|field| !field.is_empty())
    }

    /// Whether there are more, be they empty.
    pub fn has_more(&self) -> bool {
        self.rest.is_some()
    }

    /// What is wrong with the field that was read last.
    pub fn wrong(&self, field: &str, what: &str) -> Error {
        let (sentence, number) = (self.sentence, self.number);
        let shown = field.get(..20).unwrap_or(field);
        format!("{sentence}: field {number} is no {what}: `{shown}`").into()
    }

    /// A number, as JSON.
    pub fn number(&mut self) -> Result<Option<String>> {
        let Some(field) = self.next() else {
            return Ok(None);
        };
        let number = plain_number(field).ok_or_else(|| self.wrong(field, "number"))?;
        Ok(Some(number))
    }

    /// A number, and behind it in a field of its own the letter of its unit, which may be left out.
    pub fn number_of(&mut self, unit: char) -> Result<Option<String>> {
        let number = self.number()?;
        match self.next() {
            Some(letter) if !letter.eq_ignore_ascii_case(&unit.to_string()) => {
                Err(self.wrong(letter, &format!("`{unit}`")))
            }
            _ => Ok(number),
        }
    }

    /// A number, negative where the letter behind it is `less`.
    pub fn sided(&mut self, more: char, less: char) -> Result<Option<String>> {
        let Some(number) = self.number()? else {
            self.next();
            return Ok(None);
        };
        let is_less = self.is_less(more, less)?;
        Ok(Some(negated(number, is_less)))
    }

    fn is_less(&mut self, more: char, less: char) -> Result<bool> {
        match self.next() {
            Some(letter) if letter.eq_ignore_ascii_case(&more.to_string()) => Ok(false),
            Some(letter) if letter.eq_ignore_ascii_case(&less.to_string()) => Ok(true),
            other => Err(self.wrong(other.unwrap_or_default(), &format!("`{more}` or `{less}`"))),
        }
    }

    /// Degrees and minutes (`4807.038`), and their letter.
    pub fn degrees(&mut self, most: i128, more: char, less: char) -> Result<Option<String>> {
        let Some(field) = self.next() else {
            self.next();
            return Ok(None);
        };
        let degrees =
            degrees(field, most).ok_or_else(|| self.wrong(field, "degrees and minutes"))?;
        let is_less = self.is_less(more, less)?;
        Ok(Some(negated(degrees.to_json(), is_less)))
    }

    /// The time of day, as `12:35:19.50`.
    pub fn time(&mut self) -> Result<Option<String>> {
        let Some(field) = self.next() else {
            return Ok(None);
        };
        let time = time(field).ok_or_else(|| self.wrong(field, "time of day"))?;
        Ok(Some(time))
    }

    /// A day, as `2026-03-23`.
    pub fn date(&mut self) -> Result<Option<String>> {
        let Some(field) = self.next() else {
            return Ok(None);
        };
        let pair = |place: usize| field.get(place..place + 2).filter(|pair| is_digits(pair));
        let date = match (field.len(), pair(0), pair(2), pair(4)) {
            (6, Some(day), Some(month), Some(year)) => {
                // Satellites have told the time from 1980 on.
                let century = if year < "80" { 20 } else { 19 };
                day_of(&format!("{century}{year}"), month, day)
            }
            _ => None,
        };
        Ok(Some(date.ok_or_else(|| self.wrong(field, "date"))?))
    }

    /// A day out of three fields, the year last, as `2026-03-23`.
    pub fn long_date(&mut self) -> Result<Option<String>> {
        let fields = [self.next(), self.next(), self.next()];
        let [Some(day), Some(month), Some(year)] = fields else {
            return Ok(None);
        };
        let is_pair = |text: &str| text.len() == 2;
        let date = Some((day, month, year))
            .filter(|_| is_pair(day) && is_pair(month) && year.len() == 4)
            .and_then(|_| day_of(year, month, day));
        Ok(Some(date.ok_or_else(|| self.wrong(year, "date"))?))
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A day, where there is such a day.
fn day_of(year: &str, month: &str, day: &str) -> Option<String> {
    let date = format!("{year}-{month}-{day}");
    calendar::parse(&format!("{date}T00:00:00Z")).map(|_| date)
}

fn time(field: &str) -> Option<String> {
    let (clock, fraction) = field.split_once('.').unwrap_or((field, ""));
    if clock.len() != 6 || !is_digits(clock) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let (hours, minutes, seconds) = (&clock[..2], &clock[2..4], &clock[4..]);
    // A minute may have a second more.
    if hours > "23" || minutes > "59" || seconds > "60" {
        return None;
    }
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{hours}:{minutes}:{seconds}{point}{fraction}"))
}

fn degrees(field: &str, most: i128) -> Option<Decimal> {
    let (whole, fraction) = field.split_once('.').unwrap_or((field, ""));
    let is_short = (3..=5).contains(&whole.len()) && fraction.len() <= 12;
    if !is_short || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let (degrees, _) = whole.split_at(whole.len() - 2);
    let minutes = Decimal::parse(&field.as_bytes()[degrees.len()..])?;
    let sixty = Decimal::from(60_u64);
    if minutes.compare(sixty).is_ge() {
        return None;
    }
    let whole = Decimal::parse(degrees.as_bytes())?;
    let sum = minutes.over(sixty)?.plus(whole)?.rounded(DIGITS);
    let most = Decimal::from(u64::try_from(most).ok()?);
    sum.compare(most).is_le().then_some(sum)
}

fn negated(number: String, is_less: bool) -> String {
    match (is_less, number.strip_prefix('-')) {
        (true, Some(number)) => number.to_owned(),
        (true, None) => format!("-{number}"),
        (false, _) => number,
    }
}

/// The members of an object in the making. Names are the table's, so none has to be escaped.
#[derive(Debug)]
pub struct Members<'j> {
    json: &'j mut Vec<u8>,
    is_empty: bool,
    time: Option<String>,
    date: Option<String>,
}

impl<'j> Members<'j> {
    /// Opens the object.
    pub fn begin(json: &'j mut Vec<u8>) -> Self {
        json.push(b'{');
        Self {
            json,
            is_empty: true,
            time: None,
            date: None,
        }
    }

    /// A member whose value is JSON already; nothing where there is none.
    pub fn raw(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.name(name);
            self.json.extend_from_slice(value.as_bytes());
        }
    }

    /// A member that is text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        text(value, self.json);
    }

    /// A member that is a list, each element written by `write`.
    pub fn list<T>(
        &mut self,
        name: &str,
        elements: impl IntoIterator<Item = T>,
        write: impl Fn(T, &mut Vec<u8>),
    ) {
        self.name(name);
        self.json.push(b'[');
        for (place, element) in elements.into_iter().enumerate() {
            if place > 0 {
                self.json.push(b',');
            }
            write(element, self.json);
        }
        self.json.push(b']');
    }

    /// The time of day.
    pub fn time(&mut self, time: Option<String>) {
        if let Some(time) = &time {
            self.text("time", time);
        }
        self.time = time;
    }

    /// The day.
    pub fn date(&mut self, date: Option<String>) {
        if let Some(date) = &date {
            self.text("date", date);
        }
        self.date = date;
    }

    /// Closes the object; where it has time and day, with the moment that they are.
    pub fn end(mut self) {
        if let (Some(date), Some(time)) = (&self.date, &self.time)
            && let Some(moment) = calendar::parse(&format!("{date}T{time}Z"))
        {
            let (seconds, rest) = (moment.div_euclid(1_000_000), moment.rem_euclid(1_000_000));
            let rest = match rest {
                0 => String::new(),
                rest => format!(".{rest:06}").trim_end_matches('0').to_owned(),
            };
            let timestamp = format!("{seconds}{rest}");
            self.raw("timestamp", Some(&timestamp));
        }
        self.json.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(b',');
        }
        write!(self.json, "\"{name}\":").expect("memory takes it");
    }
}
