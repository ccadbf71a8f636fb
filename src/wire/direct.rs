//! The short way of a tool call over streamable HTTP: its own caller posts it, and nearly always
//! has been told the answer when the post returns. The protocol library would pass both through
//! three queues and as many tasks, which costs more than the call.
//!
//! Only this one case is taken out of the library's hands, and only after a call that the library
//! posted brought its answer in this way. An answer that is longer in coming (a stream that says
//! something else first, or another stream) is handed over to it: the library believes that it has
//! just posted the call, and does what the protocol asks for. It knows the call by another id, to
//! which the stand-in for the answer is addressed (see `calls`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequest, ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions,
    JsonRpcMessage, RequestId,
};
use rmcp::transport::streamable_http_client::StreamableHttpPostResponse;

use super::calls::{Calls, stand_in};
use super::posting::Envelope;
use super::streamable::Counted;
use super::ticket::Ticket;

/// Ids of our own begin here: far from those of the library, and small enough for any server.
const FIRST_ID: i64 = 1 << 30;

/// Posts calls into a conversation that the library began.
pub(super) struct Direct {
    client: Counted,
    next: AtomicI64,
}

/// What came of a post.
pub(super) enum Posted {
    /// The call was told its answer.
    Told,
    /// Nothing can be told: no connection, or a broken one.
    Broken(String),
    /// It was posted, and the library has to wait for its answer.
    Handed(Handed),
}

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
    pub(super) async fn post(
        &self,
        id: &RequestId,
        request: CallToolRequest,
        ticket: &Ticket,
    ) -> Posted {
        let Some(way) = self.client.conversation.way.get() else {
            return Posted::Broken("the conversation has not begun".to_owned());
        };
        let envelope = Envelope {
            uri: way.uri.clone(),
            session: way.session.clone(),
            headers: way.headers.clone(),
        };
        let request = ClientRequest::CallToolRequest(request);
        let message = ClientJsonRpcMessage::request(request, id.clone());
        let posted = self
            .client
            .post_request(envelope, message, id, ticket)
            .await;
        match posted {
            Ok(_) if ticket.is_told() => Posted::Told,
            Ok(response) => Posted::Handed(Handed::new(id.clone(), response)),
            Err(error) => Posted::Broken(error.to_string()),
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

/// How the library reaches the conversation.
#[derive(Default)]
pub(super) struct Conversation {
    way: OnceLock<Way>,
    /// The last post brought the answer to its call. Relaxed, because either way of a call is sound.
    is_plain: AtomicBool,
    /// The server has no stream on which an answer could still come.
    pub(super) is_deaf: AtomicBool,
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

    /// Learns whether a post brings the answer to its call.
    pub(super) fn learn_answer(&self, answer: &StreamableHttpPostResponse, ticket: &Ticket) {
        // A stream that says other things first brings it in the end.
        if !matches!(answer, StreamableHttpPostResponse::Sse(..)) {
            self.is_plain.store(ticket.is_told(), Ordering::Relaxed);
        }
    }

    /// The response to a call that was posted before the library was given it.
    pub(super) fn handed_over(
        &self,
        message: &ClientJsonRpcMessage,
        calls: &Calls,
    ) -> Option<StreamableHttpPostResponse> {
        let JsonRpcMessage::Request(request) = message else {
            return None;
        };
        let handed = request.request.extensions().get::<Handed>()?;
        let response = handed.response.lock();
        let response = response.unwrap_or_else(PoisonError::into_inner).take();
        // Whatever happens, this message is not one to post.
        match response {
            Some(response) if calls.known_as(&handed.ours, request.id.clone()) => Some(response),
            _ => {
                let nothing = stand_in(request.id.clone());
                Some(StreamableHttpPostResponse::Json(nothing, None))
            }
        }
    }
}
