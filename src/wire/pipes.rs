//! A child's standard input and output as an MCP transport.
//!
//! Answers to our calls are taken out here, before the protocol library sees them; those that are
//! too long or cannot be read are told as such at once. What else the child prints that is no
//! JSON-RPC message (log lines, halves of messages, floods) is dropped. A message may stretch over
//! several lines. What we write waits in a bounded queue, so a child that stops reading blocks
//! nobody; after [`STUCK`] the writer gives the child up.

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, GetExtensions, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::answer::{self, Message, Said};
use super::calls::Calls;
use super::lines::{Line, Lines};
use super::outline::Outline;
use super::ticket::Ticket;

/// Messages that wait for the child to read. More means that it does not read.
const QUEUE: usize = 1024;
/// Messages written at once; the rest can still be withdrawn.
const BATCH: usize = 32;
/// How long a child may leave its input unread before it is given up.
const STUCK: Duration = Duration::from_secs(5);

/// The message was not written, and will not be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotWritten(&'static str);

/// One message on its way to the child.
pub(super) struct Outgoing {
    line: Vec<u8>,
    called: Option<(RequestId, Ticket)>,
}

/// The transport. Its counterpart is [`write`], which owns the child's input.
pub(super) struct Pipes<R> {
    upstream: Arc<str>,
    lines: Lines<R>,
    /// Longest message that is taken.
    limit: usize,
    calls: Calls,
    /// The lines of a message that is not yet whole.
    half: Option<(Vec<u8>, Outline)>,
    /// Read, and not yet given to the library.
    ready: VecDeque<ServerJsonRpcMessage>,
    outgoing: Option<mpsc::Sender<Outgoing>>,
    heard: Arc<AtomicU64>,
}

/// A transport over `stdout`, which takes messages of at most `limit` bytes, and the messages that
/// [`write`] has to write. `heard` counts messages.
pub(super) fn pipes<R: AsyncRead + Unpin>(
    upstream: Arc<str>,
    stdout: R,
    limit: usize,
    calls: Calls,
    heard: Arc<AtomicU64>,
) -> (Pipes<R>, mpsc::Receiver<Outgoing>) {
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let pipes = Pipes {
        upstream,
        lines: Lines::new(stdout, limit),
        limit,
        calls,
        half: None,
        ready: VecDeque::new(),
        outgoing: Some(outgoing),
        heard,
    };
    (pipes, queue)
}

/// Writes what is queued until the queue is closed or the child stops reading. Returns why it
/// ended.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut stdin: W,
    mut queue: mpsc::Receiver<Outgoing>,
    calls: Calls,
) -> String {
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = Vec::new();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        bytes.clear();
        for message in batch.drain(..) {
            if let Some((id, ticket)) = &message.called {
                if !ticket.leave() {
                    continue;
                }
                calls.expect(id, ticket);
            }
            bytes.extend_from_slice(&message.line);
        }
        let written = async {
            stdin.write_all(&bytes).await?;
            stdin.flush().await
        };
        match tokio::time::timeout(STUCK, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return format!("its input broke: {error}"),
            Err(_) => return "it stopped reading its input".to_owned(),
        }
    }
    "closed".to_owned()
}

impl<R: AsyncRead + Unpin + Send> Transport<RoleClient> for Pipes<R> {
    type Error = NotWritten;

    /// Never waits: a full queue refuses at once, and what was refused never left.
    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), NotWritten>> + Send + 'static {
        let ticket = ticket_of(&message);
        let called = id_of(&message).zip(ticket.clone());
        let queued = line_of(&message).and_then(|line| {
            let outgoing = Outgoing { line, called };
            let queue = self.outgoing.as_ref();
            let queue = queue.ok_or(NotWritten("the conversation is over"))?;
            let queued = queue.try_send(outgoing);
            queued.map_err(|_| NotWritten("the upstream does not read its input"))
        });
        if queued.is_err()
            && let Some(ticket) = ticket
        {
            ticket.withdraw();
        }
        ready(queued)
    }

    /// May be dropped while it waits: what was read so far is kept for the next call.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.heard.fetch_add(1, Ordering::Relaxed);
                return Some(message);
            }
            match self.lines.next().await? {
                Line::TooLong(outline) => self.take_outline(&outline),
                Line::Text(line) => self.take_line(line),
            }
        }
    }

    async fn close(&mut self) -> Result<(), NotWritten> {
        self.outgoing = None;
        Ok(())
    }
}

impl<R> Pipes<R> {
    fn take_outline(&mut self, outline: &Outline) {
        let (upstream, limit) = (&self.upstream, self.limit);
        tracing::warn!(%upstream, limit, "skipped a line that is too long");
        let told = outline.answers().and_then(|number| {
            let said = Said::TooLarge { limit };
            self.calls.tell(number, said)
        });
        self.ready.extend(told);
    }

    fn take_line(&mut self, line: Vec<u8>) {
        // A whole answer is never the middle of something else.
        let whole = matches!(answer::message(&line), Message::Answer(..));
        if let Some((mut text, mut outline)) = self.half.take().filter(|_| !whole) {
            outline.feed(&line);
            let fits = text.len() + line.len() <= self.limit;
            if fits && (outline.is_open() || outline.is_complete()) {
                text.extend_from_slice(&line);
                if outline.is_complete() {
                    self.take_message(&text);
                } else {
                    self.half = Some((text, outline));
                }
                return;
            }
            // That was no message, and this may be one.
        }
        if self.take_message(&line) {
            return;
        }
        let mut outline = Outline::default();
        outline.feed(&line);
        if line.trim_ascii_start().starts_with(b"{") && outline.is_open() {
            self.half = Some((line, outline));
            return;
        }
        let upstream = &self.upstream;
        tracing::debug!(%upstream, bytes = line.len(), "ignored a line that is no message");
    }

    /// Takes one message, or a batch of them. False if it is none.
    fn take_message(&mut self, text: &[u8]) -> bool {
        if let Some(batch) = answer::batch(text) {
            for message in batch {
                self.take_message(message.get().as_bytes());
            }
            return true;
        }
        let told = self.calls.hear(text);
        let message = told.or_else(|| serde_json::from_slice(text).ok());
        let taken = message.is_some();
        self.ready.extend(message);
        taken
    }
}

/// The ticket of a request that has one.
pub(super) fn ticket_of(message: &ClientJsonRpcMessage) -> Option<Ticket> {
    match message {
        JsonRpcMessage::Request(request) => request.request.extensions().get::<Ticket>().cloned(),
        JsonRpcMessage::Response(_)
        | JsonRpcMessage::Notification(_)
        | JsonRpcMessage::Error(_) => None,
    }
}

/// The id of a request.
pub(super) fn id_of(message: &ClientJsonRpcMessage) -> Option<RequestId> {
    match message {
        JsonRpcMessage::Request(request) => Some(request.id.clone()),
        JsonRpcMessage::Response(_)
        | JsonRpcMessage::Notification(_)
        | JsonRpcMessage::Error(_) => None,
    }
}

fn line_of(message: &ClientJsonRpcMessage) -> Result<Vec<u8>, NotWritten> {
    let mut line =
        serde_json::to_vec(message).map_err(|_| NotWritten("the message cannot be spelt"))?;
    line.push(b'\n');
    Ok(line)
}
