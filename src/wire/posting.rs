//! One request over streamable HTTP, posted by us rather than by the protocol library, which would
//! read its answer into types that lose what servers really send.
//!
//! A status that proves that nothing was done is told as that, and every answer that is complete
//! but says nothing to the call is told at once. Only a stream, or an answer that comes by another
//! stream, is left to the library to wait for. Media types are compared in any case, and an answer
//! that is JSON is read whatever it is called.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{
    StreamableHttpError, StreamableHttpPostResponse as Posted,
};
use sse_stream::{Error as SseError, Sse, SseStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{self, Message, Said};
use super::calls::{Calls, stand_in};
use super::streamable::{Counted, HttpError};
use super::ticket::Ticket;

/// Statuses that prove that nothing was done: the request was not let in, not found or not
/// understood.
pub(super) const TURNED_AWAY: [u16; 7] = [400, 401, 403, 404, 405, 413, 415];
/// Longest body of a refusal that is read.
const MAX_REFUSAL: usize = 64 * 1024;
/// Most characters of it that are kept.
const MAX_WORDS: usize = 300;
/// Events without data that are read in front of an answer.
const MAX_SILENT: usize = 8;
/// How long an answer is waited for in this way; a server may also give it on another stream.
const AT_HAND: Duration = Duration::from_secs(5);
/// How long the end of an answered stream may be in coming.
const LAST_BYTES: Duration = Duration::from_millis(50);
/// Where a server names the session that it began.
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// What a request is posted with.
pub(super) struct Envelope {
    pub(super) uri: Arc<str>,
    pub(super) session: Option<Arc<str>>,
    pub(super) headers: HashMap<HeaderName, HeaderValue>,
}

impl Counted {
    /// Posts one request once. What it is told goes to its ticket; a stand-in is given back once
    /// that has happened.
    pub(super) async fn post_request(
        &self,
        envelope: Envelope,
        message: ClientJsonRpcMessage,
        id: &RequestId,
        ticket: &Ticket,
    ) -> Result<Posted, HttpError> {
        if !ticket.leave() {
            return Err(StreamableHttpError::TransportChannelClosed);
        }
        self.calls.expect(id, ticket);
        let has_session = envelope.session.is_some();
        let response = match self.sent(envelope, &message).await {
            Ok(response) => response,
            Err(error) => {
                if error.is_connect() {
                    ticket.stayed();
                }
                return Err(StreamableHttpError::Client(error.without_url()));
            }
        };
        self.heard.fetch_add(1, Ordering::Relaxed);
        let number = ticket.number().unwrap_or_default();
        let status = response.status();
        let said = if status == StatusCode::ACCEPTED {
            if has_session && !self.conversation.is_deaf.load(Ordering::Relaxed) {
                return Ok(Posted::Accepted);
            }
            Said::Unreadable("it took the call and has no way to answer it".to_owned())
        } else if !status.is_success() {
            self.refusal(response, number, has_session).await
        } else if is_stream(&response) {
            let begun = response.headers().get(SESSION);
            let begun = begun.and_then(|id| id.to_str().ok()).map(str::to_owned);
            let events = self.events(response, number);
            return Ok(at_hand(events, id, ticket, begun).await);
        } else {
            match self.answer(response, ticket).await {
                Err(said) => said,
                Ok(told) => {
                    return Ok(Posted::Json(
                        told.unwrap_or_else(|| stand_in(id.clone())),
                        None,
                    ));
                }
            }
        };
        self.calls.tell(number, said);
        Ok(Posted::Json(stand_in(id.clone()), None))
    }

    async fn sent(
        &self,
        envelope: Envelope,
        message: &ClientJsonRpcMessage,
    ) -> Result<Response, reqwest::Error> {
        let mut request = self
            .client
            .post(envelope.uri.as_ref())
            .header(ACCEPT, "text/event-stream, application/json")
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in envelope.headers {
            request = request.header(name, value);
        }
        if let Some(session) = envelope.session {
            request = request.header(SESSION, session.as_ref());
        }
        request.json(message).send().await
    }

    /// What an answer without success says.
    async fn refusal(&self, response: Response, number: i64, has_session: bool) -> Said {
        let status = response.status().as_u16();
        let body = beginning(response).await;
        let error = match answer::message(&body) {
            Message::Answer(of, Said::Error { code, message }) => Some((of, code, message)),
            Message::Answer(..) | Message::Other => None,
        };
        let words = match &error {
            Some((.., message)) => shortened(message),
            None => shortened(&String::from_utf8_lossy(&body)),
        };
        let about_session = words.to_ascii_lowercase().contains("session");
        let gone = has_session && (matches!(status, 404 | 410) || status == 400 && about_session);
        if gone || TURNED_AWAY.contains(&status) {
            return Said::TurnedAway {
                status,
                words,
                gone,
            };
        }
        match error {
            Some((Some(of), code, message)) if of == number => Said::Error { code, message },
            _ => Said::Unreadable(format!("it answered with HTTP {status}: {words}")),
        }
    }

    /// Reads an answer that came with the post. Gives back what is still to be told to the call, or
    /// what the library is to see in its place.
    async fn answer(
        &self,
        mut response: Response,
        ticket: &Ticket,
    ) -> Result<Option<ServerJsonRpcMessage>, Said> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.limit => {
                    return Err(Said::TooLarge { limit: self.limit });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => {
                    let why = error.without_url();
                    return Err(Said::Unreadable(format!("its answer broke off: {why}")));
                }
            }
        }
        if body.trim_ascii().is_empty() {
            return Err(Said::Unreadable("it answered with nothing".to_owned()));
        }
        let told = self.calls.hear_all(&body);
        if ticket.is_told() {
            return Ok(told);
        }
        let why = "it answered with something that is no answer to the call";
        Err(match answer::message(&body) {
            Message::Answer(None, Said::Error { code, message }) => {
                Said::Unreadable(format!("error {code} without an id: {message}"))
            }
            Message::Answer(..) | Message::Other => Said::Unreadable(why.to_owned()),
        })
    }

    /// The events of a stream, in which answers to calls are replaced by stand-ins.
    fn events(&self, response: Response, number: i64) -> BoxedSseResponse {
        let limit = self.limit;
        let calls = self.calls.clone();
        let events = bounded(response, limit).map(move |event| {
            if let Err(SseError::Body(error)) = &event
                && let Some(Cut::TooLong) = error.downcast_ref()
            {
                calls.tell(number, Said::TooLarge { limit });
            }
            event.map(|event| replaced(&calls, event))
        });
        events.boxed()
    }
}

/// `event`, or a stand-in where it answers a call.
pub(super) fn replaced(calls: &Calls, mut event: Sse) -> Sse {
    if let Some(data) = event.data.as_deref()
        && let Some(stand_in) = calls.hear_all(data.as_bytes())
        && let Ok(stand_in) = serde_json::to_string(&stand_in)
    {
        event.data = Some(stand_in);
    }
    event
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("text/event-stream")
}

async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_REFUSAL - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_REFUSAL {
            break;
        }
    }
    body
}

fn shortened(words: &str) -> String {
    let words = words.trim();
    match words.char_indices().nth(MAX_WORDS) {
        Some((at, _)) => format!("{}...", &words[..at]),
        None => words.to_owned(),
    }
}

/// Takes the answer to a call out of its stream if it is the first thing said there, which spares
/// a task. Any other stream is given back whole.
async fn at_hand(
    mut events: BoxedSseResponse,
    id: &RequestId,
    ticket: &Ticket,
    session: Option<String>,
) -> Posted {
    let mut read = Vec::new();
    let until = Instant::now() + AT_HAND;
    while let Ok(Some(event)) = timeout_at(until, events.next()).await {
        if ticket.is_told() {
            let told = event.ok().and_then(|event| event.data);
            let told = told.and_then(|told| serde_json::from_str(&told).ok());
            read_out(events);
            return Posted::Json(told.unwrap_or_else(|| stand_in(id.clone())), session);
        }
        // An event without data only tells where to resume.
        let said = event.as_ref().ok().and_then(|event| event.data.as_deref());
        let silent = event.is_ok() && said.unwrap_or_default().trim().is_empty();
        read.push(event);
        if !silent || read.len() == MAX_SILENT {
            break;
        }
    }
    Posted::Sse(stream::iter(read).chain(events).boxed(), session)
}

/// Waits a little for the end of an answered stream, without which its connection is of no more
/// use.
fn read_out(mut events: BoxedSseResponse) {
    // It nearly always came together with the answer.
    if let Some(None) = events.next().now_or_never() {
        return;
    }
    tokio::spawn(timeout(LAST_BYTES, async move {
        while events.next().await.is_some() {}
    }));
}

/// Why a stream of events ends early.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("an event of it is too long")]
    TooLong,
    #[error("{0}")]
    Broken(reqwest::Error),
}

/// Counts the bytes of the event that is under way in a stream.
#[derive(Default)]
struct EventSize {
    bytes: usize,
    at_line_start: bool,
    after_return: bool,
}

impl EventSize {
    /// The size of the longest event that these bytes belong to, so far.
    fn after(&mut self, chunk: &[u8]) -> usize {
        let mut longest = self.bytes;
        for byte in chunk {
            let ends_line = matches!(byte, b'\n' | b'\r');
            let rest_of_line_end = *byte == b'\n' && std::mem::take(&mut self.after_return);
            self.after_return = *byte == b'\r';
            self.bytes += 1;
            if !rest_of_line_end {
                if ends_line && self.at_line_start {
                    self.bytes = 0;
                }
                self.at_line_start = ends_line;
            }
            longest = longest.max(self.bytes);
        }
        longest
    }
}

/// The events of a stream, of which each has at most `limit` bytes.
fn bounded(response: Response, limit: usize) -> BoxedSseResponse {
    let mut event = EventSize::default();
    let bytes = response.bytes_stream().map(move |chunk| {
        let chunk = chunk.map_err(|error| Cut::Broken(error.without_url()))?;
        match event.after(&chunk) > limit {
            true => Err(Cut::TooLong),
            false => Ok(chunk),
        }
    });
    // Nothing that follows an error can be relied on.
    let mut broken = false;
    let bytes = bytes.take_while(move |chunk| {
        let over = broken;
        broken |= chunk.is_err();
        std::future::ready(!over)
    });
    SseStream::from_bytes_stream(bytes).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_size_of_an_event_is_counted_to_its_blank_line() {
        for (text, size) in [
            ("data: abc\n\ndata: d\n\n",             10),
            ("data: abc\r\n\r\ndata: d\r\n\r\n",     11),
            ("data: abc\r\rdata: d\r\r",             10),
            ("data: d\n\ndata: abcdef",              12),
            ("data: a\ndata: b\n\n",                 16),
        ] {
            for part in [1, 4, 100] {
                let mut event = EventSize::default();
                let longest = text.as_bytes().chunks(part).map(|part| event.after(part)).max();
                assert_eq!(longest, Some(size), "{text:?} by {part}");
            }
        }
    }
}
