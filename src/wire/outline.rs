//! The outermost object of a JSON text, followed as its bytes pass by and never held: enough to
//! tell which call a message answers that is too long to keep, or that no reader understands.

/// Longest name or value of a member that is looked at: no id is longer.
const MAX_KEPT: usize = 64;

/// What is known of the text so far.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Outline {
    depth: usize,
    begun: bool,
    in_text: bool,
    escaped: bool,
    after_colon: bool,
    name: Vec<u8>,
    value: Vec<u8>,
    id: Option<Vec<u8>>,
    has_method: bool,
}

impl Outline {
    /// Takes note of the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// The object was closed, and nothing followed it.
    pub(super) fn is_complete(&self) -> bool {
        self.begun && self.depth == 0
    }

    /// An object is open, and the last byte did not break off within a text.
    pub(super) fn is_open(&self) -> bool {
        self.depth > 0 && !self.in_text
    }

    /// The number of the call that this answers; `None` if it is no answer or names none.
    pub(super) fn answers(&self) -> Option<i64> {
        let id = self.id.as_ref().filter(|_| !self.has_method)?;
        let id = std::str::from_utf8(id).ok()?.trim();
        super::answer::number(&serde_json::from_str(id).ok()?)
    }

    fn step(&mut self, byte: u8) {
        if self.in_text {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'{' | b'[' => {
                if self.depth == 0 {
                    *self = Self {
                        begun: byte == b'{',
                        ..Self::default()
                    };
                }
                self.depth += 1;
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_member();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b',' if self.depth == 1 => self.end_member(),
            b':' if self.depth == 1 => self.after_colon = true,
            b'"' => {
                self.keep(byte);
                self.in_text = true;
            }
            byte => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth != 1 {
            return;
        }
        let place = match self.after_colon {
            true => &mut self.value,
            false => &mut self.name,
        };
        if place.len() < MAX_KEPT {
            place.push(byte);
        }
    }

    fn end_member(&mut self) {
        match self.name.trim_ascii() {
            b"\"id\"" => self.id = Some(std::mem::take(&mut self.value)),
            b"\"method\"" => self.has_method = true,
            _ => {}
        }
        self.name.clear();
        self.value.clear();
        self.after_colon = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_call_is_named_wherever_its_id_stands() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"id":9,"a":"}"}}"#,        Some(7)),
            (r#"{"result":{"id":9,"t":"\"id\":8,"},"jsonrpc":"2.0","id":7}"#, Some(7)),
            (r#"{ "id" : "7" , "result" : [ {"id":1} ] }"#,                   Some(7)),
            (r#"{"id":7,"result":NaN}"#,                                      Some(7)),
            (r#"{"id":7,"method":"ping"}"#,                                   None),
            (r#"{"id":null,"result":{}}"#,                                    None),
            (r#"{"id":"server-error","error":{}}"#,                           None),
            (r#"{"result":{"id":7}}"#,                                        None),
            (r#"log line "id": 7"#,                                           None),
        ];
        for (text, expected) in cases {
            for size in [1, 3, text.len()] {
                let mut outline = Outline::default();
                text.as_bytes().chunks(size).for_each(|part| outline.feed(part));
                assert_eq!(outline.answers(), expected, "{text}");
                assert_eq!(outline.is_complete(), text.starts_with('{'), "{text}");
            }
        }
    }
}
