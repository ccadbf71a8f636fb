//! What an operation gives back: a typed body, with its type forgotten on the way to a door.

use futures_util::stream::BoxStream;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// An answer that says more than its body.
pub struct Reply<T> {
    /// What is told.
    pub body: T,
    /// HTTP status.
    pub status: u16,
    /// Seconds after which it makes sense to ask again.
    pub retry_after: Option<u32>,
}

/// An answer with its type forgotten.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Seconds after which it makes sense to ask again.
    pub retry_after: Option<u32>,
    /// What is told.
    pub body: Body,
}

/// What an answer carries.
pub enum Body {
    /// One value.
    Json(Value),
    /// Text of this media type, as it comes. Only for doors that speak HTTP.
    Stream(&'static str, BoxStream<'static, std::io::Result<String>>),
}

impl Body {
    /// The value. There is none in a stream, which only doors that speak HTTP are given.
    pub fn into_value(self) -> Value {
        match self {
            Body::Json(value) => value,
            Body::Stream(..) => Value::Null,
        }
    }
}

/// What a function of this table may return.
pub trait Tells {
    /// The shape of the body.
    type Body: JsonSchema;

    /// With its type forgotten.
    fn told(self) -> Answer;
}

impl<T: Serialize + JsonSchema> Tells for T {
    type Body = T;

    fn told(self) -> Answer {
        Reply::ok(self).told()
    }
}

impl<T: Serialize + JsonSchema> Tells for Reply<T> {
    type Body = T;

    fn told(self) -> Answer {
        Answer {
            status: self.status,
            retry_after: self.retry_after,
            body: Body::Json(json!(self.body)),
        }
    }
}

impl<T> Reply<T> {
    /// A result.
    pub fn ok(body: T) -> Self {
        Self {
            body,
            status: 200,
            retry_after: None,
        }
    }

    /// The same with another body.
    pub fn map<U>(self, body: impl FnOnce(T) -> U) -> Reply<U> {
        Reply {
            body: body(self.body),
            status: self.status,
            retry_after: self.retry_after,
        }
    }

    /// A result that did not exist before.
    pub fn created(body: T) -> Self {
        Self {
            status: 201,
            ..Self::ok(body)
        }
    }
}
