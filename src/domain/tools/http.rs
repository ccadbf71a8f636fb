//! HTTP as it leaves and comes back, for tools over REST: made and read by the connector, sent by
//! the wire, which adds the base address and the credentials.

/// One request, relative to its source's base address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method, in upper case.
    pub method: &'static str,
    /// The encoded path, from its first slash.
    pub path: String,
    /// The encoded query, without its question mark; may be empty.
    pub query: String,
    /// Names in lower case, and values without line breaks.
    pub headers: Vec<(String, String)>,
    /// Content type and bytes.
    pub body: Option<(&'static str, Vec<u8>)>,
}

/// What was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// It may have arrived: no answer, or a broken one.
    Lost(String),
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    pub body: Vec<u8>,
}
