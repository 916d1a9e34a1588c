//! One quote too few makes the parser stumble from there on: over the rest of the line, and where a bracket was left open
//! over all lines behind it. What is wrong then is one thing, in one line.

use std::ops::Range;

use toml::de::Error;

/// What is wrong with a text, as far as it is worth being told.
pub(super) struct Told {
    pub(super) errors: Vec<Error>,
    /// Where a quote is missing, in place of all that comes of it.
    pub(super) missing: Option<Range<usize>>,
    /// A bracket was left open: what stands behind it may be read as part of another table.
    pub(super) is_open: bool,
}

/// Leaves out what is an echo of a missing quote.
pub(super) fn told(text: &str, errors: impl IntoIterator<Item = Error>) -> Told {
    let mut errors: Vec<Error> = errors.into_iter().collect();
    let at = |error: &Error| error.span().map_or(0, |span| span.start.min(text.len()));
    errors.sort_by_key(at);
    let says = |what: &str| {
        let mut all = errors.iter();
        all.any(|error| error.message().starts_with(what))
    };
    let is_open = says("unclosed");
    let is_open_inside = says("unclosed array") || says("unclosed inline table");
    let lines = errors.iter().map(|error| line_around(text, at(error)));
    let broken = lines
        .into_iter()
        .find(|line| misses_a_quote(&text[line.clone()]));
    let swallowed = broken.map(|line| {
        let end = if is_open_inside {
            text.len()
        } else {
            end_of_value(text, line.end)
        };
        line.start..end
    });
    let mut told = Told {
        errors,
        missing: None,
        is_open,
    };
    let Some(swallowed) = swallowed else {
        return told;
    };
    let is_echo = |error: &Error| (swallowed.start..=swallowed.end).contains(&at(error));
    let mut echoes = told.errors.iter().filter(|error| is_echo(error));
    // One alone says it as well.
    if let (Some(first), Some(_)) = (echoes.next(), echoes.next()) {
        told.missing = Some(first.span().unwrap_or(at(first)..at(first)));
        told.errors.retain(|error| !is_echo(error));
    }
    told
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n');
    let end = bytes[at..].iter().position(|byte| *byte == b'\n');
    start.map_or(0, |start| start + 1)..end.map_or(text.len(), |end| at + end)
}

/// Where a value ends that goes on in the next line: such lines begin with room, a quote or a bracket that closes.
fn end_of_value(text: &str, line_end: usize) -> usize {
    let mut end = line_end;
    while let Some(rest) = text
        .get(end + 1..)
        .filter(|rest| rest.starts_with([' ', '\t', '"', ']', '}']))
    {
        end += 1 + rest.find('\n').unwrap_or(rest.len());
    }
    end
}

/// Whether the quotes of a line are an odd number, before a comment and without those that belong to a text.
fn misses_a_quote(line: &str) -> bool {
    let mut quotes = 0_usize;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '"' => quotes += 1,
            '#' if quotes.is_multiple_of(2) => break,
            _ => {}
        }
    }
    !quotes.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::told;

    const GOOD: &str = "[source.field]\nurl = \"mqtt://127.0.0.1:1883\" # the shed's \"old\" one\n\n[flow.climate]\n\
        from = \"field\"\ntopics = [\"devices/{device}/telemetry\", \"b/{device}\"]\nto = \"cloud:telemetry\"\n\n\
        [[flow.climate.plugin]]\nplugin = \"builtin:filter\"\n\
        settings = { field = \"a b\", min = 3, list = [\"a\",\n  \"b\"] }\n\n[log]\nlevel = \"info\"\n";

    fn places(text: &str) -> Vec<usize> {
        let (_, errors) = DeTable::parse_recoverable(text);
        let told = told(text, errors);
        let spans = told.errors.iter().filter_map(toml::de::Error::span);
        spans.chain(told.missing).map(|span| span.start).collect()
    }

    #[test]
    fn whichever_quote_is_missing_one_mistake_is_told_in_its_line() {
        assert!(places(GOOD).is_empty());
        let line = |text: &str, at: usize| text[..at].matches('\n').count();
        let quotes = GOOD.match_indices('"').map(|(at, _)| at);
        let quotes = quotes
            .filter(|at| !GOOD[..*at].ends_with("shed's ") && !GOOD[*at..].starts_with("\" one"));
        for quote in quotes {
            let mut text = GOOD.to_owned();
            text.remove(quote);
            let found = places(&text);
            assert!(
                matches!(&*found, [only] if line(&text, *only) == line(&text, quote)),
                "{text}\n{found:?}"
            );
        }
    }

    #[test]
    fn other_mistakes_stay_as_many_as_they_are() {
        let text = "a = 1\na = 2\nb = \"x\nc = d\n[e\n";
        assert_eq!(places(text).len(), 4);
    }
}
