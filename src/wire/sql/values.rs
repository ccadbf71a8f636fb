//! Values of PostgreSQL on their way in and out.
//!
//! In: each argument goes as text and is read by the database's own input function of the type that
//! the parameter has there, so that a number, a date or a member of an enumeration means what it
//! means in a statement written by hand. Out: plain numbers and texts as they are, everything else
//! in the database's own spelling, which is respelt where JSON has a better one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgTypeInfo, PgTypeKind, PgValueFormat, PgValueRef};
use sqlx::{TypeInfo, ValueRef};

use crate::domain::ids::unhex;
use crate::domain::tools::numbers::{double, exact, integer};

/// How values of one type become JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Read as it comes.
    Plain,
    /// Asked for as text.
    Text(Spelling),
    /// A list, asked for as JSON of texts.
    List(Spelling, &'static str),
}

/// What a text of the database means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spelling {
    Bool,
    Integer,
    Double,
    Json,
    Time,
    Bytes,
    /// `numeric`, and whatever else is best left alone.
    AsIs,
    /// In the currency of the server's locale: its digits are asked for instead.
    Money,
}

impl Kind {
    pub(super) fn of(info: &PgTypeInfo) -> Self {
        if let PgTypeKind::Array(element) = info.kind() {
            let spelling = Spelling::of(element);
            let through = match spelling {
                Spelling::Money => "numeric[]::text[]",
                Spelling::Bool
                | Spelling::Integer
                | Spelling::Double
                | Spelling::Json
                | Spelling::Time
                | Spelling::Bytes
                | Spelling::AsIs => "text[]",
            };
            return Kind::List(spelling, through);
        }
        match plain(info) {
            true => Kind::Plain,
            false => Kind::Text(Spelling::of(info)),
        }
    }

    /// How a column is asked for.
    pub(super) fn select(&self, column: &str) -> String {
        match self {
            Kind::Plain => column.to_owned(),
            Kind::Text(Spelling::Money) => format!("{column}::numeric::text"),
            Kind::Text(_) => format!("{column}::text"),
            Kind::List(_, through) => format!("to_jsonb({column}::{through})::text"),
        }
    }

    /// What came for it.
    pub(super) fn read(&self, value: &PgValueRef<'_>) -> Result<Value, String> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        match self {
            Kind::Plain => plain_value(value),
            Kind::Text(spelling) => Ok(spelling.respelt(text(value)?)),
            Kind::List(spelling, _) => {
                let list = serde_json::from_str(text(value)?);
                Ok(spelling.all(list.map_err(|error| error.to_string())?))
            }
        }
    }
}

impl Spelling {
    fn of(info: &PgTypeInfo) -> Self {
        match info.name() {
            "BOOL" => Spelling::Bool,
            "INT2" | "INT4" | "INT8" | "OID" => Spelling::Integer,
            "FLOAT4" | "FLOAT8" => Spelling::Double,
            "JSON" | "JSONB" => Spelling::Json,
            "TIMESTAMP" | "TIMESTAMPTZ" | "TIMETZ" => Spelling::Time,
            "BYTEA" => Spelling::Bytes,
            "MONEY" => Spelling::Money,
            _ => match info.kind() {
                PgTypeKind::Domain(base) => Spelling::of(base),
                PgTypeKind::Simple
                | PgTypeKind::Pseudo
                | PgTypeKind::Composite(_)
                | PgTypeKind::Array(_)
                | PgTypeKind::Enum(_)
                | PgTypeKind::Range(_) => Spelling::AsIs,
            },
        }
    }

    fn respelt(self, text: &str) -> Value {
        let as_it_is = || Value::String(text.to_owned());
        match self {
            Spelling::Bool => Value::Bool(text == "t" || text == "true"),
            Spelling::Integer => text.parse().map_or_else(|_| as_it_is(), integer),
            Spelling::Double => text.parse().map_or_else(|_| as_it_is(), double),
            Spelling::Json => {
                let read = serde_json::from_str(text).map(exact);
                read.unwrap_or_else(|_| as_it_is())
            }
            Spelling::Time => Value::String(rfc3339(text)),
            Spelling::Bytes => bytes(text).map_or_else(as_it_is, Value::String),
            Spelling::AsIs | Spelling::Money => as_it_is(),
        }
    }

    /// The same for every text of a list of lists.
    fn all(self, list: Value) -> Value {
        match list {
            Value::Array(items) => items.into_iter().map(|item| self.all(item)).collect(),
            Value::String(text) => self.respelt(&text),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => other,
        }
    }
}

/// `2024-01-02 03:04:05.6+00` as RFC 3339; a time without zone stays without.
fn rfc3339(text: &str) -> String {
    let Some((day, time)) = text.split_once(' ') else {
        return text.to_owned();
    };
    // Years before Christ have no spelling there.
    if time.ends_with(" BC") {
        return text.to_owned();
    }
    let time = match time.strip_suffix("+00") {
        Some(utc) => format!("{utc}Z"),
        None => time.to_owned(),
    };
    format!("{day}T{time}")
}

fn bytes(text: &str) -> Option<String> {
    let digits = text.strip_prefix("\\x")?;
    let pairs = (0..digits.len()).step_by(2);
    let raw: Option<Vec<u8>> = pairs
        .map(|at| unhex::<1>(digits.get(at..at + 2)?).map(|[byte]| byte))
        .collect();
    Some(STANDARD.encode(raw?))
}

/// Whether values of a type are read as they come.
fn plain(info: &PgTypeInfo) -> bool {
    matches!(
        info.name(),
        "BOOL"
            | "INT2"
            | "INT4"
            | "INT8"
            | "FLOAT4"
            | "FLOAT8"
            | "TEXT"
            | "VARCHAR"
            | "CHAR"
            | "NAME"
    )
}

fn plain_value(value: &PgValueRef<'_>) -> Result<Value, String> {
    let info = value.type_info();
    let raw = value.as_bytes().map_err(|error| error.to_string())?;
    if value.format() == PgValueFormat::Text {
        return Ok(Spelling::of(&info).respelt(text(value)?));
    }
    let odd = || format!("a value of type {} has another length", info.name());
    Ok(match info.name() {
        "BOOL" => Value::Bool(raw != [0]),
        "INT2" => integer(i16::from_be_bytes(raw.try_into().map_err(|_| odd())?).into()),
        "INT4" => integer(i32::from_be_bytes(raw.try_into().map_err(|_| odd())?).into()),
        "INT8" => integer(i64::from_be_bytes(raw.try_into().map_err(|_| odd())?)),
        "FLOAT4" => {
            let single = f32::from_be_bytes(raw.try_into().map_err(|_| odd())?);
            // The shortest digits of the single, not those of the double next to it.
            double(single.to_string().parse().unwrap_or(f64::NAN))
        }
        "FLOAT8" => double(f64::from_be_bytes(raw.try_into().map_err(|_| odd())?)),
        _ => Value::String(text(value)?.to_owned()),
    })
}

fn text<'a>(value: &PgValueRef<'a>) -> Result<&'a str, String> {
    value.as_str().map_err(|_| "a text is not UTF-8".to_owned())
}

/// An argument as the database's input functions read it. `array` says that the parameter is a list
/// there.
pub(super) fn input(value: Option<&Value>, array: bool) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::Array(items) if array => Some(list(items)),
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        other @ (Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
    }
}

/// `{"a","b",NULL}`
fn list(items: &[Value]) -> String {
    let item = |item: &Value| match item {
        Value::Array(inner) => list(inner),
        one @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Object(_)) => match input(Some(one), false) {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        },
    };
    let items: Vec<String> = items.iter().map(item).collect();
    format!("{{{}}}", items.join(","))
}

/// Asks the database for the names of types, so that a cast means the very type: without a length,
/// `bpchar` and not `character`, which would be one character.
pub(super) async fn type_names(
    connection: &mut sqlx::PgConnection,
    types: &[PgTypeInfo],
) -> Result<Vec<String>, sqlx::Error> {
    let oids: Vec<Oid> = types
        .iter()
        .map(|info| info.oid().unwrap_or_default())
        .collect();
    let query = "SELECT format_type(o, -1) FROM unnest($1) WITH ORDINALITY AS t(o, n) ORDER BY n";
    sqlx::query_scalar(query)
        .bind(oids)
        .fetch_all(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn texts_of_the_database_are_respelt() {
        for (spelling, text, expected) in [
            (Spelling::Time,    "2024-01-02 03:04:05",           json!("2024-01-02T03:04:05")),
            (Spelling::Time,    "2024-01-02 03:04:05.678901+00", json!("2024-01-02T03:04:05.678901Z")),
            (Spelling::Time,    "infinity",                      json!("infinity")),
            (Spelling::Time,    "0044-03-15 00:00:00 BC",        json!("0044-03-15 00:00:00 BC")),
            (Spelling::Bytes,   "\\x00ff",                       json!("AP8=")),
            (Spelling::AsIs,    "123456789.00",                  json!("123456789.00")),
            (Spelling::Integer, "9007199254740993",              json!("9007199254740993")),
            (Spelling::Double,  "NaN",                           json!("NaN")),
            (Spelling::Json,    "{\"a\": 9007199254740993}",     json!({"a": "9007199254740993"})),
            (Spelling::Bool,    "t",                             json!(true)),
        ] {
            assert_eq!(spelling.respelt(text), expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn arguments_are_spelt_for_input_functions() {
        for (value, array, expected) in [
            (json!(null),                   false, None),
            (json!(1.5),                    false, Some("1.5")),
            (json!(true),                   false, Some("true")),
            (json!("a'b"),                  false, Some("a'b")),
            (json!({"a": 1}),               false, Some("{\"a\":1}")),
            (json!([1, 2]),                 false, Some("[1,2]")),
            (json!([1, null, "a\"b\\,{}"]), true,  Some("{\"1\",NULL,\"a\\\"b\\\\,{}\"}")),
            (json!([[1], [2]]),             true,  Some("{{\"1\"},{\"2\"}}")),
            (json!([]),                     true,  Some("{}")),
        ] {
            assert_eq!(input(Some(&value), array).as_deref(), expected, "{value}");
        }
        assert_eq!(input(None, false), None);
    }
}
