//! The bulk commands: one JSON document a line in, one line out, in the same order.
//!
//! Lines are bytes, of which nothing is assumed, and no line can take more memory than the longest
//! document that is accepted anywhere.

use std::io::{self, BufRead, Read, Write};

use serde_json::{Value, json};

use crate::domain::strict::{MAX_BYTES, Malformed};

/// Why one line has no answer. The other lines go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Never changes once released.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl BadLine {
    /// A line that is JSON and still not what the command takes.
    pub fn request(detail: impl Into<String>) -> Self {
        Self {
            code: "invalid_request",
            detail: detail.into(),
        }
    }

    fn too_long() -> Self {
        Self {
            code: "too_large",
            detail: format!("more than {MAX_BYTES} bytes, and at most {MAX_BYTES} are accepted"),
        }
    }

    /// The shape every bulk command answers a bad line with.
    pub fn to_json(&self) -> Value {
        json!({"error": {"code": self.code, "detail": self.detail}})
    }
}

impl From<Malformed> for BadLine {
    fn from(malformed: Malformed) -> Self {
        Self {
            code: malformed.code(),
            detail: malformed.to_string(),
        }
    }
}

/// Answers every line with one line. `answer` writes it, without the line end.
pub fn each(
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    mut answer: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), BadLine>,
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut told = Vec::new();
    while let Some(fits) = next(input, &mut line)? {
        told.clear();
        let result = if fits {
            answer(&line, &mut told)
        } else {
            Err(BadLine::too_long())
        };
        if let Err(bad) = result {
            told.clear();
            serde_json::to_writer(&mut told, &bad.to_json())?;
        }
        told.push(b'\n');
        out.write_all(&told)?;
    }
    out.flush()
}

/// Reads one line without its end. `None` at the end of the input, `false` for a line that is too
/// long, of which the rest is skipped.
fn next(mut input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let limit = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = Read::take(&mut input, limit).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    if line.len() <= MAX_BYTES {
        return Ok(Some(true));
    }
    line.clear();
    line.shrink_to(MAX_BYTES / 16);
    skip_line(input)?;
    Ok(Some(false))
}

fn skip_line(input: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffered = input.fill_buf()?;
        if buffered.is_empty() {
            return Ok(());
        }
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let skipped = end.map_or(buffered.len(), |end| end + 1);
        input.consume(skipped);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(input: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        each(
            &mut io::BufReader::with_capacity(64, input),
            &mut out,
            |line, told| {
                told.extend(line.len().to_string().bytes());
                Ok(())
            },
        )
        .unwrap();
        let out = String::from_utf8(out).unwrap();
        out.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_line_has_its_answer_and_the_last_needs_no_end() {
        assert_eq!(lengths(b""), Vec::<String>::new());
        assert_eq!(lengths(b"a\n"), ["1"]);
        assert_eq!(lengths(b"a\n\nbc"), ["1", "0", "2"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_answered_and_the_next_one_is_read() {
        for (len, fits) in [
            (MAX_BYTES, true),
            (MAX_BYTES + 1, false),
            (MAX_BYTES * 3, false),
        ] {
            let mut input = vec![b'x'; len];
            input.extend(b"\nyz\n");
            let told = lengths(&input);
            assert_eq!(told.len(), 2, "{len}");
            assert_eq!(told[0].contains("too_large"), !fits, "{len}");
            assert_eq!(told[1], "2");
        }
        assert!(lengths(&vec![b'x'; MAX_BYTES + 9])[0].contains("too_large"));
    }
}
