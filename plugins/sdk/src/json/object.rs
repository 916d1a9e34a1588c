//! JSON objects as they are written, member by member.

use serde::Serialize;

use crate::plugin::Result;

/// An object in the making, appended to a buffer. Names are not looked at: whoever writes one twice has it twice.
///
/// ```
/// use tidegate_sdk::json::Object;
///
/// let mut payload = Vec::new();
/// let mut object = Object::begin(&mut payload);
/// object.raw("t", b"21.50");
/// object.member("unit", "°C")?;
/// object.end();
/// assert_eq!(payload, "{\"t\":21.50,\"unit\":\"°C\"}".as_bytes());
/// # Ok::<(), tidegate_sdk::Error>(())
/// ```
#[derive(Debug)]
pub struct Object<'b> {
    buffer: &'b mut Vec<u8>,
    start: usize,
}

impl<'b> Object<'b> {
    /// Opens it.
    pub fn begin(buffer: &'b mut Vec<u8>) -> Self {
        buffer.push(b'{');
        let start = buffer.len();
        Self { buffer, start }
    }

    /// Goes on with one whose last brace was left out: what the buffer ends with is its beginning, with a member at least.
    pub fn resume(buffer: &'b mut Vec<u8>) -> Self {
        let start = usize::MAX;
        Self { buffer, start }
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.start
    }

    /// A member whose value is JSON already.
    pub fn raw(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.buffer.extend_from_slice(value);
    }

    /// A member made of any value.
    pub fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<()> {
        self.name(name);
        Ok(serde_json::to_writer(&mut *self.buffer, value)?)
    }

    /// A member that is an object itself, written by `write`.
    pub fn object(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut Object<'_>) -> Result<()>,
    ) -> Result<()> {
        self.name(name);
        let mut inner = Object::begin(self.buffer);
        write(&mut inner)?;
        inner.end();
        Ok(())
    }

    /// Closes it.
    pub fn end(self) {
        self.buffer.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if !self.is_empty() {
            self.buffer.push(b',');
        }
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if name.bytes().all(is_plain) {
            self.buffer.push(b'"');
            self.buffer.extend_from_slice(name.as_bytes());
            self.buffer.push(b'"');
        } else {
            serde_json::to_writer(&mut *self.buffer, name).expect("text is written to memory");
        }
        self.buffer.push(b':');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_objects_may_lie_in_one_another() {
        let mut payload = b"before".to_vec();
        let mut object = Object::begin(&mut payload);
        object.raw("a\"\n", b"1");
        object
            .object("b", |inner| inner.member("c", &[1, 2]))
            .unwrap();
        object.object("d", |_| Ok(())).unwrap();
        object.end();
        assert_eq!(
            String::from_utf8(payload).unwrap(),
            r#"before{"a\"\n":1,"b":{"c":[1,2]},"d":{}}"#
        );
    }
}
