//! Secrets in what we say of a config: masked where a sentence shows the operator's text, and nowhere else. A sentence of ours with
//! stars in it would tell what the secret is, and nothing else any more.

use std::collections::BTreeSet;

use super::STARS;

/// Names that are no secrets, whatever they are part of: keys and tables of the config and of the manual.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownNames(BTreeSet<String>);

impl ShownNames {
    pub(super) fn add(&mut self, name: &str) {
        if !self.0.contains(name) {
            self.0.insert(name.to_owned());
        }
    }

    /// Those of a text with a key in each line, in comments, too.
    pub(super) fn add_manual(&mut self, manual: &str) {
        for line in manual.lines() {
            let line = line.trim_start_matches(['#', ' ']);
            if let Some((name, _)) = line.split_once('=') {
                self.add(name.trim());
            }
        }
    }

    /// Whether it is a path of such names, as `source.field.url`.
    fn is_path(&self, text: &str) -> bool {
        let is_one =
            |name: &str| self.0.contains(name) || name.bytes().all(|byte| byte.is_ascii_digit());
        !text.is_empty() && text.split('.').all(is_one)
    }
}

/// A sentence of ours without a secret.
pub(super) fn masked(sentence: &str, secret: &str, names: &ShownNames) -> String {
    if !sentence.contains(secret) {
        return sentence.to_owned();
    }
    // What may be no word of ours is masked wherever it stands, and so is all where a quote may begin or end in a quote.
    let is_odd = |mark: char| sentence.matches(mark).count() % 2 == 1;
    if !is_word(secret) || is_odd('`') || is_odd('"') {
        return sentence.replace(secret, STARS);
    }
    let mut whole = String::with_capacity(sentence.len());
    let mut rest = sentence;
    while let Some(at) = rest.find(['`', '"']) {
        let (ours, quoted) = rest.split_at(at);
        let (mark, quoted) = quoted.split_at(1);
        whole.push_str(&in_prose(ours, secret));
        whole.push_str(mark);
        let Some((quoted, behind)) = quoted.split_once(mark) else {
            whole.push_str(&quoted.replace(secret, STARS));
            return whole;
        };
        match names.is_path(quoted) {
            true => whole.push_str(quoted),
            false => whole.push_str(&quoted.replace(secret, STARS)),
        }
        whole.push_str(mark);
        rest = behind;
    }
    whole.push_str(&in_prose(rest, secret));
    whole
}

/// Whether it may be a word or a number of ours.
fn is_word(secret: &str) -> bool {
    let is_number = |byte: u8| byte.is_ascii_digit() || b".,".contains(&byte);
    let is_text = |byte: u8| byte.is_ascii_alphabetic() || b" -".contains(&byte);
    secret.bytes().all(is_text) || secret.bytes().all(is_number)
}

/// Outside quotes only an address shows what the operator wrote.
fn in_prose(ours: &str, secret: &str) -> String {
    let mut whole = String::with_capacity(ours.len());
    let mut from = 0;
    for (at, _) in ours.match_indices(secret) {
        let before = ours[..at].chars().next_back();
        let after = ours[at + secret.len()..].chars().next();
        let is_in_address = before.is_some_and(|letter| "/@:?=&".contains(letter))
            || after.is_some_and(|letter| "/@?=&".contains(letter));
        if is_in_address {
            whole.push_str(&ours[from..at]);
            whole.push_str(STARS);
            from = at + secret.len();
        }
    }
    whole.push_str(&ours[from..]);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_wrote_is_masked_and_our_own_words_stay() {
        let mut names = ShownNames::default();
        names.add_manual("# password = \"\"\nurl = \"mqtt://host\"\n");
        names.add("source");
        names.add("smart-plug-b");
        for (sentence, secret, shown) in [
            (
                "unknown key `source.smart-plug-b.url`",
                "mart",
                "unknown key `source.smart-plug-b.url`",
            ),
            ("unknown key `url`", "unknown", "unknown key `url`"),
            (
                "did you mean `password`?",
                "password",
                "did you mean `password`?",
            ),
            ("it means nothing", "me", "it means nothing"),
            ("`a` cannot be \"lines\"", "lines", "`a` cannot be \"***\""),
            ("`gold` is none", "gold", "`***` is none"),
            (
                "write mqtt://me:gold@host",
                "gold",
                "write mqtt://me:***@host",
            ),
            ("allowed: 1 to 1000", "1000", "allowed: 1 to 1000"),
            (
                "it is hunter2, and no more",
                "hunter2",
                "it is ***, and no more",
            ),
            ("`a`b` and `c`", "a`b", "`***` and `c`"),
            ("an open `gold", "gold", "an open `***"),
            ("", "gold", ""),
        ] {
            assert_eq!(masked(sentence, secret, &names), shown, "{secret}");
        }
    }
}
