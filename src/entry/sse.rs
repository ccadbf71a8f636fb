//! Server-sent events as every client can read them.
//!
//! Data is JSON on one line. Some clients take U+2028, U+2029 or U+0085 for line ends as well and
//! never see the rest of such an event, so these are written as JSON escapes: another spelling of
//! the same value. Which events a client gets at all depends on the revision that it speaks: before
//! 2025-11-25 there are none without data.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, Response, header};
use hyper::body::Frame;

/// From this revision on, an event without data begins a stream, so that it can be resumed.
const FIRST_WITH_EMPTY_EVENTS: &str = "2025-11-25";
/// What some clients take for line ends, and how JSON spells it.
const LINE_ENDS: [(&[u8], &[u8]); 3] = [
    ("\u{2028}".as_bytes(), br"\u2028"),
    ("\u{2029}".as_bytes(), br"\u2029"),
    ("\u{85}".as_bytes(), br"\u0085"),
];

/// JSON text as the data of an event.
pub fn data(json: &str) -> String {
    let escaped = json.replace('\u{2028}', r"\u2028");
    let escaped = escaped.replace('\u{2029}', r"\u2029");
    escaped.replace('\u{85}', r"\u0085")
}

/// Whether clients of this revision know events without data. Without a revision, a client is one
/// of the oldest.
pub fn knows_empty_events(revision: Option<&str>) -> bool {
    // Revisions are dates, so they sort as text.
    revision.is_some_and(|revision| revision >= FIRST_WITH_EMPTY_EVENTS)
}

/// An answer as its client can read it. Only event streams are changed.
pub fn readable(answer: Response<Body>, knows_empty: bool) -> Response<Body> {
    if !is_stream(answer.headers()) {
        return answer;
    }
    answer.map(|body| Body::new(Readable { body, knows_empty }))
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// A stream whose frames are whole events.
struct Readable {
    body: Body,
    knows_empty: bool,
}

impl HttpBody for Readable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            let frame = match next {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match frame.into_data() {
                Ok(event) if !self.knows_empty && is_empty(&event) => {}
                Ok(event) => return Poll::Ready(Some(Ok(Frame::data(escaped(event))))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// An event that has a data line and nothing in any of them. A comment has none.
fn is_empty(event: &[u8]) -> bool {
    let mut lines = event.split(|byte| *byte == b'\n');
    let mut data = lines.by_ref().filter_map(|line| line.strip_prefix(b"data"));
    let rest = |line: &[u8]| {
        let text = line.strip_prefix(b":").unwrap_or(line);
        text.iter().all(u8::is_ascii_whitespace)
    };
    data.next().is_some_and(rest) && data.all(rest)
}

fn escaped(event: Bytes) -> Bytes {
    let there = |(bytes, _): &(&[u8], &[u8])| event.windows(bytes.len()).any(|at| at == *bytes);
    if !LINE_ENDS.iter().any(there) {
        return event;
    }
    let mut out = Vec::with_capacity(event.len() + 16);
    let mut rest: &[u8] = &event;
    while let Some((first, after)) = rest.split_first() {
        let found = LINE_ENDS.iter().find(|(bytes, _)| rest.starts_with(bytes));
        match found {
            Some((bytes, spelt)) => {
                out.extend_from_slice(spelt);
                rest = &rest[bytes.len()..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_of_some_clients_are_spelt_out_and_the_value_stays() {
        let value = serde_json::json!({"note": "a\u{2028}b\u{2029}c\u{85}d\u{e9}"});
        let text = value.to_string();
        let event = Bytes::from(format!("data: {text}\n\n"));
        for spelt in [
            data(&text),
            String::from_utf8(escaped(event)[6..].to_vec()).unwrap(),
        ] {
            assert!(
                !spelt.contains(['\u{2028}', '\u{2029}', '\u{85}']),
                "{spelt}"
            );
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&spelt).unwrap(),
                value
            );
        }
    }

    #[test]
    #[rustfmt::skip]
    fn an_event_without_data_is_told_from_a_comment_and_from_a_message() {
        let cases = [
            ("id: 0\nretry: 1000\ndata: \n\n", true), ("data:\n\n", true), ("data\n\n", true),
            (":\n\n", false), (": still here\n\n", false), ("retry: 1000\n\n", false),
            ("data: {}\n\n", false), ("id: 1\ndata: \ndata: {}\n\n", false),
        ];
        for (event, empty) in cases {
            assert_eq!(is_empty(event.as_bytes()), empty, "{event:?}");
        }
    }

    #[test]
    fn the_oldest_clients_know_no_empty_events() {
        for (revision, known) in [
            (None, false),
            (Some("2025-06-18"), false),
            (Some("2025-11-25"), true),
            (Some("2026-07-28"), true),
        ] {
            assert_eq!(knows_empty_events(revision), known, "{revision:?}");
        }
    }
}
