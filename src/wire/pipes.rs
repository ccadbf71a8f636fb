//! A child's standard input and output as an MCP transport.
//!
//! What the child prints that is no JSON-RPC message (log lines, halves of messages, floods) is
//! dropped here, before the protocol library sees it. What we write waits in a bounded queue, so
//! a child that stops reading blocks nobody; after [`STUCK`] the writer gives the child up.

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::lines::{Line, Lines};
use super::session::tool_answer;
use super::ticket::Ticket;

/// Longest message accepted from a child: as long as a body at any door of ours.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;
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
    ticket: Option<Ticket>,
}

/// The transport. Its counterpart is [`write`], which owns the child's input.
pub(super) struct Pipes<R> {
    upstream: Arc<str>,
    lines: Lines<R>,
    outgoing: Option<mpsc::Sender<Outgoing>>,
    heard: Arc<AtomicU64>,
}

/// A transport over `stdout`, and the messages that [`write`] has to write. `heard` counts
/// messages.
pub(super) fn pipes<R: AsyncRead + Unpin>(
    upstream: Arc<str>,
    stdout: R,
    heard: Arc<AtomicU64>,
) -> (Pipes<R>, mpsc::Receiver<Outgoing>) {
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let lines = Lines::new(stdout, MAX_LINE_BYTES);
    let pipes = Pipes {
        upstream,
        lines,
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
) -> String {
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = Vec::new();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        bytes.clear();
        for message in batch.drain(..) {
            if message.ticket.is_none_or(|ticket| ticket.leave()) {
                bytes.extend_from_slice(&message.line);
            }
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
        let queued = line_of(&message).and_then(|line| {
            let outgoing = Outgoing {
                line,
                ticket: ticket.clone(),
            };
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

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let upstream = &self.upstream;
            match self.lines.next().await? {
                Line::TooLong => {
                    tracing::warn!(%upstream, limit = MAX_LINE_BYTES, "skipped a line that is too long");
                }
                Line::Text(line) => match read(&line) {
                    Some(message) => {
                        self.heard.fetch_add(1, Ordering::Relaxed);
                        return Some(message);
                    }
                    None => {
                        tracing::debug!(%upstream, bytes = line.len(), "ignored a line that is no message");
                    }
                },
            }
        }
    }

    async fn close(&mut self) -> Result<(), NotWritten> {
        self.outgoing = None;
        Ok(())
    }
}

fn read(line: &[u8]) -> Option<ServerJsonRpcMessage> {
    match tool_answer(line) {
        Some((_, answer)) => Some(answer),
        None => serde_json::from_slice(line).ok(),
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

fn line_of(message: &ClientJsonRpcMessage) -> Result<Vec<u8>, NotWritten> {
    let mut line =
        serde_json::to_vec(message).map_err(|_| NotWritten("the message cannot be spelt"))?;
    line.push(b'\n');
    Ok(line)
}
