//! Secrets put back into an answer that comes in pieces. A placeholder may be cut anywhere, so the
//! end of a text that could be the beginning of one waits for what follows; nothing else does.

use crate::broker::requests::Screened;

const OPENS: &str = "[secret:";
/// Longest placeholder that is waited for.
const MOST: usize = 64;

/// Texts on their way out.
pub struct Restoring {
    screened: Screened,
    wanted: bool,
    held: String,
}

impl Restoring {
    /// Puts back only if that was asked for and something was replaced.
    pub fn new(screened: Screened, wanted: bool) -> Self {
        Self {
            wanted: wanted && screened.has_replaced(),
            screened,
            held: String::new(),
        }
    }

    /// What may go out of this text, and of what was held.
    pub fn text(&mut self, text: &str) -> String {
        if !self.wanted {
            return text.to_owned();
        }
        self.held.push_str(text);
        let ready = self.held.len() - waiting(&self.held);
        let rest = self.held.split_off(ready);
        let out = self.screened.restore(&self.held);
        self.held = rest;
        out
    }

    /// What is left.
    pub fn end(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        match self.wanted {
            true => self.screened.restore(&held),
            false => held,
        }
    }

    /// A whole text.
    pub fn whole(&self, text: &str) -> String {
        match self.wanted {
            true => self.screened.restore(text),
            false => text.to_owned(),
        }
    }
}

/// How many bytes at the end could be the beginning of a placeholder.
fn waiting(text: &str) -> usize {
    let Some(at) = text.rfind('[') else {
        return 0;
    };
    let end = text.get(at..).unwrap_or_default();
    let begun = OPENS.starts_with(end) || end.starts_with(OPENS);
    match begun && !end.contains(']') && end.len() < MOST {
        true => end.len(),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn only_what_may_be_a_placeholder_waits() {
        for (text, waits) in [
            ("hello",                 0),
            ("see [",                 1),
            ("see [secret:jwt:1",     13),
            ("see [secret:jwt:1]",    0),
            ("see [sec",              4),
            ("see [1]",               0),
            ("see [other",            0),
            ("[secret:jwt:1] and [s", 2),
        ] {
            assert_eq!(waiting(text), waits, "{text}");
        }
        let long = format!("[secret:{}", "x".repeat(MOST));
        assert_eq!(waiting(&long), 0);
    }
}
