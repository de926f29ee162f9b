//! From an HTTP request to ruma's request type and back.
//!
//! An endpoint is a function `async fn(ClientState, Args<R>) -> Result<R::OutgoingResponse, ApiError>`; [`route`]
//! registers it under every path and the method that ruma's metadata for `R` names.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, FromRequest, FromRequestParts, MatchedPath, RawPathParams, Request, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use bytes::{Bytes, BytesMut};
use hearth_accounts::{AccountError, Session};
use http::{HeaderMap, Method, header, request::Parts};
use ruma::api::{
    IncomingRequest, OutgoingResponse,
    auth_scheme::{AccessToken, AccessTokenOptional, AppserviceTokenOptional, NoAccessToken, NoAuthentication},
    error::{DeserializationError, FromHttpRequestError},
    path_builder::PathBuilder,
};

use serde::de::DeserializeOwned;

use super::{
    ApiError, ClientState, body,
    rate_limit::{Caller, Class},
};

/// What an endpoint receives.
pub struct Args<R>
where
    R: IncomingRequest,
    R::Authentication: Scheme,
{
    /// The parsed request.
    pub request: R,
    /// Who asks: a [`Session`], an `Option<Session>` or `()`, as the endpoint's scheme says.
    pub session: <R::Authentication as Scheme>::Session,
    /// Where the request comes from, as far as known; `0.0.0.0` otherwise.
    pub address: IpAddr,
}

/// How an endpoint authenticates: ruma's schemes.
pub trait Scheme {
    /// What a handler receives.
    type Session: Send + 'static;
    /// Whether a token in the request counts at all.
    const LOOKS: bool;
    /// Accepts or refuses what the token gave (`None` when there was none).
    fn accept(session: Option<Session>) -> Result<Self::Session, ApiError>;
}

impl Scheme for AccessToken {
    type Session = Session;
    const LOOKS: bool = true;
    fn accept(session: Option<Session>) -> Result<Session, ApiError> {
        session.ok_or_else(ApiError::missing_token)
    }
}

impl Scheme for AccessTokenOptional {
    type Session = Option<Session>;
    const LOOKS: bool = true;
    fn accept(session: Option<Session>) -> Result<Option<Session>, ApiError> {
        Ok(session)
    }
}

/// For schemes under which a client sends no token; one that comes nevertheless is ignored.
macro_rules! anonymous {
    ($($scheme:ty),*) => {$(
        impl Scheme for $scheme {
            type Session = ();
            const LOOKS: bool = false;
            fn accept(_: Option<Session>) -> Result<(), ApiError> {
                Ok(())
            }
        }
    )*};
}
anonymous!(NoAccessToken, NoAuthentication, AppserviceTokenOptional);

/// For plain axum handlers: wants an access token.
#[derive(Debug)]
pub struct Authenticated(pub Session);

impl FromRequestParts<ClientState> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ClientState) -> Result<Self, ApiError> {
        let session = authenticate(state, parts, peer_address(parts), true).await?;
        session.map(Self).ok_or_else(ApiError::missing_token)
    }
}

/// For plain axum handlers without a token: counts the request against the limits of its address.
#[derive(Debug)]
pub struct Anonymous(pub IpAddr);

impl FromRequestParts<ClientState> for Anonymous {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ClientState) -> Result<Self, ApiError> {
        let address = peer_address(parts);
        authenticate(state, parts, address, false).await?;
        Ok(Self(address))
    }
}

/// For plain axum handlers: a body that is one JSON object, with the same checks as for ruma's types.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ClientState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &ClientState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let body = body::read_json(&parts, body).await?;
        serde_json::from_slice(&body).map(Self).map_err(|error| ApiError::bad_json(error.to_string()))
    }
}

/// Registers `handler` under every path of `R`, stable, old and unstable.
///
/// # Panics
/// When two endpoints have the same path and method, at start-up.
pub fn route<R, H, F>(router: Router<ClientState>, handler: H) -> Router<ClientState>
where
    R: IncomingRequest + Send + 'static,
    R::Authentication: Scheme,
    R::OutgoingResponse: Send,
    H: Fn(ClientState, Args<R>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<R::OutgoingResponse, ApiError>> + Send + 'static,
{
    let method = MethodFilter::try_from(R::METHOD).expect("ruma's metadata names only standard methods");
    let answer = move |State(state): State<ClientState>, request: Request| {
        let handler = handler.clone();
        async move {
            let args = parse::<R>(&state, request).await?;
            let response = handler(state, args).await?;
            serialize(response)
        }
    };
    let mut paths: Vec<&str> = R::PATH_BUILDER.all_paths().collect();
    paths.sort_unstable();
    paths.dedup();
    let mut router = router;
    for path in paths {
        // An empty state key may leave its slash behind, or not.
        for path in
            [Some(path), path.strip_suffix("{state_key}"), path.strip_suffix("/{state_key}")].into_iter().flatten()
        {
            router = router.route(path, on(method, answer.clone()));
        }
    }
    router
}

/// Does everything that comes before the handler.
async fn parse<R>(state: &ClientState, request: Request) -> Result<Args<R>, ApiError>
where
    R: IncomingRequest,
    R::Authentication: Scheme,
{
    let (mut parts, body) = request.into_parts();
    let address = peer_address(&parts);
    let session = authenticate(state, &parts, address, R::Authentication::LOOKS).await;
    let session = match session.and_then(R::Authentication::accept) {
        Ok(session) => session,
        Err(refusal) => {
            body::discard(&parts, body).await;
            return Err(refusal);
        }
    };
    let path_args = path_args(&mut parts).await?;
    let body = if matches!(R::METHOD, Method::GET | Method::HEAD) {
        Bytes::new()
    } else {
        body::read_json(&parts, body).await?
    };
    let request = R::try_from_http_request(http::Request::from_parts(parts, body), &path_args).map_err(refuse)?;
    Ok(Args { request, session, address })
}

/// Checks the token (where the endpoint `looks` at one) and the rate limit.
async fn authenticate(
    state: &ClientState,
    parts: &Parts,
    address: IpAddr,
    looks: bool,
) -> Result<Option<Session>, ApiError> {
    let path = parts.extensions.get::<MatchedPath>().map_or(parts.uri.path(), MatchedPath::as_str);
    let class = Class::of(&parts.method, path);
    let limit = |caller| state.limiter.check(class, caller).map_err(ApiError::limit_exceeded);
    let token = if looks { token(&parts.headers, parts.uri.query())? } else { None };
    let Some(token) = token else {
        limit(Caller::address(address))?;
        return Ok(None);
    };
    match state.accounts.authenticate(&token).await {
        Ok(session) => {
            tracing::Span::current().record("user", session.user_id.as_str());
            limit(Caller::User(session.user_id.clone()))?;
            let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
            state.accounts.note_seen(&session, Some(address), user_agent);
            Ok(Some(session))
        }
        Err(error @ AccountError::UnknownToken { .. }) => {
            limit(Caller::address(address))?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The access token of a request: the `Authorization` header, else the deprecated query parameter
/// ([§](https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens)).
fn token(headers: &HeaderMap, query: Option<&str>) -> Result<Option<String>, ApiError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        return match token {
            Some(token) if !token.is_empty() => Ok(Some(token.to_owned())),
            _ => Err(ApiError::missing_token()),
        };
    }
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let token = pairs.find(|(name, _)| name == "access_token").map(|(_, token)| token.into_owned());
    Ok(token.filter(|token| !token.is_empty()))
}

/// Where a request comes from. `X-Forwarded-For` counts only when a proxy on this machine has set it, and only
/// its last entry, which is the one that the proxy itself has added.
fn peer_address(parts: &Parts) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let Some(peer) = peer else { return IpAddr::from([0, 0, 0, 0]) };
    if !peer.is_loopback() {
        return peer;
    }
    let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back();
    forwarded
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .and_then(|address| address.trim().trim_matches(['[', ']']).parse().ok())
        .unwrap_or(peer)
}

/// The path's variables, percent-decoded.
async fn path_args(parts: &mut Parts) -> Result<Vec<String>, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| ApiError::invalid_param("The path is not UTF-8."))?;
    Ok(params.iter().map(|(_, value)| value.to_owned()).collect())
}

/// What is wrong with a request that ruma's type does not accept. Its body is valid JSON.
fn refuse(error: FromHttpRequestError) -> ApiError {
    let FromHttpRequestError::Deserialization(error) = error else { return ApiError::wrong_method() };
    let message = error.to_string();
    match error {
        DeserializationError::Json(_) => ApiError::bad_json(message),
        DeserializationError::Utf8(_) => ApiError::not_json(message),
        // Path variables and query parameters.
        DeserializationError::Query(_) if message.starts_with("missing field") => ApiError::missing_param(message),
        _ => ApiError::invalid_param(message),
    }
}

/// Writes ruma's response type.
fn serialize<T: OutgoingResponse>(response: T) -> Result<Response, ApiError> {
    match response.try_into_http_response::<BytesMut>() {
        Ok(response) => Ok(response.map(|body| Body::from(body.freeze())).into_response()),
        Err(error) => Err(ApiError::internal(&error)),
    }
}
