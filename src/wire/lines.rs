//! Lines of a child's output, bounded: a line that is too long is skipped up to its newline
//! without ever being held, so a child can neither fill our memory nor end the conversation. What
//! is kept of it is its outline: which call it answers, if it is an answer.

use std::io::BufRead;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::outline::Outline;

/// Bytes read at once. Large enough that a flood is skipped at the speed of the pipe.
const CHUNK_BYTES: usize = 64 * 1024;

/// One line without its newline.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// A whole line.
    Text(Vec<u8>),
    /// A line longer than the limit, which was skipped.
    TooLong(Outline),
}

/// Reads lines of at most `limit` bytes.
pub(super) struct Lines<R> {
    source: BufReader<R>,
    limit: usize,
    line: Vec<u8>,
    skipping: Option<Outline>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(source: R, limit: usize) -> Self {
        Self {
            source: BufReader::with_capacity(CHUNK_BYTES, source),
            limit,
            line: Vec::new(),
            skipping: None,
        }
    }

    /// The next line; `None` at the end of the stream or when it breaks. What follows the last
    /// newline was never finished and is no line.
    ///
    /// May be dropped while it waits: what was read so far is kept for the next call.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            let available = self.source.fill_buf().await.ok()?;
            if available.is_empty() {
                return None;
            }
            // `skip_until` on a slice finds the newline at the speed of memory.
            let mut rest = available;
            let taken = rest.skip_until(b'\n').unwrap_or(available.len());
            let part = &available[..taken];
            let ends = part.ends_with(b"\n");
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            if self.skipping.is_none() && self.line.len() + text.len() > self.limit {
                let mut outline = Outline::default();
                outline.feed(&std::mem::take(&mut self.line));
                self.skipping = Some(outline);
            }
            match &mut self.skipping {
                Some(outline) => outline.feed(text),
                None => self.line.extend_from_slice(text),
            }
            self.source.consume(taken);
            if !ends {
                continue;
            }
            if let Some(outline) = self.skipping.take() {
                return Some(Line::TooLong(outline));
            }
            return Some(Line::Text(std::mem::take(&mut self.line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn lines_up_to_the_limit_are_read_and_longer_ones_skipped() {
        let text = b"one\n\n12345678\n123456789\ntwo\r\nunfinished".as_slice();
        let mut lines = Lines::new(text, 8);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await {
            seen.push(line);
        }
        let text = |text: &str| Line::Text(text.into());
        assert!(matches!(seen.remove(3), Line::TooLong(_)));
        let expected = [text("one"), text(""), text("12345678"), text("two\r")];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_hundred_megabytes_pass_without_being_held() {
        let (mut far, near) = tokio::io::duplex(CHUNK_BYTES);
        let flood = tokio::spawn(async move {
            let chunk = vec![b'x'; 1024 * 1024];
            for _ in 0..100 {
                far.write_all(&chunk).await.unwrap();
            }
            far.write_all(b"\nafter\n").await.unwrap();
        });
        let mut lines = Lines::new(near, 1024);
        assert!(matches!(lines.next().await, Some(Line::TooLong(_))));
        assert!(lines.line.capacity() <= CHUNK_BYTES);
        assert_eq!(lines.next().await, Some(Line::Text("after".into())));
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_survives_a_reader_that_gave_up_waiting() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut lines = Lines::new(near, 100);
        far.write_all(b"first ").await.unwrap();
        tokio::select! {
            biased;
            line = lines.next() => panic!("not finished yet: {line:?}"),
            () = tokio::task::yield_now() => {}
        }
        far.write_all(b"half\n").await.unwrap();
        assert_eq!(lines.next().await, Some(Line::Text("first half".into())));
    }
}
