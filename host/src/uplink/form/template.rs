//! Text with names in braces that each message fills in.

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Gateway,
    Class,
    Topic,
    Device,
}

const NAMES: [(&str, Placeholder); 4] = [
    ("gateway", Placeholder::Gateway),
    ("class", Placeholder::Class),
    ("topic", Placeholder::Topic),
    ("device", Placeholder::Device),
];

/// What the names stand for in one message.
#[derive(Clone, Copy, Debug)]
pub(in crate::uplink) struct Filling<'a> {
    /// `<gateway>/<store>/<uplink>/<class>/`, as ids begin.
    pub(in crate::uplink) prefix: &'a str,
    pub(in crate::uplink) topic: &'a [u8],
    pub(in crate::uplink) device: &'a [u8],
}

/// A text with such names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Text before each name, and the name.
    parts: Vec<(String, Placeholder)>,
    rest: String,
}

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// In words: a brace is not closed, or a name is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, behind) = after
                .split_once('}')
                .ok_or_else(|| "has a brace that nothing closes".to_owned())?;
            let name = NAMES.iter().find(|(known, _)| *known == word);
            let (_, name) = name.ok_or_else(|| "has a name in it that is not known".to_owned())?;
            parts.push((before.to_owned(), *name));
            rest = behind;
        }
        Ok(Self {
            parts,
            rest: rest.to_owned(),
        })
    }

    /// What is written between the names.
    pub fn plain(&self) -> impl Iterator<Item = &str> {
        let before = self.parts.iter().map(|(before, _)| before.as_str());
        before.chain([self.rest.as_str()])
    }

    /// Whether each message makes another text of it, and not only each class.
    pub fn is_of_messages(&self) -> bool {
        let is_its_own = |(_, name): &(String, Placeholder)| {
            matches!(name, Placeholder::Topic | Placeholder::Device)
        };
        self.parts.iter().any(is_its_own)
    }

    /// Whether it is the same for all messages.
    pub(in crate::uplink) fn is_plain(&self) -> bool {
        self.parts.is_empty()
    }

    /// Puts it together, each value as `put` writes it.
    pub(in crate::uplink) fn fill<E>(
        &self,
        filling: Filling<'_>,
        mut put: impl FnMut(&[u8], &mut String) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut text = String::new();
        for (before, name) in &self.parts {
            text.push_str(before);
            put(filling.value(*name), &mut text)?;
        }
        text.push_str(&self.rest);
        Ok(text)
    }

    /// Puts it together as it is, byte for byte.
    #[cfg(feature = "kafka")]
    pub(in crate::uplink) fn bytes(&self, filling: Filling<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (before, name) in &self.parts {
            bytes.extend_from_slice(before.as_bytes());
            bytes.extend_from_slice(filling.value(*name));
        }
        bytes.extend_from_slice(self.rest.as_bytes());
        bytes
    }

    /// Puts it together as it is; what is not UTF-8 shows as such.
    pub(in crate::uplink) fn text(&self, filling: Filling<'_>) -> String {
        let put = |value: &[u8], text: &mut String| {
            text.push_str(&String::from_utf8_lossy(value));
            Ok::<_, std::convert::Infallible>(())
        };
        self.fill(filling, put).unwrap_or_default()
    }
}

/// As it is written in the config.
impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (before, name) in &self.parts {
            let word = NAMES.iter().find(|(_, known)| known == name);
            write!(f, "{before}{{{}}}", word.map_or("", |(word, _)| word))?;
        }
        f.write_str(&self.rest)
    }
}

impl<'a> Filling<'a> {
    pub(in crate::uplink) fn gateway(self) -> &'a str {
        self.part(0)
    }

    pub(in crate::uplink) fn class(self) -> &'a str {
        self.part(3)
    }

    fn part(self, index: usize) -> &'a str {
        self.prefix.split('/').nth(index).unwrap_or_default()
    }

    fn value(self, name: Placeholder) -> &'a [u8] {
        match name {
            Placeholder::Gateway => self.gateway().as_bytes(),
            Placeholder::Class => self.class().as_bytes(),
            Placeholder::Topic => self.topic,
            Placeholder::Device => self.device,
        }
    }
}
