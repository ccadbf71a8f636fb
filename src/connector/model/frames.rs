//! Events out of bytes, wherever the bytes are cut: server-sent events (one or more `data:` lines and
//! an empty one) or lines of JSON.

use std::collections::VecDeque;

use super::malformed;
use crate::domain::requests::failure::Failure;

/// What comes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// The data of an event.
    Event(String),
    /// A line that is none of an event: perhaps the answer itself.
    Stray(String),
}

/// The bytes of a stream on their way to become events.
#[derive(Debug)]
pub struct Frames {
    events: bool,
    most: usize,
    bytes: VecDeque<u8>,
    /// How many of the bytes are known to hold no line end.
    looked: usize,
    /// The last line ended with a carriage return; a line feed now belongs to it.
    returned: bool,
    started: bool,
    data: Option<String>,
    ended: bool,
}

impl Frames {
    /// Server-sent events of at most so many bytes.
    pub fn events(most: usize) -> Self {
        Self {
            events: true,
            ..Self::lines(most)
        }
    }

    /// Lines of at most so many bytes.
    pub fn lines(most: usize) -> Self {
        Self {
            events: false,
            most,
            bytes: VecDeque::new(),
            looked: 0,
            returned: false,
            started: false,
            data: None,
            ended: false,
        }
    }

    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// No more come: what is left is the last line, and the last event.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next frame that is complete.
    pub fn frame(&mut self) -> Result<Option<Frame>, Failure> {
        while let Some(line) = self.line()? {
            if let Some(frame) = self.take(line)? {
                return Ok(Some(frame));
            }
        }
        if self.ended {
            return Ok(self.data.take().map(Frame::Event));
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, Failure> {
        if self.returned && !self.bytes.is_empty() {
            self.returned = false;
            if self.bytes.front() == Some(&b'\n') {
                self.bytes.pop_front();
            }
        }
        let mut rest = self.bytes.iter().skip(self.looked);
        let end = rest.position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end.map(|end| end + self.looked) else {
            return self.last_line();
        };
        self.returned = self.bytes.get(end) == Some(&b'\r');
        self.looked = 0;
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        line.pop();
        if line.len() > self.most {
            return Err(malformed("an event is too long"));
        }
        self.started(line).map(Some)
    }

    /// The line that no end was seen of: the last one, if nothing more comes.
    fn last_line(&mut self) -> Result<Option<String>, Failure> {
        self.looked = self.bytes.len();
        if self.looked > self.most {
            return Err(malformed("an event is too long"));
        }
        if !self.ended || self.bytes.is_empty() {
            return Ok(None);
        }
        self.looked = 0;
        let last: Vec<u8> = self.bytes.drain(..).collect();
        self.started(last).map(Some)
    }

    /// The line as text; the first one may have a mark of the byte order before it.
    fn started(&mut self, line: Vec<u8>) -> Result<String, Failure> {
        let line = String::from_utf8(line).map_err(|_| malformed("it is no UTF-8"))?;
        let first = !std::mem::replace(&mut self.started, true);
        match line.strip_prefix('\u{feff}') {
            Some(rest) if first => Ok(rest.to_owned()),
            Some(_) | None => Ok(line),
        }
    }

    fn take(&mut self, line: String) -> Result<Option<Frame>, Failure> {
        if !self.events {
            return Ok((!line.trim().is_empty()).then_some(Frame::Event(line)));
        }
        if line.is_empty() {
            return Ok(self.data.take().map(Frame::Event));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                }
                let long = self
                    .data
                    .as_ref()
                    .is_some_and(|data| data.len() > self.most);
                if long {
                    Err(malformed("an event is too long"))
                } else {
                    Ok(None)
                }
            }
            // A comment, and what says nothing about the data.
            "" | "event" | "id" | "retry" => Ok(None),
            _ => Ok(Some(Frame::Stray(line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(mut frames: Frames, parts: &[&[u8]]) -> Result<Vec<Frame>, Failure> {
        let mut read = Vec::new();
        for part in parts {
            frames.push(part);
            while let Some(frame) = frames.frame()? {
                read.push(frame);
            }
        }
        frames.end();
        while let Some(frame) = frames.frame()? {
            read.push(frame);
        }
        Ok(read)
    }

    fn event(data: &str) -> Frame {
        Frame::Event(data.to_owned())
    }

    #[test]
    #[rustfmt::skip]
    fn events_are_read_as_the_standard_says() {
        for (text, frames) in [
            ("data: a\n\n",                     vec![event("a")]),
            ("data:a\r\n\r\ndata: b\r\r",       vec![event("a"), event("b")]),
            ("data: a\ndata:  b\n\n",           vec![event("a\n b")]),
            (": hello\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", vec![event("a")]),
            ("\u{feff}data: a\n\n",             vec![event("a")]),
            ("data: a",                         vec![event("a")]),
            ("data\n\n",                        vec![event("")]),
            ("event: ping\n\n",                 vec![]),
            ("{\"error\": 1}",                  vec![Frame::Stray("{\"error\": 1}".into())]),
            ("",                                vec![]),
        ] {
            assert_eq!(read(Frames::events(100), &[text.as_bytes()]), Ok(frames), "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused_before_it_ends() {
        let long = "data: ".to_owned() + &"x".repeat(200);
        assert!(read(Frames::events(100), &[long.as_bytes()]).is_err());
        let many = "data: 0123456789\n".repeat(20);
        assert!(read(Frames::events(100), &[many.as_bytes()]).is_err());
        assert!(read(Frames::lines(100), &[long.as_bytes()]).is_err());
        assert!(read(Frames::lines(100), &[b"\xff\n"]).is_err());
    }

    proptest! {
        /// Wherever the bytes are cut, the same comes out.
        #[test]
        fn cuts_change_nothing(
            text in "(data: [aé]{0,3}|\r\n|\n|\r|: x|event: y){0,30}",
            cut in 0_usize..60,
            events in any::<bool>(),
        ) {
            let frames = || if events { Frames::events(1_000) } else { Frames::lines(1_000) };
            let bytes = text.as_bytes();
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = read(frames(), &[bytes]);
            prop_assert_eq!(&read(frames(), &[a, b]), &whole);
            prop_assert_eq!(&read(frames(), &single), &whole);
        }
    }
}
