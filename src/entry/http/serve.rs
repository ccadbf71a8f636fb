//! The accept loop: HTTP/1.1 on a listener, with a bound on connections and on silence, until it
//! is told to close; then what is under way is finished. In a full house a newcomer takes the seat
//! of whoever has least to lose ([`Seats`]).
//!
//! TLS ends in front of the broker, so there is none here.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::seats::{Seats, Sitting};

/// Bounds of the accept loop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at once; each can cost a read buffer of 32 KiB.
    pub connections: usize,
    /// Longest that a connection may stay open without a whole request head, idle time between
    /// two requests included.
    pub silence: Duration,
    /// Longest that requests under way may take once the server closes.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            silence: Duration::from_secs(60),
            drain: Duration::from_secs(20),
        }
    }
}

/// The address that a request came from: a proxy's, where there is one in front.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 32 * 1024;
/// Pause after the system refused to accept (no file descriptors left), so that the loop does not
/// spin while it cannot.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection beyond the bound hears, while all the others are at work.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Connection: close\r\nContent-Length: 0\r\n\r\n";

/// Serves until `closing` is cancelled, then lets requests under way finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    closing: CancellationToken,
) {
    let seats = Seats::new(limits.connections);
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match seats.take() {
            Some(sitting) => {
                let (router, closing) = (router.clone(), closing.clone());
                open.spawn(connection(stream, router, limits, closing, sitting));
            }
            // A courtesy: whoever does not read it finds the connection closed.
            None => drop(stream.try_write(FULL)),
        }
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(limits.drain, open.wait())
        .await
        .is_err()
    {
        tracing::warn!(left = open.len(), "connections were still busy at the end");
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    closing: CancellationToken,
    sitting: Sitting,
) {
    // Answers are small and whole; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let inner = TowerToHyperService::new(router);
    let sitting = Arc::new(sitting);
    let (seat, held) = (sitting.seat(), sitting.clone());
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(seat.clone());
        // A WebSocket outlives the connection that it was made of, and keeps its seat.
        request.extensions_mut().insert(held.clone());
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        inner.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.silence)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.as_mut().await
        }
        () = sitting.given_up() => {
            tracing::debug!("a connection makes room for another");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
