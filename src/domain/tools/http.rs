//! HTTP as it leaves and comes back, for tools over REST: made and read by the connector, sent by
//! the wire, which adds the base address and the credentials.
//!
//! Both can be written down: a request is a part of the intent of a proposal, and what was heard
//! goes back to the connector as it came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::{ContentType, Method};
use crate::domain::call::Reply;

/// One request, relative to its source's base address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The encoded path, from its first slash.
    pub path: String,
    /// The encoded query, without its question mark; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Names in lower case, and values without line breaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// How the text is written, and the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<(ContentType, String)>,
}

/// What was heard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// A whole answer.
    Answer(Answer),
    /// Proven: not a byte of the request left this process.
    NotSent(String),
    /// It was answered, at more length than is taken.
    TooLarge {
        /// The status of that answer.
        status: u16,
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// It may have arrived: no whole answer came in time.
    Late,
    /// It may have arrived: no answer, or a broken one.
    Lost(String),
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The media type in lower case, without parameters.
    pub content_type: String,
    /// The version of what was read, if it was told.
    pub etag: Option<String>,
    /// Seconds after which to come back, if they were told.
    pub retry_after_secs: Option<u64>,
    /// The bytes.
    #[serde(serialize_with = "told", deserialize_with = "taken")]
    pub body: Vec<u8>,
}

impl Heard {
    /// As the wire gives it back.
    pub fn reply(self) -> Reply {
        match self {
            Heard::NotSent(why) => Reply::NotSent(why),
            Heard::Lost(why) => Reply::Lost(why),
            Heard::Answer(_) | Heard::TooLarge { .. } | Heard::Late => Reply::Result {
                content: json!(self),
                is_error: false,
            },
        }
    }

    /// What the wire gave back.
    pub fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Result { content, .. } => {
                let read = Heard::deserialize(content);
                read.unwrap_or_else(|_| Heard::Lost("what was heard does not read".to_owned()))
            }
            Reply::NotSent(why) => Heard::NotSent(why.clone()),
            Reply::RpcError { .. }
            | Reply::TurnedAway { .. }
            | Reply::TooLarge { .. }
            | Reply::Lost(_) => Heard::Lost(reply.why()),
        }
    }
}

/// Bytes as they are written down: as a text where they are one.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Other { base64: String },
}

fn told<S: Serializer>(bytes: &[u8], writer: S) -> Result<S::Ok, S::Error> {
    let told = match std::str::from_utf8(bytes) {
        Ok(text) => Bytes::Text(text.to_owned()),
        Err(_) => Bytes::Other {
            base64: STANDARD.encode(bytes),
        },
    };
    told.serialize(writer)
}

fn taken<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<u8>, D::Error> {
    match Bytes::deserialize(reader)? {
        Bytes::Text(text) => Ok(text.into_bytes()),
        Bytes::Other { base64 } => STANDARD.decode(base64).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_comes_back_as_it_was() {
        let answer = |body: &[u8]| {
            Heard::Answer(Answer {
                status: 200,
                content_type: "application/json".to_owned(),
                etag: Some("\"v1\"".to_owned()),
                retry_after_secs: None,
                body: body.to_vec(),
            })
        };
        let (status, limit) = (201, 5);
        for heard in [
            answer(b"{\"n\": 9007199254740993}"),
            answer(&[0xff, 0, 1]),
            answer(b""),
            Heard::NotSent("n".to_owned()),
            Heard::TooLarge { status, limit },
            Heard::Late,
            Heard::Lost("l".to_owned()),
        ] {
            assert_eq!(Heard::of(&heard.clone().reply()), heard);
        }
    }
}
