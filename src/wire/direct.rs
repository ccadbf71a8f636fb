//! The short way of a tool call over streamable HTTP: its own caller posts it, and nearly always
//! holds the answer when the post returns. The protocol library would pass both through three
//! queues and as many tasks, which costs more than the call.
//!
//! Only this one case is taken out of the library's hands, and only after a call that the library
//! posted brought its answer in this way. An answer that is longer in coming (a
//! stream that says something else first, or another stream) is handed over to it: the library
//! believes that it has just posted the call, and does what the protocol asks for. Since it knows
//! the call by another id, that of the answer is translated. A call that its deadline ends needs no
//! taking back: the whole conversation ends with it (see `supervisor`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::StreamExt;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequest, ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions,
    JsonRpcMessage, RequestId, ServerResult,
};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpPostResponse};
use serde_json::{Value, json};

use super::pipes::MAX_LINE_BYTES;
use super::session::Unanswered;
use super::streamable::Counted;

/// Ids of our own begin here: far from those of the library, and small enough for any server.
const FIRST_ID: i64 = 1 << 30;

/// Posts calls into a conversation that the library began.
pub(super) struct Direct {
    client: Counted,
    next: AtomicI64,
}

/// The answer that came with a post, or else the post, for the library to wait for its answer.
pub(super) type Posted = Result<Result<ServerResult, Unanswered>, Handed>;

impl Direct {
    pub(super) fn new(client: Counted) -> Self {
        Self {
            client,
            next: AtomicI64::new(FIRST_ID),
        }
    }

    /// An id to post under; `None` while it is not known that posts bring their answers.
    pub(super) fn id(&self) -> Option<RequestId> {
        if !self.client.conversation.is_plain.load(Ordering::Relaxed) {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Some(RequestId::Number(id))
    }

    /// Posts `request` once, under an id of [`Direct::id`].
    pub(super) async fn post(&self, id: &RequestId, request: CallToolRequest) -> Posted {
        let Some(way) = self.client.conversation.way.get() else {
            let why = "the conversation has not begun".to_owned();
            return Ok(Err(Unanswered::Broken(why)));
        };
        let request = ClientRequest::CallToolRequest(request);
        let posted = self.client.post_message_with_max_sse_event_size(
            way.uri.clone(),
            ClientJsonRpcMessage::request(request, id.clone()),
            way.session.clone(),
            None,
            way.headers.clone(),
            MAX_LINE_BYTES,
        );
        match posted.await {
            Ok(StreamableHttpPostResponse::Json(JsonRpcMessage::Response(answer), _))
                if answer.id == *id =>
            {
                Ok(Ok(answer.result))
            }
            Ok(StreamableHttpPostResponse::Json(JsonRpcMessage::Error(answer), _))
                if answer.id.as_ref().is_none_or(|of| of == id) =>
            {
                let message = answer.error.message.into_owned();
                Ok(Err(match answer.id {
                    Some(_) => Unanswered::Refused {
                        code: answer.error.code.0.into(),
                        message,
                    },
                    // So says a server that has forgotten the session: nothing of this call.
                    None => Unanswered::Broken(message),
                }))
            }
            Ok(response) => Err(Handed::new(id.clone(), response)),
            Err(error) => Ok(Err(Unanswered::Broken(error.to_string()))),
        }
    }
}

/// A post that was answered, but not yet with the answer. Travels with the request that the
/// library is given instead of posting it.
#[derive(Clone)]
pub(super) struct Handed {
    ours: RequestId,
    response: Arc<Mutex<Option<StreamableHttpPostResponse>>>,
}

impl Handed {
    fn new(ours: RequestId, response: StreamableHttpPostResponse) -> Self {
        let response = Arc::new(Mutex::new(Some(response)));
        Self { ours, response }
    }
}

/// How the library reaches the conversation, and the calls that were handed over to it.
#[derive(Default)]
pub(super) struct Conversation {
    way: OnceLock<Way>,
    /// The last post brought the answer to its call. Relaxed, because either way of a call is sound.
    is_plain: AtomicBool,
    /// Their id for the server, by the library's.
    handed: Mutex<HashMap<RequestId, RequestId>>,
}

/// What every post of the conversation carries.
struct Way {
    uri: Arc<str>,
    session: Option<Arc<str>>,
    headers: HashMap<HeaderName, HeaderValue>,
}

impl Conversation {
    /// Learns the way from the library's own post that ends the handshake.
    pub(super) fn learn(
        &self,
        message: &ClientJsonRpcMessage,
        uri: &Arc<str>,
        session: Option<&Arc<str>>,
        headers: &HashMap<HeaderName, HeaderValue>,
    ) {
        if let JsonRpcMessage::Notification(notification) = message
            && let ClientNotification::InitializedNotification(_) = notification.notification
        {
            self.way.get_or_init(|| Way {
                uri: uri.clone(),
                session: session.cloned(),
                headers: headers.clone(),
            });
        }
    }

    /// Learns whether a post brings the answer to its call, under the very id.
    pub(super) fn learn_answer(&self, called: &RequestId, answer: &StreamableHttpPostResponse) {
        use StreamableHttpPostResponse::{Json, Sse};
        // A stream that says other things first brings it in the end.
        if matches!(answer, Sse(..)) {
            return;
        }
        let of = if let Json(JsonRpcMessage::Response(answer), _) = answer {
            Some(&answer.id)
        } else if let Json(JsonRpcMessage::Error(answer), _) = answer {
            answer.id.as_ref()
        } else {
            None
        };
        self.is_plain.store(of == Some(called), Ordering::Relaxed);
    }

    /// The response to a call that was posted before the library was given it.
    pub(super) fn handed_over(
        self: &Arc<Self>,
        message: &ClientJsonRpcMessage,
    ) -> Option<StreamableHttpPostResponse> {
        let JsonRpcMessage::Request(request) = message else {
            return None;
        };
        let handed = request.request.extensions().get::<Handed>()?;
        let response = handed.response.lock();
        let response = response.unwrap_or_else(PoisonError::into_inner).take();
        // Whatever happens, this message is not one to post.
        let response = response.unwrap_or(StreamableHttpPostResponse::Accepted);
        self.handed()
            .insert(request.id.clone(), handed.ours.clone());
        let StreamableHttpPostResponse::Sse(stream, session) = response else {
            return Some(response);
        };
        let stream = self.translated(stream);
        Some(StreamableHttpPostResponse::Sse(stream, session))
    }

    /// `stream` with the library's ids in the answers to calls that were handed over.
    pub(super) fn translated(self: &Arc<Self>, stream: BoxedSseResponse) -> BoxedSseResponse {
        let conversation = self.clone();
        let translated = stream.map(move |event| {
            event.map(|mut event| {
                if let Some(said) = event.data.as_deref()
                    && let Some(translated) = conversation.answer(said)
                {
                    event.data = Some(translated);
                }
                event
            })
        });
        translated.boxed()
    }

    /// The answer to a call that was handed over, as the library expects it; `None` for all else.
    fn answer(&self, said: &str) -> Option<String> {
        let mut handed = self.handed();
        if handed.is_empty() {
            return None;
        }
        let mut said: Value = serde_json::from_str(said).ok()?;
        let of = said.get("id").filter(|_| said.get("method").is_none())?;
        let of: RequestId = serde_json::from_value(of.clone()).ok()?;
        let (known, _) = handed.iter().find(|(_, ours)| **ours == of)?;
        let known = known.clone();
        handed.remove(&known);
        said["id"] = json!(known);
        Some(said.to_string())
    }

    fn handed(&self) -> MutexGuard<'_, HashMap<RequestId, RequestId>> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
