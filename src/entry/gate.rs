//! The strict reader in front of every HTTP door: nothing sees a body before it was read here.
//!
//! A body is read whole, bounded in bytes and in time, and parsed by [`strict`]. What two readers
//! could understand differently never reaches a library that would pick one of the readings. The
//! parsed document is handed on together with its bytes, so that nobody reads them a second time
//! in another way.
//!
//! What the document means, and who sent it, is for the door behind this gate to say.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::domain::reason::Recovery;
use crate::domain::strict::{self, MAX_BYTES, Malformed};

/// Longest that a body may take to arrive. A slow sender must not hold memory and a connection.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// The same at doors where nobody has shown a key yet.
const UNSIGNED_DEADLINE: Duration = Duration::from_secs(10);
/// A body up to this is read without asking whether there is room for it.
const USUAL_BYTES: usize = 64 * 1024;

/// What is read and thrown away of an oversized body before it is refused. A sender that is still
/// writing when the connection closes sees a reset instead of the answer.
const DRAINED_BYTES: usize = 8 * MAX_BYTES;

/// Why a body did not get through the gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// More than so many bytes.
    #[error("the body is longer than the {0} bytes that are read")]
    TooLarge(usize),
    /// Not the one JSON document that every reader reads alike.
    #[error("the body is not readable as JSON: {0}")]
    Unreadable(#[from] Malformed),
    /// Not said to be JSON.
    #[error("the body must be sent as `Content-Type: application/json`")]
    NotJson,
    /// The connection broke off.
    #[error("the body broke off before its end")]
    BrokenOff,
    /// The body took too long.
    #[error("the body took too long to arrive")]
    TooSlow,
    /// The caller has as many long bodies under way as it may.
    #[error(
        "the body is longer than {USUAL_BYTES} bytes, and others of the same caller are still under way"
    )]
    Crowded,
}

impl GateError {
    /// Never changes once released.
    pub fn code(&self) -> &'static str {
        match self {
            GateError::TooLarge(_) => "too_large",
            GateError::Unreadable(_) => "invalid_json",
            GateError::NotJson => "unsupported_media_type",
            GateError::BrokenOff => "body_broken_off",
            GateError::TooSlow => "body_too_slow",
            GateError::Crowded => "overloaded",
        }
    }

    /// What exactly is wrong inside the document: `duplicate_key`, `too_deep` and so on.
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            GateError::Unreadable(malformed) => Some(malformed.code()),
            GateError::TooLarge(_)
            | GateError::NotJson
            | GateError::BrokenOff
            | GateError::TooSlow
            | GateError::Crowded => None,
        }
    }

    /// The HTTP status that says it best.
    pub fn status(&self) -> StatusCode {
        match self {
            GateError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            GateError::Unreadable(_) | GateError::BrokenOff => StatusCode::BAD_REQUEST,
            GateError::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            GateError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            GateError::Crowded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// As a problem document (RFC 9457), for the REST doors.
impl IntoResponse for GateError {
    fn into_response(self) -> Response {
        let mut problem = json!({
            "type": format!("urn:hundi:problem:{}", self.code()),
            "title": self.code().replace('_', " "),
            "status": self.status().as_u16(),
            "detail": self.to_string(),
            "code": self.code(),
            "recovery": Recovery::FixArgs.code(),
        });
        if let Some(cause) = self.cause() {
            problem["cause"] = json!(cause);
        }
        let kind = HeaderValue::from_static("application/problem+json");
        let headers = [(header::CONTENT_TYPE, kind)];
        (self.status(), headers, problem.to_string()).into_response()
    }
}

/// Says whether there is room for a body that turns out to be long.
pub trait Growth: Sync {
    /// Asked once for each body that outgrows the usual size.
    fn may_grow(&self) -> bool;
}

/// Where nobody counts.
impl Growth for () {
    fn may_grow(&self) -> bool {
        true
    }
}

/// Reads a body whole and strictly: its bytes, and the document in them.
pub async fn read_strict(body: Body, room: &dyn Growth) -> Result<(Bytes, Value), GateError> {
    let bytes = in_time(BODY_DEADLINE, body, room, MAX_BYTES).await?;
    let value = strict::parse(&bytes)?;
    Ok((bytes, value))
}

/// The same for the doors whose bodies may be longer.
pub async fn read_within(body: Body, room: &dyn Growth, most: usize) -> Result<Value, GateError> {
    let bytes = in_time(BODY_DEADLINE, body, room, most).await?;
    Ok(strict::parse_within(&bytes, most)?)
}

/// As [`read_strict`], for the requests whose body may be left out.
pub async fn read_optional(
    body: Body,
    room: &dyn Growth,
    most: usize,
) -> Result<Option<Value>, GateError> {
    let bytes = in_time(BODY_DEADLINE, body, room, most).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(strict::parse_within(&bytes, most)?))
}

/// Reads a body whole, bounded in bytes and in time, and leaves its meaning to the caller: the
/// webhooks, whose signature covers the raw bytes.
pub async fn read_bytes(body: Body) -> Result<Bytes, GateError> {
    in_time(UNSIGNED_DEADLINE, body, &(), MAX_BYTES).await
}

async fn in_time(
    deadline: Duration,
    body: Body,
    room: &dyn Growth,
    most: usize,
) -> Result<Bytes, GateError> {
    tokio::time::timeout(deadline, collect(body, room, most))
        .await
        .unwrap_or(Err(GateError::TooSlow))
}

async fn collect(mut body: Body, room: &dyn Growth, most: usize) -> Result<Bytes, GateError> {
    // Nearly every body arrives in one piece and is not copied.
    let mut first = Bytes::new();
    let mut whole = Vec::new();
    let (mut seen, mut grown) = (0_usize, false);
    let drained = most - most.min(MAX_BYTES) + DRAINED_BYTES;
    // Announced to be longer than is read on: no need to wait for it.
    if body.size_hint().lower() > u64::try_from(drained).unwrap_or(u64::MAX) {
        return Err(GateError::TooLarge(most));
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| GateError::BrokenOff)?;
        // Trailers carry nothing that is read here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let start = seen;
        seen = seen.saturating_add(data.len());
        if seen > drained {
            return Err(GateError::TooLarge(most));
        }
        if seen > most {
            continue;
        }
        if seen > USUAL_BYTES && !grown {
            grown = true;
            if !room.may_grow() {
                return Err(GateError::Crowded);
            }
        }
        if start == 0 {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    if seen > most {
        return Err(GateError::TooLarge(most));
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.into()
    })
}

/// Whether a request says that its body is JSON in UTF-8.
pub fn says_json(headers: &HeaderMap) -> Result<(), GateError> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok());
    let mut parts = kind.ok_or(GateError::NotJson)?.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if json && utf8 {
        Ok(())
    } else {
        Err(GateError::NotJson)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    async fn refused(body: impl Into<Body>) -> (u16, &'static str, Option<&'static str>) {
        let error = read_strict(body.into(), &()).await.unwrap_err();
        (error.status().as_u16(), error.code(), error.cause())
    }

    #[tokio::test]
    #[rustfmt::skip]
    async fn an_unreadable_body_is_refused_with_its_cause() {
        let deep = "[".repeat(10_000);
        let cases = [
            (r#"{"a":1,"a":2}"#,    "duplicate_key"),
            ("9007199254740993",    "integer_out_of_range"),
            (r#""\ud800""#,         "lone_surrogate"),
            (deep.as_str(),         "too_deep"),
            ("",                    "invalid_json"),
        ];
        for (text, cause) in cases {
            let got = refused(text.to_owned()).await;
            assert_eq!(got, (400, "invalid_json", Some(cause)), "{text:.40}");
        }
    }

    #[tokio::test]
    async fn the_limit_is_one_mebibyte_whole_or_in_pieces() {
        let text = |len: usize| format!("\"{}\"", "x".repeat(len - 2));
        assert!(read_strict(text(MAX_BYTES).into(), &()).await.is_ok());
        assert_eq!(refused(text(MAX_BYTES + 1)).await, (413, "too_large", None));
        let pieces = |count: usize| {
            let piece = Bytes::from(vec![b' '; MAX_BYTES / 2]);
            let pieces = std::iter::repeat_n(piece, count).map(Ok::<_, std::io::Error>);
            Body::from_stream(stream::iter(pieces))
        };
        assert_eq!(refused(pieces(3)).await, (413, "too_large", None));
        // Endless: given up after a while instead of drained for ever.
        assert_eq!(refused(pieces(1_000)).await, (413, "too_large", None));
    }

    #[tokio::test]
    async fn pieces_are_put_together_in_order() {
        let pieces = ["{\"a\"", ":[1,", "2]}"];
        let pieces = stream::iter(pieces.map(|p| Ok::<_, std::io::Error>(Bytes::from(p))));
        let (bytes, value) = read_strict(Body::from_stream(pieces), &()).await.unwrap();
        assert_eq!(&bytes[..], b"{\"a\":[1,2]}");
        assert_eq!(value, json!({"a": [1, 2]}));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_half_read() {
        let pieces = vec![
            Ok(Bytes::from("{}")),
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        ];
        let got = refused(Body::from_stream(stream::iter(pieces))).await;
        assert_eq!(got, (400, "body_broken_off", None));
    }

    #[tokio::test]
    async fn an_empty_body_is_nothing_where_it_may_be_left_out() {
        assert_eq!(read_optional(Body::empty(), &(), MAX_BYTES).await, Ok(None));
        let some = read_optional(Body::from("{}"), &(), MAX_BYTES).await;
        assert_eq!(some, Ok(Some(json!({}))));
        assert!(
            read_optional(Body::from("{"), &(), MAX_BYTES)
                .await
                .is_err()
        );
    }

    #[test]
    #[rustfmt::skip]
    fn a_body_must_be_said_to_be_json() {
        let cases = [
            (Some("application/json"),                   true),
            (Some("Application/JSON; charset=UTF-8"),    true),
            (Some("application/json; charset=\"utf-8\""), true),
            (Some("application/json; charset=latin1"),   false),
            (Some("application/jsonp"),                  false),
            (Some("text/plain"),                         false),
            (Some(""),                                   false),
            (None,                                       false),
        ];
        for (kind, accepted) in cases {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            }
            assert_eq!(says_json(&headers).is_ok(), accepted, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_reads_as_a_problem_document() {
        let error = read_strict(Body::from(r#"{"a":1,"a":2}"#), &())
            .await
            .unwrap_err();
        let response = error.into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let (_, problem) = read_strict(response.into_body(), &()).await.unwrap();
        assert_eq!(problem["code"], "invalid_json");
        assert_eq!(problem["cause"], "duplicate_key");
        assert_eq!(problem["recovery"], "fix_args");
    }
}
