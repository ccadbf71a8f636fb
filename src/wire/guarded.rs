//! One upstream behind a breaker: when it fails several times in a row it is left alone for a
//! moment, instead of letting every caller wait out its deadline.
//!
//! A call that is not let through has not been sent, and is told as that: it never turns a doubt
//! into a failure, because nobody was asked. Whether an answer is a sign of trouble is for its
//! connector to say. A caller that goes away before the answer says nothing about the upstream.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::breaker::{Breaker, Pass, Pauses};
use super::{Heard, Late, Offered, UpstreamHealth, Wire, reputation};
use crate::domain::call::{Call, Reply};

/// Short enough that a fresh commit goes through within ten seconds of the upstream being well
/// again, even if the last probe hangs in what was wrong before.
const PAUSES: Pauses = Pauses {
    rest: Duration::from_secs(3),
    patience: Duration::from_secs(3),
};

/// A wire, one of whose upstreams has a breaker.
pub struct Guarded {
    inner: Arc<dyn Wire>,
    upstream: &'static str,
    in_trouble: fn(&Reply) -> bool,
    breaker: Breaker,
    /// Tools whose calls failed since one of them worked.
    failing: Mutex<BTreeSet<String>>,
}

impl Guarded {
    /// Guards `upstream`, whose breaker is called `name`. `in_trouble` tells replies that speak of
    /// an upstream that does not work from those that merely say no.
    pub fn new(
        inner: Arc<dyn Wire>,
        upstream: &'static str,
        name: &'static str,
        in_trouble: fn(&Reply) -> bool,
    ) -> Self {
        Self {
            inner,
            upstream,
            in_trouble,
            breaker: Breaker::with(name, PAUSES),
            failing: Mutex::default(),
        }
    }

    /// The right to call, or what a call that is not let through is told.
    fn pass<'a>(&'a self, call: &'a Call) -> Result<Waiting<'a>, Reply> {
        let waiting = |pass| Waiting {
            pass,
            tool: &call.tool,
            failing: &self.failing,
        };
        if call.upstream != self.upstream {
            return Ok(waiting(None));
        }
        let Some(pass) = self.breaker.pass() else {
            let why = "it failed several times in a row and is left alone for a moment";
            return Err(Reply::NotSent(why.to_owned()));
        };
        Ok(waiting(Some(pass)))
    }
}

#[async_trait]
impl Wire for Guarded {
    async fn send(&self, call: &Call, deadline: Duration) -> Reply {
        let waiting = match self.pass(call) {
            Ok(waiting) => waiting,
            Err(told) => return told,
        };
        let reply = self.inner.send(call, deadline).await;
        waiting.heard((self.in_trouble)(&reply));
        reply
    }

    async fn relay(&self, call: &Call, deadline: Duration) -> Heard {
        let waiting = match self.pass(call) {
            Ok(waiting) => waiting,
            Err(told) => return told.into(),
        };
        let heard = self.inner.relay(call, deadline).await;
        waiting.heard((self.in_trouble)(&heard.reply));
        heard
    }

    async fn send_and_mind(&self, call: &Call, deadline: Duration, late: Late) -> Heard {
        let waiting = match self.pass(call) {
            Ok(waiting) => waiting,
            Err(told) => return told.into(),
        };
        let heard = self.inner.send_and_mind(call, deadline, late).await;
        waiting.heard((self.in_trouble)(&heard.reply));
        heard
    }

    async fn offered(&self, upstream: &str, deadline: Duration) -> Result<Vec<Offered>, String> {
        self.inner.offered(upstream, deadline).await
    }

    fn changes(&self) -> tokio::sync::broadcast::Receiver<String> {
        self.inner.changes()
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        self.inner.health()
    }

    fn breakers(&self) -> Vec<UpstreamHealth> {
        let mut all = self.inner.breakers();
        all.push(reputation::health(&self.breaker));
        all
    }
}

/// Holds a pass, where one is needed, while the answer is awaited.
struct Waiting<'a> {
    pass: Option<Pass<'a>>,
    tool: &'a str,
    failing: &'a Mutex<BTreeSet<String>>,
}

impl Waiting<'_> {
    /// A look-up that works says nothing of payouts that hang: only what failed can prove that it
    /// works again.
    fn heard(mut self, in_trouble: bool) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if in_trouble {
            failing.insert(self.tool.to_owned());
            // Dropped, it went wrong.
            drop(pass);
        } else if failing.is_empty() || failing.contains(self.tool) {
            failing.clear();
            pass.succeeded();
        } else {
            pass.succeeded_elsewhere();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            pass.abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::broadcast;

    use super::*;

    /// Answers as it is told, and counts what reached it.
    struct Fake {
        lost: Mutex<bool>,
        sent: Mutex<usize>,
        hangs: Duration,
    }

    #[async_trait]
    impl Wire for Fake {
        async fn send(&self, _: &Call, _: Duration) -> Reply {
            *self.sent.lock().unwrap() += 1;
            tokio::time::sleep(self.hangs).await;
            match *self.lost.lock().unwrap() {
                true => Reply::Lost("gone".to_owned()),
                false => Reply::NotSent("no".to_owned()),
            }
        }

        async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
            Ok(Vec::new())
        }

        fn changes(&self) -> broadcast::Receiver<String> {
            broadcast::channel(1).1
        }

        fn health(&self) -> Vec<UpstreamHealth> {
            Vec::new()
        }
    }

    const DEADLINE: Duration = Duration::from_secs(15);

    fn guarded(hangs: Duration) -> (Guarded, Arc<Fake>) {
        let fake = Arc::new(Fake {
            lost: Mutex::new(true),
            sent: Mutex::new(0),
            hangs,
        });
        let lost = |reply: &Reply| matches!(reply, Reply::Lost(_));
        (Guarded::new(fake.clone(), "bank", "test-bank", lost), fake)
    }

    fn call(upstream: &str) -> Call {
        Call::new(upstream, "pay", &json!({}))
    }

    #[tokio::test(start_paused = true)]
    async fn of_eight_hung_calls_five_wait_and_the_rest_is_told_not_sent() {
        let (wire, fake) = guarded(DEADLINE);
        let began = tokio::time::Instant::now();
        let mut told = Vec::new();
        for _ in 0..8 {
            told.push(wire.send(&call("bank"), DEADLINE).await);
        }
        assert_eq!(began.elapsed(), 5 * DEADLINE);
        assert_eq!(*fake.sent.lock().unwrap(), 5);
        assert!(told[..5].iter().all(|r| matches!(r, Reply::Lost(_))));
        assert!(told[5..].iter().all(|r| matches!(r, Reply::NotSent(_))));
        assert!(!wire.breakers()[0].ok);
        let other = wire.send(&call("another"), DEADLINE).await;
        assert!(matches!(other, Reply::Lost(_)), "others are not held up");
        *fake.lost.lock().unwrap() = false;
        tokio::time::advance(PAUSES.rest).await;
        wire.send(&call("bank"), DEADLINE).await;
        assert!(wire.breakers()[0].ok, "one good answer is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn look_ups_that_work_do_not_speak_for_payouts_that_hang() {
        let (wire, fake) = guarded(Duration::ZERO);
        let look = Call::new("bank", "look", &json!({}));
        let turn = |lost| *fake.lost.lock().unwrap() = lost;
        for _ in 0..5 {
            turn(true);
            wire.send(&call("bank"), DEADLINE).await;
            turn(false);
            wire.send(&look, DEADLINE).await;
        }
        assert!(!wire.breakers()[0].ok, "five in a row of the same");
        // What worked all along lets calls through again, and the next failure is one too many.
        tokio::time::advance(PAUSES.rest).await;
        wire.send(&look, DEADLINE).await;
        assert!(wire.breakers()[0].ok);
        turn(true);
        wire.send(&call("bank"), DEADLINE).await;
        assert!(!wire.breakers()[0].ok);
        tokio::time::advance(PAUSES.rest).await;
        turn(false);
        wire.send(&call("bank"), DEADLINE).await;
        turn(true);
        wire.send(&call("bank"), DEADLINE).await;
        assert!(wire.breakers()[0].ok, "it works again, and counts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_hang_up_open_nothing() {
        let (wire, _) = guarded(DEADLINE);
        for _ in 0..20 {
            let bank = call("bank");
            let gone = wire.send(&bank, DEADLINE);
            let second = Duration::from_secs(1);
            assert!(tokio::time::timeout(second, gone).await.is_err());
        }
        assert!(wire.breakers()[0].ok);
    }
}
