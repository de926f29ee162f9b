//! [`GET /sync`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync).

use bytes::BufMut;
use hearth_accounts::AccountError;
use http::Method;
use ruma::api::{
    IncomingRequest, Metadata, OutgoingResponse,
    client::sync::sync_events::v3,
    error::{FromHttpRequestError, IntoHttpError},
};
use serde_json::{Map, Value, json};

use crate::client::{ApiError, Args, ClientState};

/// Answers when there is something new, when the time is over, or when the session ends meanwhile.
pub(super) async fn sync(state: ClientState, args: Args<Request>) -> Result<Response, ApiError> {
    let (user, device, request) = (&args.session.user_id, &args.session.device_id, &args.request.0);
    let answer = async {
        let answer = state.sync.sync(user, device, request).await?;
        state.in_flight.settle(&args.session).await;
        Ok(Response(answer))
    };
    if request.since.is_none() || request.timeout.is_none_or(|timeout| timeout.is_zero()) {
        return answer.await;
    }
    tokio::select! {
        // In this order: what happens after the end of a session is not for its client.
        biased;
        gone = state.accounts.device_gone(user, device) => {
            gone?;
            Err(ApiError::unknown_token(false))
        }
        answer = answer => {
            let answer = answer?;
            match state.accounts.device(user, device).await {
                Ok(_) => Ok(answer),
                Err(AccountError::DeviceNotFound) => Err(ApiError::unknown_token(false)),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// ruma's request, with an answer that is written by [`Response`].
pub(super) struct Request(v3::Request);

impl Metadata for Request {
    const METHOD: Method = v3::Request::METHOD;
    const RATE_LIMITED: bool = v3::Request::RATE_LIMITED;
    type Authentication = <v3::Request as Metadata>::Authentication;
    type PathBuilder = <v3::Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = v3::Request::PATH_BUILDER;
}

impl IncomingRequest for Request {
    type EndpointError = <v3::Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request<B, S>(request: http::Request<B>, path_args: &[S]) -> Result<Self, FromHttpRequestError>
    where
        B: AsRef<[u8]>,
        S: AsRef<str>,
    {
        v3::Request::try_from_http_request(request, path_args).map(Self)
    }
}

/// ruma's response. ruma leaves `rooms` out when all that it holds is knocks.
pub(super) struct Response(v3::Response);

impl OutgoingResponse for Response {
    fn try_into_http_response<T: Default + BufMut>(self) -> Result<http::Response<T>, IntoHttpError> {
        let rooms = &self.0.rooms;
        if !rooms.is_empty() || rooms.knock.is_empty() {
            return self.0.try_into_http_response();
        }
        let knock = serde_json::to_value(&rooms.knock)?;
        let (parts, body) = self.0.try_into_http_response::<Vec<u8>>()?.into_parts();
        let mut body: Map<String, Value> = serde_json::from_slice(&body)?;
        body.insert("rooms".to_owned(), json!({ "knock": knock }));
        let mut written = T::default();
        written.put_slice(&serde_json::to_vec(&body)?);
        Ok(http::Response::from_parts(parts, written))
    }
}
