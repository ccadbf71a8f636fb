//! `hundi scan`: where files have secrets in them, and of what kind; never what they are. The scanner
//! is governance's and is handed in; this file reads, counts lines and prints.
//!
//! A file is read in windows that overlap by more than the longest secret, so that its size does not
//! matter. It ends with 1 if anything was found, 0 if nothing was, and 2 if a file could not be read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Failure, Json, print};

/// Flags of `hundi scan`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  git diff --cached | hundi scan\n  git ls-files -z | xargs -0 hundi scan --json"
)]
pub struct Args {
    /// Files to look into; `-` or nothing is stdin
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// One find in a window.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// What it is.
    pub rule: &'static str,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// Bytes that are looked at together.
const WINDOW: usize = 4 << 20;
/// More than the longest secret; what starts in the last of a window is found in the next.
const OVERLAP: usize = 64 << 10;
/// What may stand before a secret and give it away.
const BEFORE: usize = 4 << 10;

/// Runs the command; `find` is the scanner.
pub fn run(
    args: &Args,
    input: &mut dyn Read,
    out: &mut dyn Write,
    find: impl Fn(&[u8]) -> Vec<Found>,
) -> Result<(), Failure> {
    let mut report = Report::new(args.json.json, out);
    let stdin = [PathBuf::from("-")];
    let files = if args.files.is_empty() {
        &stdin[..]
    } else {
        &args.files
    };
    let mut troubles = Vec::new();
    for path in files {
        match scan_file(path, input, &find, &mut report) {
            Ok(()) => {}
            Err(Trouble::Reading(error)) => troubles.push(format!("{}: {error}", path.display())),
            Err(Trouble::Writing(error)) => return Err(error.into()),
        }
    }
    let found = report.end(troubles.is_empty())?;
    match (troubles.is_empty(), found) {
        (false, _) => Err(Failure::Usage(troubles.join("\n"))),
        (true, true) => Err(Failure::Told),
        (true, false) => Ok(()),
    }
}

enum Trouble {
    Reading(io::Error),
    Writing(io::Error),
}

fn scan_file(
    path: &Path,
    input: &mut dyn Read,
    find: &impl Fn(&[u8]) -> Vec<Found>,
    report: &mut Report<'_>,
) -> Result<(), Trouble> {
    let name = path.display().to_string();
    if path == Path::new("-") {
        return scan(&name, input, find, report);
    }
    let mut file = File::open(path).map_err(Trouble::Reading)?;
    scan(&name, &mut file, find, report)
}

fn scan(
    name: &str,
    input: &mut dyn Read,
    find: &impl Fn(&[u8]) -> Vec<Found>,
    report: &mut Report<'_>,
) -> Result<(), Trouble> {
    let mut window = Vec::new();
    // Of the whole file: where the window starts, the line it starts in, and up to where all is told.
    let (mut base, mut line, mut told) = (0, 1, 0);
    loop {
        let room = u64::try_from(WINDOW - window.len()).unwrap_or_default();
        let ended = Read::take(&mut *input, room).read_to_end(&mut window);
        let ended = ended.map_err(Trouble::Reading)? == 0;
        let safe = window.len() - if ended { 0 } else { OVERLAP.min(window.len()) };
        let (mut counted, mut in_line) = (0, line);
        for found in find(&window) {
            if found.start >= safe || base + found.start < told {
                continue;
            }
            in_line += lines(&window, counted, found.start);
            counted = found.start;
            told = base + found.end;
            let place = (base + found.start, told);
            report
                .tell(name, in_line, found.rule, place)
                .map_err(Trouble::Writing)?;
        }
        if ended {
            return Ok(());
        }
        told = told.max(base + safe);
        let passed = safe.saturating_sub(BEFORE);
        line += lines(&window, 0, passed);
        base += passed;
        window.drain(..passed);
    }
}

fn lines(window: &[u8], from: usize, to: usize) -> usize {
    let passed = window.get(from..to).unwrap_or_default();
    passed.iter().filter(|byte| **byte == b'\n').count()
}

/// Lines of JSON as they come, or a table at the end.
struct Report<'a> {
    json: bool,
    out: &'a mut dyn Write,
    rows: Vec<Vec<String>>,
    found: bool,
}

impl<'a> Report<'a> {
    fn new(json: bool, out: &'a mut dyn Write) -> Self {
        Self {
            json,
            out,
            rows: Vec::new(),
            found: false,
        }
    }

    fn tell(
        &mut self,
        file: &str,
        line: usize,
        rule: &str,
        place: (usize, usize),
    ) -> io::Result<()> {
        self.found = true;
        let (start, end) = place;
        if self.json {
            let find =
                json!({"file": file, "line": line, "type": rule, "start": start, "end": end});
            return print::json(self.out, &find);
        }
        let numbers = [line, start, end].map(|number| number.to_string());
        let [line, start, end] = numbers;
        self.rows
            .push(vec![file.to_owned(), line, rule.to_owned(), start, end]);
        Ok(())
    }

    fn end(self, complete: bool) -> io::Result<bool> {
        // That there is nothing can only be said of what was read.
        if !self.json && (complete || self.found) {
            let heading = ["file", "line", "type", "start", "end"];
            print::table(self.out, &heading, self.rows, "no secrets found")?;
        }
        self.out.flush()?;
        Ok(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for the scanner: `KEY` is a secret.
    fn keys(text: &[u8]) -> Vec<Found> {
        let at = text
            .windows(3)
            .enumerate()
            .filter(|(_, part)| part == b"KEY");
        at.map(|(start, _)| Found {
            rule: "key",
            start,
            end: start + 3,
        })
        .collect()
    }

    fn told(input: &[u8], json: bool) -> (String, Result<(), Failure>) {
        let args = Args {
            files: Vec::new(),
            json: Json { json },
        };
        let mut out = Vec::new();
        let ended = run(&args, &mut &input[..], &mut out, keys);
        (String::from_utf8(out).unwrap(), ended)
    }

    #[test]
    fn each_find_has_its_line_and_its_place_and_never_its_text() {
        let (out, ended) = told(b"a\nb KEY KEY\nKEY", true);
        assert!(matches!(ended, Err(Failure::Told)));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"end":7,"file":"-","line":2,"start":4,"type":"key"}"#,
                r#"{"end":11,"file":"-","line":2,"start":8,"type":"key"}"#,
                r#"{"end":15,"file":"-","line":3,"start":12,"type":"key"}"#,
            ]
        );
        let (out, _) = told(b"a\nb KEY", false);
        assert!(out.starts_with("FILE") && !out.contains("KEY"), "{out}");
    }

    #[test]
    fn nothing_found_is_a_success() {
        let (out, ended) = told(b"a", true);
        assert!(ended.is_ok() && out.is_empty());
        assert!(told(b"", false).0.contains("no secrets"));
    }

    #[test]
    fn a_find_at_any_place_of_a_large_input_is_told_once() {
        for near in [0, OVERLAP, OVERLAP + BEFORE] {
            for shift in [0, 1, 2, 3, 4] {
                let at = WINDOW - near - 2 + shift;
                let mut input = vec![b'x'; 3 * WINDOW];
                input[7] = b'\n';
                input[at..at + 3].copy_from_slice(b"KEY");
                input[2 * WINDOW..2 * WINDOW + 3].copy_from_slice(b"KEY");
                let (out, _) = told(&input, true);
                assert_eq!(out.lines().count(), 2, "{at}");
                assert!(out.contains(&format!(r#""line":2,"start":{at},"#)), "{out}");
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_trouble_and_the_others_are_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "KEY").unwrap();
        let args = Args {
            files: vec![folder.path().join("missing"), path],
            json: Json { json: true },
        };
        let mut out = Vec::new();
        let ended = run(&args, &mut &b""[..], &mut out, keys);
        assert!(matches!(ended, Err(Failure::Usage(text)) if text.contains("missing")));
        assert!(String::from_utf8(out).unwrap().contains(r#""line":1"#));
    }
}
