//! Upstreams over streamable HTTP.
//!
//! No redirects, no silent repetition: a session that the server forgot ends the conversation
//! instead of sending the request again. A request counts as not sent only if no connection
//! could be made for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, RequestId};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::direct::{Conversation, Direct};
use super::mcp::{MAX_IN_FLIGHT, Protocol, Transport, UpstreamSpec};
use super::pipes::{MAX_LINE_BYTES, ticket_of};
use super::session::{Listener, NotOpened, Session, tool_answer};

/// Longest that making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Events without data that are read in front of an answer.
const MAX_SILENT: usize = 8;
/// How long an answer is waited for in this way; a server may also give it on another stream.
const AT_HAND: Duration = Duration::from_secs(5);
/// How long the end of an answered stream may be in coming.
const LAST_BYTES: Duration = Duration::from_millis(50);

/// Connects and shakes hands.
pub(super) async fn start(
    spec: &UpstreamSpec,
    listener: Listener,
    protocol: Protocol,
    over: CancellationToken,
    until: Instant,
) -> Result<Arc<Session>, NotOpened> {
    let Transport::Http { url, headers } = &spec.transport else {
        return Err(NotOpened::Failed("it is not reached over HTTP".to_owned()));
    };
    // Installing it twice is no error: whoever came first chose the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .build()
        .map_err(|error| NotOpened::Failed(error.to_string()))?;
    let mut custom = HashMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value);
        let (Ok(name), Ok(mut value)) = (name, value) else {
            let why = "one of its headers cannot be sent";
            return Err(NotOpened::Failed(why.to_owned()));
        };
        value.set_sensitive(true);
        custom.insert(name, value);
    }
    let heard = Arc::new(AtomicU64::new(0));
    let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(custom)
        .max_concurrent_requests(MAX_IN_FLIGHT)
        .max_sse_event_size(MAX_LINE_BYTES)
        .reinit_on_expired_session(false);
    config.channel_buffer_capacity = MAX_IN_FLIGHT;
    let client = Counted {
        client,
        heard: heard.clone(),
        conversation: Arc::default(),
    };
    let direct = Direct::new(client.clone());
    let transport = StreamableHttpClientTransport::with_client(client, config);
    let opened = Session::open(listener, transport, protocol, over, heard, until).await;
    opened.map(|session| Arc::new(session.with_direct(direct)))
}

/// The HTTP client, which keeps account of what left and what came back.
#[derive(Clone)]
pub(super) struct Counted {
    client: reqwest::Client,
    heard: Arc<AtomicU64>,
    pub(super) conversation: Arc<Conversation>,
}

type HttpError = StreamableHttpError<reqwest::Error>;

impl StreamableHttpClient for Counted {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        self.post_message_with_max_sse_event_size(
            uri,
            message,
            session_id,
            auth_header,
            custom_headers,
            MAX_LINE_BYTES,
        )
        .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        max_sse_event_size: usize,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let conversation = &self.conversation;
        if let Some(response) = conversation.handed_over(&message) {
            return Ok(response);
        }
        conversation.learn(&message, &uri, session_id.as_ref(), &custom_headers);
        let ticket = ticket_of(&message);
        let called = ticket.as_ref().and(id_of(&message));
        if let Some(ticket) = &ticket
            && !ticket.leave()
        {
            return Err(StreamableHttpError::TransportChannelClosed);
        }
        let answer = self
            .client
            .post_message_with_max_sse_event_size(
                uri,
                message,
                session_id,
                auth_header,
                custom_headers,
                max_sse_event_size,
            )
            .await;
        match &answer {
            Ok(_) => {
                self.heard.fetch_add(1, Ordering::Relaxed);
            }
            Err(StreamableHttpError::Client(error)) if error.is_connect() => {
                if let Some(ticket) = ticket {
                    ticket.stayed();
                }
            }
            Err(_) => {}
        }
        let Some(id) = called else { return answer };
        let mut answer = answer?;
        if let StreamableHttpPostResponse::Sse(stream, session) = answer {
            answer = at_hand(stream, &id, session).await;
        }
        conversation.learn_answer(&id, &answer);
        Ok(answer)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), HttpError> {
        let client = &self.client;
        client
            .delete_session(uri, session_id, auth_header, custom_headers)
            .await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxedSseResponse, HttpError> {
        let stream = self.client.get_stream_with_max_sse_event_size(
            uri,
            session_id,
            last_event_id,
            auth_header,
            custom_headers,
            MAX_LINE_BYTES,
        );
        Ok(self.conversation.translated(stream.await?))
    }
}

/// The id of a request.
fn id_of(message: &ClientJsonRpcMessage) -> Option<RequestId> {
    match message {
        JsonRpcMessage::Request(request) => Some(request.id.clone()),
        JsonRpcMessage::Response(_)
        | JsonRpcMessage::Notification(_)
        | JsonRpcMessage::Error(_) => None,
    }
}

/// Takes the answer to the call `id` out of its stream if it is the first thing said there, which
/// spares a task and a second reading. Any other stream is given back whole.
async fn at_hand(
    mut stream: BoxedSseResponse,
    id: &RequestId,
    session: Option<String>,
) -> StreamableHttpPostResponse {
    let mut read = Vec::new();
    let until = Instant::now() + AT_HAND;
    while let Ok(Some(event)) = timeout_at(until, stream.next()).await {
        let said = event.as_ref().ok().and_then(|event| event.data.as_deref());
        let said = said.unwrap_or_default();
        if let Some((of, answer)) = tool_answer(said.as_bytes())
            && of == *id
        {
            read_out(stream);
            return StreamableHttpPostResponse::Json(answer, session);
        }
        // An event without data only tells where to resume.
        let silent = event.is_ok() && said.trim().is_empty();
        read.push(event);
        if !silent || read.len() == MAX_SILENT {
            break;
        }
    }
    StreamableHttpPostResponse::Sse(stream::iter(read).chain(stream).boxed(), session)
}

/// Waits a little for the end of an answered stream, without which its connection is of no more
/// use.
fn read_out(mut stream: BoxedSseResponse) {
    // It nearly always came together with the answer.
    if let Some(None) = stream.next().now_or_never() {
        return;
    }
    tokio::spawn(timeout(LAST_BYTES, async move {
        while stream.next().await.is_some() {}
    }));
}
