//! Following a request, for whoever listens: every event from the first on, without a gap or a double
//! to whoever resumes, and never holding the request up.
//!
//! The store is read, and read again when something was told here or a moment has passed, since
//! another process may be answering. A key that was revoked meanwhile sees nothing more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Door;
use crate::broker::Trouble;
use crate::domain::ids::RequestId;
use crate::domain::principal::Principal;
use crate::domain::requests::event::Event;

/// Silence after which a listener is told that somebody is there, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon what another process tells is seen.
const ELSEWHERE: Duration = Duration::from_millis(500);

/// What a listener is told next.
pub enum Next {
    /// An event, with its number.
    Event(u64, Event),
    /// Nothing for a while.
    Quiet,
    /// That was all.
    Over,
    /// The server goes down; somebody else tells the rest.
    Closing,
    /// It cannot go on: whoever comes again hears why as a status.
    Stopped(Trouble),
}

/// One listener's place in the tale. A [`next`](Following::next) that is given up loses nothing.
pub struct Following {
    door: Door,
    who: Principal,
    bearer: String,
    id: RequestId,
    after: u64,
    ready: VecDeque<(u64, Event)>,
    over: bool,
    told: Instant,
}

impl Following {
    /// After the event of this number. The first look is taken here, so that an unknown id is a 404
    /// and not a tale without events.
    pub async fn begin(
        door: Door,
        who: Principal,
        bearer: String,
        id: RequestId,
        after: u64,
    ) -> Result<Self, Trouble> {
        let mut following = Self {
            door,
            who,
            bearer,
            id,
            after,
            ready: VecDeque::new(),
            over: false,
            told: Instant::now(),
        };
        following.look().await?;
        Ok(following)
    }

    /// Whether there is nothing to tell, and will not be.
    pub fn is_told(&self) -> bool {
        self.over && self.ready.is_empty()
    }

    /// What is told next.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some((number, event)) = self.ready.pop_front() {
                self.told = Instant::now();
                return Next::Event(number, event);
            }
            if self.over {
                return Next::Over;
            }
            if self.told.elapsed() >= KEEP_ALIVE {
                self.told = Instant::now();
                return Next::Quiet;
            }
            let closing = self.door.options.closing.clone();
            let requests = self.door.broker.requests.clone();
            tokio::select! {
                () = requests.heard(self.id, ELSEWHERE) => {}
                () = closing.cancelled() => return Next::Closing,
            }
            if let Err(trouble) = self.look().await {
                return Next::Stopped(trouble);
            }
        }
    }

    /// Fetches what is new.
    async fn look(&mut self) -> Result<(), Trouble> {
        let broker = &self.door.broker;
        let now = broker.access.authenticate(&self.bearer).await?;
        if now != self.who {
            return Err(Trouble::Unauthenticated);
        }
        let (events, over) = broker
            .requests
            .events(&self.who, self.id, self.after)
            .await?;
        self.over = over;
        for (number, event) in events {
            self.after = number;
            self.ready.push_back((number, event));
        }
        Ok(())
    }
}
