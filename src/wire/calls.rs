//! Who waits for which answer in one conversation.
//!
//! Every transport shows what it hears to [`Calls::hear`] before the protocol library sees it. An
//! answer goes to its call as it came; the library, which keeps account of its requests, gets a
//! stand-in to the same id. So an answer is read in one way whichever path it takes, and an answer
//! after the deadline still finds its call for as long as somebody minds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{CallToolResult, RequestId, ServerJsonRpcMessage, ServerResult};

use super::answer::{self, Message, Said};
use super::ticket::Ticket;

/// The calls of one conversation that may still be answered. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Calls {
    waiting: Arc<Mutex<HashMap<i64, Waiting>>>,
}

struct Waiting {
    ticket: Ticket,
    /// The request as the library knows it.
    known: RequestId,
}

impl Calls {
    /// From now on an answer to `id` is for this ticket. Said before the first byte leaves.
    pub(super) fn expect(&self, id: &RequestId, ticket: &Ticket) {
        if let RequestId::Number(number) = id {
            let waiting = Waiting {
                ticket: ticket.clone(),
                known: id.clone(),
            };
            ticket.sent_as(*number);
            self.lock().insert(*number, waiting);
        }
    }

    /// The library knows the call `id` by another id from here on. False if it has its answer.
    pub(super) fn known_as(&self, id: &RequestId, known: RequestId) -> bool {
        let RequestId::Number(number) = id else {
            return false;
        };
        let mut waiting = self.lock();
        let Some(waiting) = waiting.get_mut(number) else {
            return false;
        };
        waiting.known = known;
        true
    }

    /// Nobody waits for this one any more.
    pub(super) fn forget(&self, ticket: &Ticket) {
        if let Some(number) = ticket.number() {
            self.lock().remove(&number);
        }
    }

    /// Hands an answer to its call. `Some` is what the library is told in its place.
    pub(super) fn hear(&self, message: &[u8]) -> Option<ServerJsonRpcMessage> {
        match answer::message(message) {
            Message::Answer(Some(number), said) => {
                let waiting = self.lock().remove(&number)?;
                waiting.ticket.tell(said);
                let is_list = waiting.ticket.is_list();
                let whole = is_list.then(|| serde_json::from_slice(message).ok());
                Some(whole.flatten().unwrap_or_else(|| stand_in(waiting.known)))
            }
            Message::Answer(None, Said::Error { code, message }) => {
                self.tell_the_only_one(format!("error {code} without an id: {message}"));
                None
            }
            Message::Answer(None, _) | Message::Other => None,
        }
    }

    /// The same for a message that may be a batch.
    pub(super) fn hear_all(&self, messages: &[u8]) -> Option<ServerJsonRpcMessage> {
        match answer::batch(messages) {
            Some(batch) => {
                let mut heard = None;
                for one in batch {
                    heard = self.hear(one.get().as_bytes()).or(heard);
                }
                heard
            }
            None => self.hear(messages),
        }
    }

    /// Tells the call of this number, once. `Some` is what the library is told in its place.
    pub(super) fn tell(&self, number: i64, said: Said) -> Option<ServerJsonRpcMessage> {
        let waiting = self.lock().remove(&number)?;
        waiting.ticket.tell(said);
        Some(stand_in(waiting.known))
    }

    /// An error that names no call can only be about the one that is under way, if there is but
    /// one. It proves nothing, so the true answer may still come.
    fn tell_the_only_one(&self, why: String) {
        let waiting = self.lock();
        let mut all = waiting.values();
        if let (Some(only), None) = (all.next(), all.next()) {
            only.ticket.tell(Said::Unreadable(why));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An empty result to this request.
pub(super) fn stand_in(id: RequestId) -> ServerJsonRpcMessage {
    let nothing = CallToolResult::success(Vec::new());
    ServerJsonRpcMessage::response(ServerResult::CallToolResult(nothing), id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_call_once_and_others_find_nobody() {
        let calls = Calls::default();
        let (ticket, mut told) = Ticket::new();
        calls.expect(&RequestId::Number(7), &ticket);
        calls.known_as(&RequestId::Number(7), RequestId::Number(1));
        for other in [
            &br#"{"id":8,"result":{}}"#[..],
            br#"{"id":7,"method":"ping"}"#,
            b"log",
        ] {
            assert!(calls.hear(other).is_none());
        }
        assert!(told.try_recv().is_err());
        // An error without an id is about the only call there is, and leaves room for its answer.
        let lost = br#"{"id":null,"error":{"code":-1,"message":"m"}}"#;
        assert!(calls.hear(lost).is_none());
        assert!(matches!(told.try_recv(), Ok(Said::Unreadable(_))));
        let answer = br#"{"id":"7","result":{"content":[]}}"#;
        let stand_in = calls.hear(answer).unwrap();
        let stand_in = serde_json::to_value(stand_in).unwrap();
        assert_eq!(stand_in["id"], 1);
        assert!(matches!(told.try_recv(), Ok(Said::Result(_))));
        assert!(calls.hear(answer).is_none() && told.try_recv().is_err());
        // With two calls it could be about either.
        let (second, mut other) = Ticket::new();
        calls.expect(&RequestId::Number(8), &ticket);
        calls.expect(&RequestId::Number(9), &second);
        calls.hear(lost);
        assert!(told.try_recv().is_err() && other.try_recv().is_err());
        calls.forget(&second);
        assert!(calls.hear(br#"{"id":9,"result":{}}"#).is_none());
    }
}
