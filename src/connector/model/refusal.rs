//! What a provider says that is no answer: a status, an error in a body or in the middle of a stream,
//! and when to ask again.
//!
//! The status is believed first; a body may then say more exactly what is wrong. An error inside a
//! success is an error all the same.

use serde_json::Value;

use super::said::{items, text, words};
use crate::domain::requests::failure::{Failure, Why};
use crate::domain::time::Timestamp;

/// Longest words of a provider that are kept.
const MAX_WORDS: usize = 300;
/// Longest time to wait that is believed; whoever says more means for ever.
const MAX_WAIT_MS: u64 = 24 * 60 * 60 * 1_000;

/// What a status other than a success means, with the headers and the body that came with it.
/// `header` looks a header up by its name in lower case.
pub fn of_status<'a>(
    status: u16,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    now: Timestamp,
) -> Failure {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let inside = told.as_ref().and_then(inside);
    let words = || match std::str::from_utf8(body) {
        Ok(text)
            if told.is_none()
                && !text.trim_start().starts_with(['<', '\0'])
                && !text.trim().is_empty() =>
        {
            short(text.trim())
        }
        Ok(_) | Err(_) => format!("HTTP {status}"),
    };
    let inside = inside.unwrap_or_else(|| Failure::new(Why::ServerError, words()));
    // A server error that says inside that it was asked too often was.
    let said = (inside.why == Why::RateLimited && status >= 500).then_some(Why::RateLimited);
    let why = said.unwrap_or_else(|| why_of(status));
    Failure {
        why,
        status: Some(status),
        retry_after_ms: wait(&header, now).or(inside.retry_after_ms),
        ..inside
    }
}

fn why_of(status: u16) -> Why {
    match status {
        401 | 403 => Why::Credentials,
        408 => Why::Timeout,
        429 => Why::RateLimited,
        400..=499 => Why::Refused,
        500..=599 => Why::ServerError,
        // A redirect is not followed: it would take the key and the prompt elsewhere.
        _ => Why::Malformed,
    }
}

/// The error that a body or an event holds, if it is one.
pub fn inside(value: &Value) -> Option<Failure> {
    // One provider wraps it in a list.
    let value = match value {
        Value::Array(items) if items.len() == 1 => items.first()?,
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => value,
    };
    if text(value, "/type") == Some("error") && value.get("error").is_none() {
        return Some(told(value));
    }
    match value.get("error")? {
        Value::String(words) => Some(Failure::new(why_in_words(words), short(words))),
        error @ Value::Object(_) => Some(told(error)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// A failure that is called one and says no more.
pub fn unnamed(value: &Value) -> Failure {
    let words = words(value, "/error/message").unwrap_or("it failed without a word");
    Failure::new(Why::ServerError, short(words))
}

fn told(error: &Value) -> Failure {
    let message = words(error, "/message").unwrap_or("it failed without a word");
    let number = error.get("code").and_then(Value::as_u64);
    let number = number.or_else(|| error.get("status").and_then(Value::as_u64));
    let status = number
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| *code >= 400);
    let names = ["/code", "/type", "/status"].map(|at| words(error, at));
    let named = names.into_iter().flatten().find_map(why_of_name);
    Failure {
        why: named
            .or(status.map(why_of))
            .unwrap_or_else(|| why_in_words(message)),
        status: None,
        code: names.into_iter().flatten().next().map(short),
        words: short(message),
        retry_after_ms: delay_in(error),
    }
}

fn why_of_name(name: &str) -> Option<Why> {
    Some(match name {
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "rate_limited"
        | "insufficient_quota"
        | "RESOURCE_EXHAUSTED"
        | "too_many_requests"
        | "tokens"
        | "requests" => Why::RateLimited,
        "authentication_error"
        | "permission_error"
        | "invalid_api_key"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED" => Why::Credentials,
        "invalid_request_error"
        | "not_found_error"
        | "request_too_large"
        | "model_not_found"
        | "context_length_exceeded"
        | "invalid_prompt"
        | "INVALID_ARGUMENT"
        | "NOT_FOUND"
        | "billing_error" => Why::Refused,
        "timeout_error" | "DEADLINE_EXCEEDED" => Why::Timeout,
        "overloaded_error" | "api_error" | "server_error" | "UNAVAILABLE" | "INTERNAL" => {
            Why::ServerError
        }
        _ => return None,
    })
}

/// Where there are words alone.
fn why_in_words(words: &str) -> Why {
    let words = words.to_ascii_lowercase();
    let says = |part: &str| words.contains(part);
    if says("rate limit") || says("too many requests") {
        Why::RateLimited
    } else if says("not found") || says("does not support") || says("invalid") {
        Why::Refused
    } else {
        Why::ServerError
    }
}

/// At most so many characters, on one line.
fn short(text: &str) -> String {
    let plain = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(MAX_WORDS).collect()
}

/// When to ask again, as the headers say it.
fn wait<'a>(header: &impl Fn(&str) -> Option<&'a str>, now: Timestamp) -> Option<u64> {
    let millis = header("retry-after-ms").and_then(|text| millis_of(text.trim(), 1));
    let after = || header("retry-after").and_then(|text| seconds_or_date(text.trim(), now));
    let reset = || {
        ["requests", "tokens"]
            .iter()
            .filter(|what| spent(header(&format!("x-ratelimit-remaining-{what}"))))
            .filter_map(|what| duration(header(&format!("x-ratelimit-reset-{what}"))?))
            .max()
    };
    let reset_at = || {
        let reset = header("anthropic-ratelimit-requests-reset")?;
        until(Timestamp::parse(reset.trim())?, now)
    };
    let told = millis.or_else(after).or_else(reset).or_else(reset_at)?;
    Some(told.min(MAX_WAIT_MS))
}

/// Nothing is left. Some send -1 for what they do not know.
fn spent(remaining: Option<&str>) -> bool {
    remaining.is_some_and(|left| left.trim() == "0")
}

fn seconds_or_date(text: &str, now: Timestamp) -> Option<u64> {
    millis_of(text, 1_000).or_else(|| {
        let at = jiff::fmt::rfc2822::parse(text).ok()?;
        until(Timestamp::from_millis(at.timestamp().as_millisecond()), now)
    })
}

fn until(at: Timestamp, now: Timestamp) -> Option<u64> {
    u64::try_from(at.millis().saturating_sub(now.millis())).ok()
}

/// `12`, `1.5`: so many of a unit of so many milliseconds, rounded up.
fn millis_of(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    // Three digits are a millisecond of a second; what is finer only rounds up.
    let finest = fraction.get(..fraction.len().min(9)).unwrap_or_default();
    let scale = 10_u64.pow(u32::try_from(finest.len()).unwrap_or_default());
    let part = finest
        .parse::<u64>()
        .unwrap_or(0)
        .checked_mul(unit)?
        .div_ceil(scale);
    whole.checked_add(part)
}

/// `6m0s`, `12ms`, `1.5s`, `1h2m3s`.
fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut all = 0_u64;
    while !rest.is_empty() {
        let number = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(number);
        let units = [
            ("ms", 1),
            ("s", 1_000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
        ];
        let (name, unit) = units.into_iter().find(|(name, _)| tail.starts_with(name))?;
        all = all.checked_add(millis_of(number, unit)?)?;
        rest = tail.get(name.len()..)?;
    }
    Some(all)
}

/// `"retryDelay": "12s"` among the details of an error.
fn delay_in(error: &Value) -> Option<u64> {
    let details = items(error, "/details").filter_map(|detail| text(detail, "/retryDelay"));
    let told = details.filter_map(duration).max()?;
    Some(told.min(MAX_WAIT_MS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(status: u16, headers: &[(&str, &'static str)], body: &str) -> Failure {
        let header = |name: &str| {
            let found = headers.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| *value)
        };
        of_status(
            status,
            header,
            body.as_bytes(),
            Timestamp::from_secs(1_795_168_800),
        )
    }

    #[test]
    #[rustfmt::skip]
    fn a_status_is_believed_first() {
        for (status, body, why) in [
            (400, r#"{"error":{"message":"x","type":"invalid_request_error"}}"#, Why::Refused),
            (401, "",                                                         Why::Credentials),
            (403, "<html>no</html>",                                          Why::Credentials),
            (404, r#"{"error":{"code":"model_not_found"}}"#,                  Why::Refused),
            (408, "",                                                         Why::Timeout),
            (413, "",                                                         Why::Refused),
            (429, r#"{"error":{"type":"insufficient_quota"}}"#,               Why::RateLimited),
            (500, "not json",                                                 Why::ServerError),
            (500, r#"{"error":{"code":"rate_limit_exceeded"}}"#,              Why::RateLimited),
            (503, "[]",                                                       Why::ServerError),
            (529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#,  Why::ServerError),
            (302, "",                                                         Why::Malformed),
            (101, "",                                                         Why::Malformed),
        ] {
            let failure = failure(status, &[], body);
            assert_eq!((failure.why, failure.status), (why, Some(status)), "{status} {body}");
            assert!(!failure.words.is_empty());
        }
    }

    #[test]
    #[rustfmt::skip]
    fn an_error_inside_a_success_is_told_by_what_it_says() {
        for (body, why) in [
            (json!({"error": {"code": 429, "message": "x"}}),                       Why::RateLimited),
            (json!({"error": {"code": "rate_limit_exceeded"}}),                     Why::RateLimited),
            (json!({"error": {"status": "RESOURCE_EXHAUSTED", "code": 429}}),       Why::RateLimited),
            (json!([{"error": {"status": "UNAVAILABLE", "code": 503}}]),            Why::ServerError),
            (json!({"error": {"code": 401}}),                                       Why::Credentials),
            (json!({"error": "model 'x' not found"}),                               Why::Refused),
            (json!({"error": "rate limit reached"}),                                Why::RateLimited),
            (json!({"error": "boom"}),                                              Why::ServerError),
            (json!({"type": "error", "error": {"type": "overloaded_error"}}),       Why::ServerError),
            (json!({"type": "error", "code": "server_error", "message": "x"}),      Why::ServerError),
            (json!({"error": {"type": "invalid_request_error", "code": null}}),     Why::Refused),
            (json!({"error": {}}),                                                  Why::ServerError),
        ] {
            assert_eq!(inside(&body).map(|failure| failure.why), Some(why), "{body}");
        }
        for fine in [json!({}), json!({"error": null}), json!([]), json!("error"), json!({"choices": []})] {
            assert_eq!(inside(&fine), None, "{fine}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn when_to_ask_again_is_read_wherever_it_stands() {
        for (headers, body, millis) in [
            (&[("retry-after", "2")][..],                        "", Some(2_000)),
            (&[("retry-after", "1.5")],                          "", Some(1_500)),
            (&[("retry-after-ms", "250"), ("retry-after", "9")], "", Some(250)),
            (&[("retry-after", "Fri, 20 Nov 2026 10:00:30 GMT")], "", Some(30_000)),
            (&[("retry-after", "Fri, 20 Nov 2026 09:00:00 GMT")], "", None),
            (&[("retry-after", "99999999999")],                  "", Some(MAX_WAIT_MS)),
            (&[("retry-after", "soon")],                         "", None),
            (&[("retry-after", "-1")],                           "", None),
            (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")], "", Some(360_000)),
            (&[("x-ratelimit-remaining-tokens", "-1"), ("x-ratelimit-reset-tokens", "6m0s")], "", None),
            (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "12ms")], "", Some(12)),
            (&[("anthropic-ratelimit-requests-reset", "2026-11-20T10:00:10Z")], "", Some(10_000)),
            (&[], r#"{"error":{"details":[{"@type":"x"},{"retryDelay":"12.5s"}]}}"#, Some(12_500)),
            (&[], "",                                                               None),
        ] {
            assert_eq!(failure(429, headers, body).retry_after_ms, millis, "{headers:?} {body}");
        }
    }

    #[test]
    fn words_are_cut_and_on_one_line() {
        let long = json!({"error": {"message": "a\u{7}\n".to_owned() + &"é".repeat(1_000)}});
        let words = inside(&long).unwrap().words;
        assert_eq!(words.chars().count(), MAX_WORDS);
        assert!(words.starts_with("a  é"));
    }
}
