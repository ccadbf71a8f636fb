//! `hundi hash`: the canonical form (RFC 8785) of documents and its SHA-256, or why a document is
//! refused. The reader and the hash are those of every door, so what it says is what a propose
//! would hash.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::lines::{self, BadLine};
use super::{Failure, JsonLines, print};
use crate::domain::canonical::Canonical;
use crate::domain::strict::MAX_BYTES;

/// Flags of `hundi hash`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  echo '{\"b\":1,\"a\":2.0}' | hundi hash")]
pub struct Args {
    /// Take the raw bytes of this file as one document; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub json: JsonLines,
}

#[derive(Serialize)]
struct Hashed<'a> {
    canonical: &'a str,
    sha256: String,
}

/// Runs the command. One refused file is a refusal; a refused line among many is an answer.
pub fn run(args: &Args, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.file {
        None => Ok(lines::each(input, out, hash)?),
        Some(path) if path == Path::new("-") => one(input, out),
        Some(path) => {
            let named = |error| Failure::of(format!("{}: {error}", path.display()));
            let mut file = std::fs::File::open(path).map_err(named)?;
            one(&mut file, out)
        }
    }
}

fn one(input: &mut dyn Read, out: &mut dyn Write) -> Result<(), Failure> {
    let mut document = Vec::new();
    // One byte more than is accepted is enough to be refused for its length.
    let limit = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    input.take(limit).read_to_end(&mut document)?;
    let mut told = Vec::new();
    let hashed = hash(&document, &mut told);
    match &hashed {
        Ok(()) => {
            told.push(b'\n');
            out.write_all(&told)?;
        }
        Err(bad) => print::json(out, &bad.to_json())?,
    }
    out.flush()?;
    hashed.map_err(|_| Failure::Told)
}

fn hash(document: &[u8], told: &mut Vec<u8>) -> Result<(), BadLine> {
    let canonical = Canonical::of_text(document)?;
    let hashed = Hashed {
        canonical: canonical.as_str(),
        sha256: canonical.hash().to_string(),
    };
    serde_json::to_writer(told, &hashed).map_err(|error| BadLine::request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn each_document_gets_its_hash_or_its_reason() {
        let cases: &[(&[u8], &str)] = &[
            (br#"{"b": 1, "a": 2.0}"#,             r#"{"canonical":"{\"a\":2,\"b\":1}","sha256":"d3626ac30a87e6f7a6428233b3c68299976865fa5508e4267c5415c76af7a772"}"#),
            (br#"{"a":1,"\u0061":2}"#,             "duplicate_key"),
            (b"9007199254740993",                  "integer_out_of_range"),
            (b"1e400",                             "number_out_of_range"),
            (br#""\ud800""#,                       "lone_surrogate"),
            (b"\"\xff\"",                          "invalid_utf8"),
            (b"{",                                 "invalid_json"),
            (b"",                                  "invalid_json"),
        ];
        let input: Vec<u8> = cases.iter().flat_map(|(text, _)| [text, &b"\n"[..]].concat()).collect();
        let mut out = Vec::new();
        let args = Args { file: None, json: JsonLines::default() };
        run(&args, &mut &input[..], &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let told: Vec<&str> = out.lines().collect();
        assert_eq!(told.len(), cases.len());
        for ((text, expected), told) in cases.iter().zip(told) {
            assert!(told.contains(expected), "{}: {told}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_file_is_one_document_whatever_its_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "{\n\"a\":\r\n1}\n").unwrap();
        let mut out = Vec::new();
        let args = Args {
            file: Some(path.clone()),
            json: JsonLines::default(),
        };
        run(&args, &mut &b""[..], &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains(r#""{\"a\":1}""#));

        std::fs::write(&path, vec![b' '; MAX_BYTES + 1]).unwrap();
        let mut out = Vec::new();
        let refused = run(&args, &mut &b""[..], &mut out);
        assert!(matches!(refused, Err(Failure::Told)));
        assert!(String::from_utf8(out).unwrap().contains("too_large"));
    }
}
