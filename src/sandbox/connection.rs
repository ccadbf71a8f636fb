//! Connections, one by one, so that a fault can break one in the way that networks do: a reset
//! (RST) instead of an orderly end, or no answer at all.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// Connections open at once.
const MAX_CONNECTIONS: usize = 4096;
/// A client that takes longer to send its headers is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Given to requests under way when the sandbox stops.
const DRAIN: Duration = Duration::from_secs(2);
/// After a failed accept (out of file handles, say) the loop breathes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Put into a response's extensions to break the connection instead of answering.
#[derive(Clone, Copy)]
pub(super) enum Breaks {
    /// With a TCP reset, now.
    Reset,
    /// In silence, after so long or when the client hangs up.
    AfterSilence(Duration),
}

/// Serves until `shutdown` resolves, then lets requests under way end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = room.clone().try_acquire_owned() else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (router, mut stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            let asked_to_stop = async move {
                let _ = stopped.changed().await;
            };
            connection(stream, router, asked_to_stop).await;
            drop(slot);
        });
    }
    drop(stopped);
    let _ = stop.send(());
    let _ = tokio::time::timeout(DRAIN, stop.closed()).await;
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, stop: impl Future<Output = ()>) {
    let reset = Arc::new(AtomicBool::new(false));
    let stream = Breakable {
        stream,
        reset: reset.clone(),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        answer(request, router.clone(), reset.clone())
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stop = std::pin::pin!(stop);
    // A broken connection is the client's affair, or ours on purpose.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = &mut stop => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
struct Broken;

async fn answer(
    request: Request<Incoming>,
    router: Router,
    reset: Arc<AtomicBool>,
) -> Result<Response<Body>, Broken> {
    let answered: Result<Response<Body>, Infallible> = router.oneshot(request).await;
    let Ok(response) = answered;
    match response.extensions().get::<Breaks>() {
        None => Ok(response),
        Some(Breaks::Reset) => {
            reset.store(true, Ordering::Relaxed);
            Err(Broken)
        }
        Some(Breaks::AfterSilence(silence)) => {
            tokio::time::sleep(*silence).await;
            Err(Broken)
        }
    }
}

/// A stream that says goodbye with a reset if it was told to.
struct Breakable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Breakable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Closing a socket that does not linger sends RST and drops what was not sent.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            // An orderly end before the reset would hide it.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
