//! Upstreams over streamable HTTP.
//!
//! No redirects, no silent repetition: a session that the server forgot ends the conversation
//! instead of sending the request again. A request counts as not sent only if no connection
//! could be made for it. Calls and lists are posted by us (see `posting`); the handshake, streams
//! that are taken up again and everything that the server asks are the protocol library's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::direct::{Conversation, Direct};
use super::mcp::{MAX_IN_FLIGHT, Protocol, Transport, UpstreamSpec};
use super::pipes::{id_of, ticket_of};
use super::posting::{Envelope, replaced};
use super::reach::{self, Redirects};
use super::session::{Listener, NotOpened, Session};

/// Longest that making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Connects and shakes hands.
pub(super) async fn start(
    spec: &UpstreamSpec,
    listener: Listener,
    protocol: Protocol,
    over: CancellationToken,
    until: Instant,
) -> Result<Arc<Session>, NotOpened> {
    let Transport::Http {
        url,
        headers,
        reach,
    } = &spec.transport
    else {
        return Err(NotOpened::Failed("it is not reached over HTTP".to_owned()));
    };
    // Installing it twice is no error: whoever came first chose the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = match reach {
        None => reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| error.to_string()),
        Some(reach) => url::Url::parse(url)
            .map_err(|error| error.to_string())
            .and_then(|url| reach::check(reach, &url))
            .and_then(|()| reach::client(reach, Redirects::Never)),
    };
    let client = client.map_err(NotOpened::Failed)?;
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
    let calls = Calls::default();
    let limit = spec.max_answer_bytes;
    let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(custom)
        .max_concurrent_requests(MAX_IN_FLIGHT)
        .max_sse_event_size(limit)
        .max_json_response_size(limit)
        .reinit_on_expired_session(false);
    config.channel_buffer_capacity = MAX_IN_FLIGHT;
    let client = Counted {
        client,
        heard: heard.clone(),
        calls: calls.clone(),
        limit,
        conversation: Arc::default(),
    };
    let direct = Direct::new(client.clone());
    let transport = StreamableHttpClientTransport::with_client(client, config);
    let opened = Session::open(listener, transport, protocol, over, heard, calls, until).await;
    opened.map(|session| Arc::new(session.with_direct(direct)))
}

/// The HTTP client, which keeps account of what left and what came back.
#[derive(Clone)]
pub(super) struct Counted {
    pub(super) client: reqwest::Client,
    pub(super) heard: Arc<AtomicU64>,
    pub(super) calls: Calls,
    /// Longest answer that is taken, in bytes.
    pub(super) limit: usize,
    pub(super) conversation: Arc<Conversation>,
}

pub(super) type HttpError = StreamableHttpError<reqwest::Error>;

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
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(
            uri,
            message,
            session_id,
            auth_header,
            custom_headers,
            limits,
        )
        .await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let conversation = &self.conversation;
        if let Some(response) = conversation.handed_over(&message, &self.calls) {
            return Ok(response);
        }
        conversation.learn(&message, &uri, session_id.as_ref(), &custom_headers);
        if let Some((id, ticket)) = id_of(&message).zip(ticket_of(&message)) {
            let envelope = Envelope {
                uri,
                session: session_id,
                headers: custom_headers,
            };
            let posted = self.post_request(envelope, message, &id, &ticket).await?;
            conversation.learn_answer(&posted, &ticket);
            return Ok(posted);
        }
        let posted = self.client.post_message_with_response_limits(
            uri,
            message,
            session_id,
            auth_header,
            custom_headers,
            limits,
        );
        let posted = posted.await.map_err(nameless)?;
        self.heard.fetch_add(1, Ordering::Relaxed);
        Ok(posted)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), HttpError> {
        let client = &self.client;
        let deleted = client.delete_session(uri, session_id, auth_header, custom_headers);
        deleted.await.map_err(nameless)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxedSseResponse, HttpError> {
        let is_news = last_event_id.is_none();
        let stream = self.client.get_stream_with_max_sse_event_size(
            uri,
            session_id,
            last_event_id,
            auth_header,
            custom_headers,
            self.limit,
        );
        let stream = stream.await;
        if is_news {
            let is_deaf = stream.is_err();
            let conversation = &self.conversation;
            conversation.is_deaf.store(is_deaf, Ordering::Relaxed);
        }
        let calls = self.calls.clone();
        let replaced = stream
            .map_err(nameless)?
            .map(move |event| event.map(|event| replaced(&calls, event)));
        Ok(replaced.boxed())
    }
}

/// The error without the URL, which may hold a secret.
fn nameless(error: HttpError) -> HttpError {
    if let StreamableHttpError::Client(error) = error {
        return StreamableHttpError::Client(error.without_url());
    }
    error
}
