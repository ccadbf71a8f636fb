//! Numbers of others as JSON: a number where every reader agrees on it, else its digits as text.

use serde_json::{Number, Value};

use crate::domain::strict::MAX_SAFE_INTEGER;

/// An integer.
pub fn integer(value: i64) -> Value {
    match value.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs() {
        true => Value::from(value),
        false => Value::String(value.to_string()),
    }
}

/// A double. JSON has no number for some, and others would be read as an integer that nobody has.
pub fn double(value: f64) -> Value {
    let beyond = value.fract() == 0.0 && value.abs() > 9_007_199_254_740_991.0;
    match Number::from_f64(value).filter(|_| !beyond) {
        Some(number) => Value::Number(number),
        None => Value::String(value.to_string()),
    }
}

/// A document, with every number that readers would round as text.
pub fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => integer(whole),
            (None, Some(whole)) => Value::String(whole.to_string()),
            (None, None) => number.as_f64().map_or(Value::Null, double),
        },
        Value::Array(items) => items.into_iter().map(exact).collect(),
        Value::Object(map) => {
            let members = map.into_iter().map(|(key, item)| (key, exact(item)));
            Value::Object(members.collect())
        }
        other @ (Value::Null | Value::Bool(_) | Value::String(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_readers_would_round_is_text() {
        let edge = 9_007_199_254_740_991_i64;
        assert_eq!(integer(edge), json!(edge));
        assert_eq!(integer(-edge), json!(-edge));
        assert_eq!(integer(edge + 1), json!("9007199254740992"));
        assert_eq!(integer(i64::MIN), json!("-9223372036854775808"));
        assert_eq!(double(0.1), json!(0.1));
        assert_eq!(double(f64::NAN), json!("NaN"));
        assert_eq!(double(1e300), json!(1e300.to_string()));
        assert_eq!(
            exact(json!({"a": [u64::MAX, 1]})),
            json!({"a": ["18446744073709551615", 1]})
        );
    }
}
