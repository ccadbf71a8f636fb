//! One request under way: what it has taken, from its head until its answer has been read.
//!
//! Whoever authenticates the request charges the principal with a place; a body or an answer beyond
//! the usual size takes another. All is given back when the answer is out, or nobody wants it any
//! more. A long answer goes out in pieces, so that one that is not read keeps its place instead of
//! lying uncounted in a buffer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::seats::{Seat, Standing};
use crate::broker::Trouble;
use crate::broker::core::places::{Kind, Place, Places};
use crate::domain::principal::Principal;
use crate::entry::gate::Growth;

/// An answer beyond this takes a place of its own until it is read.
pub(super) const USUAL_ANSWER: u64 = 64 * 1024;
/// How much of an answer is handed to the connection at once.
const PIECE: usize = 16 * 1024;

/// A request, as everybody who works on it sees it.
#[derive(Clone, Default)]
pub struct Visit(Arc<Inner>);

#[derive(Default)]
struct Inner {
    seat: Option<Arc<Seat>>,
    places: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    request: Option<Place>,
    more: Vec<Place>,
    over: bool,
}

impl Visit {
    /// A request on this connection, at a door where nobody signs (`unsigned`) or where a key is
    /// looked at before anything else.
    pub(super) fn begin(seat: Option<Arc<Seat>>, unsigned: bool) -> Self {
        if let Some(seat) = &seat {
            seat.is(match unsigned {
                true => Standing::Stranger,
                false => Standing::Knocking,
            });
        }
        Self(Arc::new(Inner {
            seat,
            places: Mutex::default(),
        }))
    }

    /// The request is this principal's. Charged once, however many look at the key.
    pub fn charge(&self, places: &Places, who: &Principal) -> Result<(), Trouble> {
        let mut taken = self.taken();
        if taken.request.is_none() {
            taken.request = Some(places.enter(who, Kind::Request)?);
            if let Some(seat) = &self.0.seat {
                seat.is(Standing::Working);
            }
        }
        Ok(())
    }

    /// From here on it only waits for something to happen, with this place.
    pub fn waits(&self, place: Place) {
        if let Some(seat) = &self.0.seat {
            seat.is(Standing::Waiting);
        }
        let mut taken = self.taken();
        if !taken.over {
            taken.more.push(place);
        }
    }

    /// One more place for whoever is charged. What nobody is charged with is bounded elsewhere.
    fn another(&self, kind: Kind) -> bool {
        let mut taken = self.taken();
        let Some(request) = &taken.request else {
            return true;
        };
        let place = request.another(kind);
        let found = place.is_some();
        taken.more.extend(place);
        found
    }

    /// Whether an answer of this length may go out now.
    pub(super) fn may_answer(&self, length: u64) -> bool {
        length <= USUAL_ANSWER || self.another(Kind::LargeAnswer)
    }

    /// Gives everything back.
    fn end(&self) {
        let taken = {
            let mut taken = self.taken();
            taken.over = true;
            (taken.request.take(), std::mem::take(&mut taken.more))
        };
        drop(taken);
        if let Some(seat) = &self.0.seat {
            seat.rests();
        }
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growth for Visit {
    fn may_grow(&self) -> bool {
        self.another(Kind::LargeBody)
    }
}

/// Ends the visit when dropped: a request that is given up half-way ends as well.
pub(super) struct Visiting(pub(super) Visit);

impl Visiting {
    /// The answer, which ends the visit once it is out or given up.
    pub(super) fn until_read(self, body: Body) -> Body {
        Body::new(UntilRead {
            body,
            rest: Bytes::new(),
            _visiting: self,
        })
    }
}

impl Drop for Visiting {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A body in pieces that ends a visit. It tells its length, so that a short answer goes out in one
/// piece.
struct UntilRead {
    body: Body,
    rest: Bytes,
    _visiting: Visiting,
}

impl HttpBody for UntilRead {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other @ (Poll::Pending | Poll::Ready(None | Some(Err(_)))) => return other,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let hint = self.body.size_hint();
        let mut sum = SizeHint::new();
        sum.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper() {
            sum.set_upper(upper.saturating_add(rest));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::core::places::Shares;
    use crate::domain::ids::OrgId;
    use crate::domain::principal::Role;
    use http_body_util::BodyExt;

    fn who() -> Principal {
        Principal {
            id: "key:a".to_owned(),
            name: "a".to_owned(),
            org: OrgId::default(),
            roles: Role::Agent.into(),
            agent: None,
            person: None,
            server: None,
        }
    }

    #[tokio::test]
    async fn places_are_kept_until_the_answer_is_read() {
        let places = Places::new(Shares {
            requests: 1,
            large_answers: 1,
            ..Shares::default()
        });
        let visit = Visit::default();
        visit.charge(&places, &who()).unwrap();
        visit.charge(&places, &who()).unwrap();
        assert!(visit.may_answer(USUAL_ANSWER + 1));
        assert!(!visit.may_answer(USUAL_ANSWER + 1), "a second one");
        assert!(visit.may_answer(USUAL_ANSWER));
        let text = "x".repeat(3 * PIECE + 1);
        let mut body = Visiting(visit).until_read(Body::from(text.clone()));
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        let late = Visit::default();
        assert!(late.charge(&places, &who()).is_err(), "not read yet");
        assert_eq!(
            body.collect().await.unwrap().to_bytes().len(),
            text.len() - PIECE
        );
        late.charge(&places, &who()).unwrap();
    }
}
