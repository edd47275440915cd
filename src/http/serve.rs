//! The accept loop. One deadline covers a connection from accept through TLS and request headers; upgrade and
//! authentication follow at once in the same task and are bounded by it as well.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tower::ServiceExt;

use super::Shared;
use super::permit::Permit;
use super::tls::Tls;
use crate::metrics::HandshakeFailure;
use crate::shutdown::Phase;

/// What the kernel takes of a connection before the other end has room for it. With its default of some megabytes a slow
/// reader is noticed late, and ten thousand of them cost gigabytes.
const UNSENT_BYTES: u32 = 128 * 1024;

/// Bytes of a request line with its headers. Two tokens of 8 KiB, in a header and in the query, and a browser's
/// cookies fit.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Headers of a request; browsers send about 20.
const HEADERS_MAX: usize = 64;

/// Connections over a cap that are told so at a time. Beyond, they are dropped without a word.
const REFUSALS_MAX: usize = 64;

/// How long a refused client may take to read why.
const REFUSAL_TIME: Duration = Duration::from_millis(500);

/// How long accepting pauses when the process is out of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How long requests that are being answered may still take once the server stops.
const LINGER: Duration = Duration::from_secs(1);

/// What a handler may know of the connection its request came on.
#[derive(Clone)]
pub struct Peer {
    /// Counts the connection for as long as it is held.
    pub permit: Permit,
    /// The other end, or the proxy before it.
    pub address: IpAddr,
    /// When the handshake must be over.
    pub deadline: Instant,
}

/// Serves connections until the server stops.
pub async fn serve(listener: TcpListener, tls: Option<Arc<Tls>>, app: Shared, router: Router) {
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = app.shutdown.reached(Phase::Stopped) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_if_exhausted(&error).await;
                continue;
            }
        };
        let Some(permit) = app.permits.take(address.ip()) else {
            app.metrics
                .handshake_failure(HandshakeFailure::ConnectionLimit);
            if let Ok(turn) = Arc::clone(&refusals).try_acquire_owned() {
                connections.spawn(async move {
                    let _ = timeout(REFUSAL_TIME, refuse(stream)).await;
                    drop(turn);
                });
            }
            continue;
        };
        let peer = Peer {
            permit,
            address: address.ip(),
            deadline: Instant::now() + app.config.http.handshake_timeout,
        };
        let (app, router, tls) = (Arc::clone(&app), router.clone(), tls.clone());
        connections.spawn(async move { connection(stream, address, tls, peer, app, router).await });
    }
    drop(listener);
    let _ = timeout(LINGER, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// One connection, from the first byte to the last.
async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    peer: Peer,
    app: Shared,
    router: Router,
) {
    // Small messages must not wait for each other (Nagle).
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it began");
        return;
    }
    if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "the kernel does not limit unsent data");
    }
    let Some(tls) = tls else {
        return requests(stream, address, peer, app, router).await;
    };
    match timeout_at(peer.deadline, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, address, peer, app, router).await,
        Ok(Err(error)) => {
            app.metrics.handshake_failure(HandshakeFailure::Tls);
            tracing::debug!(%error, "a TLS handshake did not succeed");
        }
        Err(_) => app.metrics.handshake_failure(HandshakeFailure::Deadline),
    }
}

async fn requests<S>(stream: S, address: SocketAddr, peer: Peer, app: Shared, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let deadline = peer.deadline;
    let has_begun = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&has_begun);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.http.handshake_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);

    let mut is_checked = false;
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    let is_late = error.is_timeout() && !has_begun.load(Ordering::Relaxed);
                    if is_late {
                        app.metrics.handshake_failure(HandshakeFailure::Deadline);
                    }
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = sleep_until(deadline), if !is_checked => {
                is_checked = true;
                if !has_begun.load(Ordering::Relaxed) {
                    app.metrics.handshake_failure(HandshakeFailure::Deadline);
                    tracing::debug!(port = address.port(), "a connection sent no request in time");
                    return;
                }
            }
            () = app.shutdown.reached(Phase::Stopped), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Tells a client over a cap to come back later.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
        Retry-After: 2\r\nConnection: close\r\nContent-Length: 119\r\n\r\n\
        {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"code\":\"unavailable\",\
        \"detail\":\"too many connections\"}\n";
    stream.write_all(ANSWER).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the client might never see the answer.
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// Errors of single connections are over at once; being out of descriptors is not.
async fn pause_if_exhausted(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::warn!(%error, "accepting a connection");
        sleep(EXHAUSTED_PAUSE).await;
    }
}
