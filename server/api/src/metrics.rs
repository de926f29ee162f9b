//! Counters of the server's requests and of their durations by route.
//!
//! One [`Metrics`] is made at start-up and shared. The listeners count requests with [`track`]; the dashboard
//! reads the figures. Events are not counted here: the Rooms database counts them itself.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{Method, StatusCode};

/// Counters since the process started. All methods are cheap and never wait for I/O.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    requests: AtomicU64,
    in_flight: AtomicU64,
    client_errors: AtomicU64,
    server_errors: AtomicU64,
    /// Bounded: keys come from the routing table, never from a request's own path.
    routes: Mutex<BTreeMap<Route, RouteStats>>,
}

/// A route: a method and a path pattern such as `/_matrix/client/v3/rooms/{room_id}/send/…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The method, `OTHER` for one that HTTP does not define.
    pub method: &'static str,
    /// The pattern from the routing table, or `(unknown)`.
    pub path: String,
}

/// How one route was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteStats {
    /// Answered requests.
    pub count: u64,
    /// Answers with a 5xx status.
    pub server_errors: u64,
    /// Sum of the times from request to response head. Long polls count the time they waited.
    pub total: Duration,
    /// The longest such time.
    pub slowest: Duration,
}

/// A reading of the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Time since the process started.
    pub uptime: Duration,
    /// Answered requests.
    pub requests: u64,
    /// Requests that are being answered, long polls included.
    pub in_flight: u64,
    /// Answers with a 4xx status.
    pub client_errors: u64,
    /// Answers with a 5xx status.
    pub server_errors: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counters at zero; uptime counts from here.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            requests: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            client_errors: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            routes: Mutex::default(),
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            uptime: self.started.elapsed(),
            requests: self.requests.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            client_errors: self.client_errors.load(Relaxed),
            server_errors: self.server_errors.load(Relaxed),
        }
    }

    /// Every route that was used, with its figures, the most used first.
    pub fn routes(&self) -> Vec<(Route, RouteStats)> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = routes.iter().map(|(route, stats)| (route.clone(), *stats)).collect();
        list.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
        list
    }

    fn answered(&self, route: Route, status: StatusCode, took: Duration) {
        self.requests.fetch_add(1, Relaxed);
        if status.is_client_error() {
            self.client_errors.fetch_add(1, Relaxed);
        } else if status.is_server_error() {
            self.server_errors.fetch_add(1, Relaxed);
        }
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = routes.entry(route).or_default();
        stats.count += 1;
        stats.server_errors += u64::from(status.is_server_error());
        stats.total += took;
        stats.slowest = stats.slowest.max(took);
    }
}

/// Counts a request as in flight while it lives, also when the client goes away before the answer.
struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Relaxed);
        Self(counter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Middleware that counts every request, to be added around a whole router:
/// `router.layer(axum::middleware::from_fn_with_state(metrics, metrics::track))`.
pub async fn track(State(metrics): State<std::sync::Arc<Metrics>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("(unknown)", MatchedPath::as_str).to_owned();
    let route = Route { method: method_name(request.method()), path };
    let started = Instant::now();
    let in_flight = InFlight::new(&metrics.in_flight);
    let response = next.run(request).await;
    drop(in_flight);
    metrics.answered(route, response.status(), started.elapsed());
    response
}

/// Methods come from the network, so only known names may become keys.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, body::Body, middleware, routing::get};
    use tower::ServiceExt;

    use super::*;

    async fn send(router: &Router, method: &str, path: &str) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap();
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_pattern() {
        let metrics = Arc::new(Metrics::new());
        let router = Router::new()
            .route("/rooms/{id}", get(async || "room"))
            .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
            .layer(middleware::from_fn_with_state(metrics.clone(), track));

        for path in ["/rooms/a", "/rooms/b", "/broken", "/nowhere", "/elsewhere"] {
            send(&router, "GET", path).await;
        }
        send(&router, "BREW", "/rooms/a").await;

        let snapshot = metrics.snapshot();
        assert_eq!(
            (snapshot.requests, snapshot.client_errors, snapshot.server_errors, snapshot.in_flight),
            (6, 3, 1, 0)
        );
        let routes: Vec<_> = metrics
            .routes()
            .into_iter()
            .map(|(route, stats)| format!("{} {} {} {}", route.method, route.path, stats.count, stats.server_errors))
            .collect();
        assert_eq!(routes, ["GET (unknown) 2 0", "GET /rooms/{id} 2 0", "GET /broken 1 1", "OTHER /rooms/{id} 1 0"]);
    }
}
