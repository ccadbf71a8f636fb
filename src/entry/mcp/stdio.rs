//! MCP over stdin and stdout, one JSON-RPC message a line.
//!
//! The library would drop a line that it cannot read, and its caller would wait for ever. Here
//! every line is read strictly first, and one that does not get through is answered: with its id
//! where that can be read without guessing. Lines are bounded; what is too long is skipped to its
//! end and answered as well. One task writes, so answers never run into each other, and nothing
//! but JSON-RPC is ever written.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, GetExtensions, JsonRpcMessage, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::service::RoleServer;
use rmcp::transport::Transport;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::message::{self, Message, Refused};
use super::server::{Admitted, Shared};
use crate::broker::Broker;
use crate::domain::principal::Principal;
use crate::domain::strict::{self, MAX_BYTES};

/// Longest line kept while it is read: the longest document and its line end.
const MAX_LINE: usize = MAX_BYTES + 2;
/// Lines that may wait for a reader of stdout. A client that does not read its answers is not
/// read from either.
const WAITING_LINES: usize = 64;
/// Requests that may be under way at once. One more waits in the pipe until another is answered.
const MAX_UNDER_WAY: usize = 1_024;
/// How long calls under way may run on after stdin has closed. A provider call has its own
/// deadline, well below this.
const DRAIN: Duration = Duration::from_secs(60);
/// How long the last answers may take to be read after the end.
const FLUSH: Duration = Duration::from_secs(5);

/// Serves `broker` to whoever started this process, as `principal`, until stdin closes. Calls
/// under way then are run to their end.
pub async fn stdio(broker: Broker, principal: Principal) -> anyhow::Result<()> {
    let (read, write) = rmcp::transport::io::stdio_pipes();
    serve(broker, principal, read, write).await
}

/// As [`stdio`], over any two streams.
pub async fn serve<R, W>(
    broker: Broker,
    principal: Principal,
    read: R,
    write: W,
) -> anyhow::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let closing = CancellationToken::new();
    let shared = Shared::new(broker, closing.clone());
    let lines = Lines::new(read, write, principal);
    let served = rmcp::serve_server(Door::new(shared.clone()), lines).await;
    match served {
        Ok(running) => {
            running.waiting().await?;
        }
        // Stdin closed, or something else came, before a first proper request.
        Err(error) => tracing::warn!(%error, "no MCP session came about"),
    }
    closing.cancel();
    if tokio::time::timeout(DRAIN, shared.drained()).await.is_err() {
        tracing::error!("calls were still under way when the time to finish them was over");
    }
    Ok(())
}

/// The transport: strict lines in, whole lines out.
struct Lines<R> {
    read: BufReader<R>,
    line: Vec<u8>,
    /// The line is too long; its rest is thrown away. Kept here, because reading is cancelled and
    /// taken up again at any point.
    skipping: bool,
    /// Answers of our own that wait for room in the queue.
    refusals: VecDeque<Vec<u8>>,
    /// A request has come. What comes before the first one is nothing that the library waits for.
    opened: bool,
    under_way: Arc<UnderWay>,
    out: Option<mpsc::Sender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
    who: Arc<Principal>,
}

/// The requests that wait for their answers.
#[derive(Default)]
struct UnderWay {
    ids: Mutex<HashSet<RequestId>>,
    room: tokio::sync::Notify,
}

impl UnderWay {
    fn ids(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        // Nothing panics while holding it.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, id: &RequestId) {
        self.ids().remove(id);
        self.room.notify_one();
    }

    async fn wait_for_room(&self) {
        while self.ids().len() >= MAX_UNDER_WAY {
            self.room.notified().await;
        }
    }
}

impl<R: AsyncRead + Send + Unpin> Lines<R> {
    fn new<W>(read: R, write: W, who: Principal) -> Self
    where
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (out, lines) = mpsc::channel(WAITING_LINES);
        Self {
            read: BufReader::new(read),
            line: Vec::new(),
            skipping: false,
            refusals: VecDeque::new(),
            opened: false,
            under_way: Arc::default(),
            out: Some(out),
            writer: Some(tokio::spawn(write_lines(write, lines))),
            who: Arc::new(who),
        }
    }

    /// The next whole line into `self.line`; false at the end of the stream. Safe to cancel: what
    /// was consumed is in `self`.
    async fn next_line(&mut self) -> io::Result<bool> {
        loop {
            let available = self.read.fill_buf().await?;
            if available.is_empty() {
                // A last line without its end is taken as a line.
                return Ok(!self.line.is_empty() || self.skipping);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |at| at + 1);
            let room = MAX_LINE.saturating_sub(self.line.len());
            if !self.skipping && taken <= room {
                self.line.extend_from_slice(&available[..taken]);
            } else {
                self.skipping = true;
                self.line.clear();
            }
            self.read.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    /// What the line says, if it says anything for the library.
    fn take_line(&mut self) -> Result<Option<ClientJsonRpcMessage>, Refused> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            let text = format!("the line is longer than {MAX_BYTES} bytes");
            return Err(Refused::new(message::INVALID_REQUEST, "too_large", text));
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        self.understand(line).map(Some)
    }

    fn understand(&self, line: &[u8]) -> Result<ClientJsonRpcMessage, Refused> {
        let document = strict::parse(line).map_err(|malformed| {
            Refused::unreadable(&malformed).to(message::id_of_unreadable(line))
        })?;
        let id = match message::look(&document)? {
            Message::Request { id, .. } => id.clone(),
            Message::Notification { .. } | Message::Answer => Value::Null,
        };
        let wrong = |text: &str| {
            let refused = Refused::new(message::INVALID_REQUEST, "invalid_request", text);
            refused.to(id.clone())
        };
        let mut understood: ClientJsonRpcMessage = serde_json::from_slice(line)
            .map_err(|_| wrong("this is no message of the protocol"))?;
        let admitted = Admitted {
            who: self.who.clone(),
            document: Arc::new(document),
        };
        match &mut understood {
            JsonRpcMessage::Request(request) => {
                if !self.under_way.ids().insert(request.id.clone()) {
                    // The library would answer only one of the two.
                    return Err(wrong("a request with this id is still under way"));
                }
                request.request.extensions_mut().insert(admitted);
            }
            JsonRpcMessage::Notification(told) => {
                if let ClientNotification::CancelledNotification(cancelled) = &told.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    // The library drops the answer of a cancelled request.
                    self.under_way.ended(id);
                }
                told.notification.extensions_mut().insert(admitted);
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
        Ok(understood)
    }

    /// Queues the answers of our own. Safe to cancel: one that found no room stays.
    async fn send_refusals(&mut self) -> Result<(), mpsc::error::SendError<()>> {
        let out = self.out.as_ref().ok_or(mpsc::error::SendError(()))?;
        while !self.refusals.is_empty() {
            let room = out.reserve().await?;
            if let Some(line) = self.refusals.pop_front() {
                room.send(line);
            }
        }
        Ok(())
    }

    async fn next_message(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            self.send_refusals().await.ok()?;
            self.under_way.wait_for_room().await;
            match self.next_line().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    tracing::error!(%error, "stdin cannot be read");
                    return None;
                }
            }
            match self.take_line() {
                Ok(Some(understood)) => {
                    self.opened |= matches!(understood, JsonRpcMessage::Request(_));
                    if self.opened {
                        return Some(understood);
                    }
                }
                Ok(None) => {}
                Err(refused) => self.refusals.extend(line_of(&refused.answer()).ok()),
            }
        }
    }
}

impl<R: AsyncRead + Send + Unpin> Transport<RoleServer> for Lines<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let answered = match &message {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let (out, under_way) = (self.out.clone(), self.under_way.clone());
        async move {
            let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
            let line = line_of(&message)?;
            // Before the answer can be read, because its reader may use the id again at once.
            if let Some(id) = answered {
                under_way.ended(&id);
            }
            let sent = out.ok_or_else(closed)?.send(line).await;
            sent.map_err(|_| closed())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let out = self.out.clone()?;
        tokio::select! {
            next = self.next_message() => next,
            // Nobody reads our answers any more, so nothing more is done for them.
            () = out.closed() => None,
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.out = None;
        if let Some(mut writer) = self.writer.take() {
            // What is queued is written first, unless nobody reads it.
            if tokio::time::timeout(FLUSH, &mut writer).await.is_err() {
                writer.abort();
            }
        }
        Ok(())
    }
}

fn line_of(message: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    // A JSON text has no raw line breaks in it.
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

async fn write_lines(mut write: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Vec<u8>>) {
    let mut waiting = Vec::with_capacity(WAITING_LINES);
    while lines.recv_many(&mut waiting, WAITING_LINES).await > 0 {
        let batch = waiting.concat();
        waiting.clear();
        let mut written = write.write_all(&batch).await;
        if written.is_ok() {
            written = write.flush().await;
        }
        if let Err(error) = written {
            tracing::warn!(%error, "stdout cannot be written");
            return;
        }
    }
}
