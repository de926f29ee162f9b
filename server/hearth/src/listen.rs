//! Listeners: from a bound port to HTTP/1.1 and HTTP/2 connections that a router answers.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::failure::Failure;

/// Longest that a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that the head of a request may take to arrive, also the idle time of an HTTP/1.1 connection.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(20));
const STREAMS: u32 = 200;
/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 64 << 10;
/// Pause after the system refused a connection, such as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is bound, not yet served.
pub(crate) struct Bound {
    listener: TcpListener,
    /// Where it is, with the port that the system chose.
    pub(crate) address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Bound {
    /// Binds `address`.
    pub(crate) async fn bind(address: SocketAddr, tls: Option<TlsAcceptor>) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|error| refused(address, &error))?;
        let address = listener.local_addr().map_err(|error| refused(address, &error))?;
        Ok(Self { listener, address, tls })
    }

    /// Where a client on this machine finds it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        format!("{scheme}://{address}")
    }

    /// Serves `router` until `stop`; connections are tasks of `connections`.
    pub(crate) async fn serve(self, router: Router, limits: Limits) {
        loop {
            // The permit comes first: who finds no room waits in the system's queue.
            let permit = tokio::select! {
                () = limits.stop.cancelled() => return,
                permit = limits.room.clone().acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                () = limits.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (tls, router, own) = (self.tls.clone(), router.clone(), limits.clone());
            limits.tasks.spawn(async move {
                let connection = serve_connection(stream, peer, tls, router, &own);
                tokio::select! {
                    () = own.kill.cancelled() => {}
                    () = connection => {}
                }
                drop(permit);
            });
        }
    }
}

/// What bounds the connections of a listener, and ends them.
#[derive(Clone)]
pub(crate) struct Limits {
    /// No new connections or requests from then on; running requests are finished.
    pub(crate) stop: CancellationToken,
    /// Everything ends at once.
    pub(crate) kill: CancellationToken,
    /// Owns the connections' tasks.
    pub(crate) tasks: TaskTracker,
    /// Connections that there is room for.
    pub(crate) room: Arc<Semaphore>,
}

impl Limits {
    /// Limits for a listener of its own number of connections.
    pub(crate) fn with_room(&self, connections: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(connections)), ..self.clone() }
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: &Limits,
) {
    // Small answers must not wait for more; a failure costs time only.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_http(stream, peer, router, limits).await };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve_http(stream, peer, router, limits).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

async fn serve_http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    limits: &Limits,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(Owned(limits.tasks.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = limits.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Runs what hyper wants to run aside (HTTP/2 streams) as owned tasks.
#[derive(Clone)]
struct Owned(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Errors of `accept` that say nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let by = match hearth_supervisor::port::holder(address.port()) {
                Some(holder) => format!(" by {holder}"),
                None => String::new(),
            };
            format!("{address} is already in use{by}. Stop that, or choose another port.")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{address} is not allowed for this user: ports below 1024 belong to the system. Choose a higher one."
            )
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine."),
        _ => format!("{address} cannot be listened on: {error}"),
    };
    Failure::configuration(message)
}
