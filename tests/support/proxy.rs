//! A TCP proxy that loses what a test wants lost: whole connections, single answers, or everything
//! in silence. It knows just enough of Postgres' protocol to see a COMMIT go by.
//!
//! It runs on a thread of its own, because tests block while a process starts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A simple query that says COMMIT, as it is on the wire; alone, and where more is to be written.
const COMMIT: &[u8] = b"COMMIT\0";
const COMMIT_AND_ON: &[u8] = b"COMMIT; BEGIN\0";
/// What a server says when it was asked to cancel while it flushed the COMMIT of the latter.
const CANCELLED: &[u8] = b"C\0\0\0\x0bCOMMIT\0\
    E\0\0\0\x25SERROR\0VERROR\0C57014\0Mcancelled\0\0\
    Z\0\0\0\x05I";

/// What happens to new bytes and new connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// They pass.
    Up,
    /// Connections stay open and nothing moves, as when a cable is pulled.
    Silent,
    /// Connections are closed at once, as when nobody listens.
    Down,
}

/// What happens to a COMMIT, for as many of them as were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// The server gets it, and the connection ends before its answer is passed on.
    AnswerLost,
    /// The server gets it, and its answer never comes; the connection stays open.
    AnswerWithheld,
    /// It never reaches the server, and the connection ends.
    NeverArrives,
    /// The server gets it, commits, and is asked to cancel before it begins anew.
    CancelledAfter,
}

struct State {
    line: watch::Sender<Line>,
    /// Rises when all connections are to end.
    cuts: watch::Sender<u64>,
    spoil: Mutex<Option<Commit>>,
    left: AtomicU32,
    struck: AtomicU64,
}

/// A running proxy; it ends with the process.
#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// In front of `host:port`.
    pub fn to(target: &str) -> Self {
        let target = target.to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            line: watch::Sender::new(Line::Up),
            cuts: watch::Sender::new(0),
            spoil: Mutex::new(None),
            left: AtomicU32::new(0),
            struck: AtomicU64::new(0),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                accept(TcpListener::from_std(listener).unwrap(), target, shared).await;
            });
        });
        Self { port, state }
    }

    /// In front of the server of a Postgres URL: the proxy, and the URL that leads through it.
    pub fn before(url: &str) -> (Self, String) {
        let mut parsed = url::Url::parse(url).unwrap();
        let host = parsed.host_str().unwrap().to_owned();
        let proxy = Self::to(&format!("{host}:{}", parsed.port().unwrap_or(5432)));
        parsed.set_host(Some("127.0.0.1")).unwrap();
        parsed.set_port(Some(proxy.port)).unwrap();
        (proxy, parsed.to_string())
    }

    pub fn line(&self, line: Line) {
        self.state.line.send_replace(line);
        if line == Line::Down {
            self.cut();
        }
    }

    /// Ends every connection; new ones are let in, if the line is up.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Spoils the next `times` COMMITs.
    pub fn spoil(&self, how: Commit, times: u32) {
        *self.state.spoil.lock().unwrap() = Some(how);
        self.state.left.store(times, Ordering::SeqCst);
    }

    /// Spoils no more of them.
    pub fn spoil_none(&self) {
        self.state.left.store(0, Ordering::SeqCst);
    }

    /// How many COMMITs were spoiled so far.
    pub fn struck(&self) -> u64 {
        self.state.struck.load(Ordering::SeqCst)
    }
}

impl State {
    /// What to do with a COMMIT that goes by now.
    fn take(&self, goes_on: bool) -> Option<Commit> {
        if !goes_on && *self.spoil.lock().unwrap() == Some(Commit::CancelledAfter) {
            return None;
        }
        let taken = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        taken.ok()?;
        self.struck.fetch_add(1, Ordering::SeqCst);
        *self.spoil.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, target: String, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, target.clone(), state.clone()));
    }
}

async fn carry(client: TcpStream, target: String, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    cuts.mark_unchanged();
    let line = *state.line.borrow();
    if line == Line::Down {
        return;
    }
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&target).await.unwrap().collect();
    let connecting = async {
        until_up(&state).await;
        TcpStream::connect(addresses.as_slice()).await
    };
    let server = tokio::select! {
        server = connecting => server,
        _ = cuts.changed() => return,
    };
    let Ok(server) = server else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mute = watch::Sender::new(None);
    tokio::select! {
        () = upward(from_client, to_server, &state, &mute) => {}
        () = downward(from_server, to_client, &state, mute.subscribe()) => {}
        _ = cuts.changed() => {}
    }
}

async fn until_up(state: &State) {
    let mut line = state.line.subscribe();
    // The sender lives as long as the state does.
    let _ = line.wait_for(|line| *line == Line::Up).await;
}

/// From the client to the server, looking out for COMMITs.
async fn upward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    mute: &watch::Sender<Option<Commit>>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(read) = from.read(&mut bytes).await else {
            return;
        };
        if read == 0 {
            return;
        }
        until_up(state).await;
        let says = |text: &[u8]| bytes[..read].windows(text.len()).any(|part| part == text);
        let goes_on = says(COMMIT_AND_ON);
        let says_commit = goes_on || says(COMMIT);
        let spoil = says_commit.then(|| state.take(goes_on)).flatten();
        match spoil {
            None => {}
            Some(Commit::NeverArrives) => return,
            Some(how @ (Commit::AnswerLost | Commit::AnswerWithheld | Commit::CancelledAfter)) => {
                mute.send_replace(Some(how));
            }
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// From the server to the client, unless its answers are spoiled.
async fn downward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    mute: watch::Receiver<Option<Commit>>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(read) = from.read(&mut bytes).await else {
            return;
        };
        if read == 0 {
            return;
        }
        until_up(state).await;
        let spoil = *mute.borrow();
        match spoil {
            // The server has answered, so it has committed.
            Some(Commit::AnswerLost) => return,
            Some(Commit::CancelledAfter) => {
                to.write_all(CANCELLED).await.ok();
                return;
            }
            Some(Commit::AnswerWithheld | Commit::NeverArrives) => continue,
            None => {}
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
