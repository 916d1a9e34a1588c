//! The settings that a plugin's page shows, so that a test can hold that they work.

use serde_json::Value;

/// Every `settings = { … }` at the head of a crate's code (`include_str!("lib.rs")`), as JSON: what the page shows has to
/// work.
///
/// ```
/// let code = "//! Keeps what is warm.\n//!\n//! settings = { limit = 20, names = [\"a = b\"] }\n";
/// let shown = tidegate_sdk::test::settings_shown(code);
/// assert_eq!(shown, [serde_json::json!({ "limit": 20, "names": ["a = b"] })]);
/// ```
///
/// # Panics
/// When one is no TOML of this kind: tables, lists, texts in double quotes, numbers and truths.
pub fn settings_shown(code: &str) -> Vec<Value> {
    let head: String = code
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut shown = Vec::new();
    for (at, _) in head.match_indices("settings = {") {
        let table = &head[at + "settings = ".len()..];
        let json = to_json(table);
        shown.push(serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}")));
    }
    shown
}

/// The first table in `toml` as JSON.
fn to_json(toml: &str) -> String {
    let (mut json, mut depth, mut word) = (String::new(), 0, String::new());
    let mut letters = toml.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => word.push_str(&text(&mut letters)),
            '=' => {
                let name = word.trim().trim_matches('"');
                json.push_str(&format!("\"{name}\":"));
                word.clear();
            }
            '{' | '}' | '[' | ']' | ',' => {
                json.push_str(word.trim());
                word.clear();
                if matches!(letter, '}' | ']') && json.ends_with(',') {
                    json.pop();
                }
                json.push(letter);
                depth += i32::from(matches!(letter, '{' | '['));
                depth -= i32::from(matches!(letter, '}' | ']'));
                if depth == 0 {
                    break;
                }
            }
            '#' => drop(letters.find(|letter| *letter == '\n')),
            letter => word.push(letter),
        }
    }
    json
}

/// The rest of a text, with its quotes.
fn text(letters: &mut std::str::Chars<'_>) -> String {
    let mut text = "\"".to_owned();
    let mut escaped = false;
    for letter in letters {
        text.push(letter);
        match letter {
            '"' if !escaped => break,
            letter => escaped = letter == '\\' && !escaped,
        }
    }
    text
}
