//! A client API on empty databases in memory, for tests.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Body, extract::ConnectInfo};
use futures_util::future::BoxFuture;
use hearth_accounts::{Accounts, AccountsConfig, NewDevice, NewUser, PasswordCost, RegistrationMode, Session};
use hearth_jobs::Jobs;
use hearth_protocol::SigningKey;
use hearth_rooms::{PushRules, Rooms, RoomsConfig};
use hearth_store::Store;
use hearth_sync::SyncEngine;
use hearth_transitory::Transitory;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use ruma::{OwnedUserId, RoomVersionId, owned_server_name, push::Ruleset};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{ClientParts, ClientState, InFlight, RateLimiter, assemble, router};
use crate::metrics::Metrics;

/// Password of every test user.
pub(crate) const PASSWORD: &str = "correct horse";

struct NoRules;

impl PushRules for NoRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(async { vec![None; users.len()] })
    }
}

/// The API and its state.
pub(crate) struct TestApi {
    pub(crate) state: ClientState,
    router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Status and Matrix code.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["errcode"].as_str().unwrap_or_default().to_owned())
    }
}

impl TestApi {
    /// Without rate limits.
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// With changed parts.
    pub(crate) fn with(change: impl FnOnce(&mut ClientParts)) -> Self {
        let store = Store::memory();
        let server_name = owned_server_name!("example.org");
        let mut config = AccountsConfig::new(server_name.clone());
        config.passwords = PasswordCost { memory_kib: 8, iterations: 1 };
        config.registration = RegistrationMode::Open;
        let rooms_config = RoomsConfig {
            server_name: server_name.clone(),
            key: SigningKey::generate(server_name.clone()).0,
            default_version: RoomVersionId::V12,
        };
        let accounts = Accounts::new(store.clone(), config);
        let rooms = Rooms::new(store.clone(), rooms_config, Arc::new(NoRules));
        let transitory = Transitory::new(store.clone());
        let mut parts = ClientParts {
            jobs: Jobs::new(store),
            server_name,
            public_base_url: "https://example.org".to_owned(),
            federation_address: Some("example.org:443".to_owned()),
            sync: SyncEngine::new(rooms.clone(), accounts.clone(), transitory.clone()),
            accounts,
            rooms,
            transitory,
            default_room_version: RoomVersionId::V12,
            in_flight: InFlight::default(),
            limiter: RateLimiter::new(false),
            metrics: Arc::new(Metrics::new()),
            stopping: CancellationToken::new(),
        };
        change(&mut parts);
        let state = ClientState::new(parts);
        Self { router: router(state.clone()), state }
    }

    /// With other routes than the real ones.
    pub(crate) fn routes(self, routes: Router<ClientState>) -> Self {
        Self { router: assemble(routes, self.state.clone()), state: self.state }
    }

    /// A new user's access token.
    pub(crate) async fn login(&self, localpart: &str) -> String {
        let new = NewUser { localpart: Some(localpart), password: Some(PASSWORD), ..NewUser::default() };
        let user = self.state.accounts.create_user(new).await.unwrap();
        self.state.accounts.open_session(&user, NewDevice::default()).await.unwrap().access_token
    }

    /// Sends a request from 192.0.2.1 unless it says from where.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        if request.extensions().get::<ConnectInfo<SocketAddr>>().is_none() {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1234))));
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// Sends a request with a body and a token; an empty token is none.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}

/// A session of no account.
pub(crate) fn session(user: &str, device: &str) -> Session {
    Session { user_id: user.try_into().unwrap(), device_id: device.into(), admin: false }
}
