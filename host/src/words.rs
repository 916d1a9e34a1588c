//! Words from outside, made fit to be shown: what devices, plugins, brokers and file names say is cut and cleaned once, where
//! it comes in, and is then safe on a terminal, in the log, in JSON and as a label.

/// What stands for a character that is not shown.
const HIDDEN: char = '\u{fffd}';

/// Characters of a text of several lines: a page of reasons, a payload.
pub const LONG: usize = 64 << 10;

/// Characters of a reason with its trace and last words.
pub const REASON: usize = 4 << 10;

/// An error and its causes, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A text that holds its cause says it once.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// As many characters of a text as are asked for, on one line, without what a terminal would act on or that would make it
/// read as something else. What was cut ends in `…`.
pub fn line(text: &str, most: usize) -> String {
    clip(text, most, |symbol| {
        if matches!(symbol, '\t' | '\n') {
            ' '
        } else {
            visible(symbol)
        }
    })
}

/// The same of bytes that should be text.
pub fn line_of_bytes(bytes: &[u8], most: usize) -> String {
    // A character has four bytes at most, so that a long one is not looked at in full.
    let end = bytes.len().min(most.saturating_add(1).saturating_mul(4));
    line(&String::from_utf8_lossy(&bytes[..end]), most)
}

/// Shorter ones are not looked for: they stand in many words.
const SHORTEST_SECRET: usize = 4;

/// A text with stars in place of each of these secrets, which whoever was shown them may say again. One that is cut off at the end of
/// the text counts.
pub fn without<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    const STARS: &str = "***";
    let mut text = text.to_owned();
    for secret in secrets {
        if secret.len() < SHORTEST_SECRET {
            continue;
        }
        text = text.replace(secret, STARS);
        let begins = |length: &usize| {
            secret
                .get(..*length)
                .is_some_and(|begin| text.ends_with(begin))
        };
        if let Some(length) = (SHORTEST_SECRET..secret.len()).rev().find(begins) {
            text.truncate(text.len() - length);
            text.push_str(STARS);
        }
    }
    text
}

/// As [`line()`], with its line ends, for texts of several lines.
pub fn lines(text: &str, most: usize) -> String {
    clip(text, most, |symbol| match symbol {
        '\n' => symbol,
        '\t' => ' ',
        symbol => visible(symbol),
    })
}

/// JSON in which everything stands by its number that a terminal would act on.
pub fn escaped(json: &str) -> std::borrow::Cow<'_, str> {
    if !json.chars().any(|symbol| visible(symbol) != symbol) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 64);
    for symbol in json.chars() {
        if visible(symbol) == symbol {
            out.push(symbol);
        } else {
            let mut units = [0; 2];
            out.extend(
                symbol
                    .encode_utf16(&mut units)
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}")),
            );
        }
    }
    out.into()
}

/// A text in quotes as TOML has it, with every character, and none that a terminal would act on.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for symbol in text.chars() {
        match symbol {
            '"' | '\\' => out.extend(['\\', symbol]),
            symbol if visible(symbol) == symbol => out.push(symbol),
            symbol => out.push_str(&format!("\\U{:08x}", u32::from(symbol))),
        }
    }
    out.push('"');
    out
}

fn clip(text: &str, most: usize, shown: impl Fn(char) -> char) -> String {
    let mut clean: String = text.chars().take(most).map(shown).collect();
    if text.chars().nth(most).is_some() {
        clean.pop();
        clean.push('…');
    }
    clean
}

fn visible(symbol: char) -> char {
    match symbol {
        symbol if symbol.is_control() => HIDDEN,
        // Marks that turn the direction of writing, that end a line, or that have no width.
        '\u{061c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => HIDDEN,
        // Letters without a shape: the soft hyphen, joiners, fillers and vowels of other scripts.
        '\u{ad}'
        | '\u{034f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{3164}'
        | '\u{ffa0}' => HIDDEN,
        // Letters that nobody sees: tags, and the planes beyond.
        '\u{e0000}'..='\u{e0fff}' | '\u{fff9}'..='\u{fffb}' => HIDDEN,
        symbol => symbol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_are_said_again_are_starred_also_where_they_are_cut_off() {
        let secrets = ["open-sesame", "b3Blbg==", "no"];
        assert_eq!(
            without(
                "no: open-sesame is not open-sesame, b3Blbg== and open-s",
                secrets
            ),
            "no: *** is not ***, *** and ***"
        );
        assert_eq!(without("it is ope", secrets), "it is ope");
        assert_eq!(without("", secrets), "");
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(
            line("a\x1b[2Jb\nc\td\u{9b}", 20),
            "a\u{fffd}[2Jb c d\u{fffd}"
        );
        assert_eq!(lines("a\nb\x07\u{202e}", 20), "a\nb\u{fffd}\u{fffd}");
        assert_eq!(
            line("\u{ad}\u{3164}\u{1160}\u{ffa0}\u{115f}\u{034f}\u{180e}", 20),
            "\u{fffd}".repeat(7)
        );
        assert_eq!(line_of_bytes(b"a\xff\x1b", 20), "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn an_overlong_text_is_cut_and_says_so() {
        assert_eq!(
            (&*line("abcdef", 4), &*line("abcd", 4), &*lines("äöü", 2)),
            ("abc…", "abcd", "ä…")
        );
        assert_eq!(line_of_bytes(&b"x".repeat(1 << 20), 3), "xx…");
        assert_eq!(line("ab", 0), "…");
    }

    #[test]
    fn json_keeps_every_character_and_shows_none_that_a_terminal_obeys() {
        let text = "a\u{9b}b\u{202e}c\u{e0041}ä\x1b";
        let shown = escaped(&serde_json::json!([text]).to_string()).into_owned();
        assert_eq!(shown, r#"["a\u009bb\u202ec\udb40\udc41ä\u001b"]"#);
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
    }

    #[test]
    fn what_is_quoted_stays_in_its_quotes_and_shows_nothing_that_a_terminal_obeys() {
        assert_eq!(
            quoted("a\"\\\n\x1b\u{202e}ä"),
            r#""a\"\\\U0000000a\U0000001b\U0000202eä""#
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_stays_on_one_line_within_its_bound(bytes: Vec<u8>, most in 1_usize..40) {
            let shown = line_of_bytes(&bytes, most);
            proptest::prop_assert!(shown.chars().count() <= most && !shown.chars().any(char::is_control));
        }
    }
}
