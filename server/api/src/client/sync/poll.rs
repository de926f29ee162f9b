//! [`GET /sync`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync).

use std::collections::BTreeMap;

use bytes::BufMut;
use hearth_accounts::AccountError;
use http::Method;
use ruma::api::{
    IncomingRequest, Metadata, OutgoingResponse,
    client::sync::sync_events::v3,
    error::{FromHttpRequestError, IntoHttpError},
};
use serde_json::value::{RawValue, to_raw_value};

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

/// ruma's response, with what ruma leaves out of it.
pub(super) struct Response(v3::Response);

/// A part of a body whose fields stay as they are written.
type Fields = BTreeMap<String, Box<RawValue>>;

impl OutgoingResponse for Response {
    fn try_into_http_response<T: Default + BufMut>(self) -> Result<http::Response<T>, IntoHttpError> {
        let rooms = &self.0.rooms;
        if rooms.knock.is_empty() && rooms.leave.is_empty() {
            return self.0.try_into_http_response();
        }
        let knock = to_raw_value(&rooms.knock)?;
        let (parts, body) = self.0.try_into_http_response::<Vec<u8>>()?.into_parts();
        let mut body: Fields = serde_json::from_slice(&body)?;
        let mut rooms: Fields = match body.get("rooms") {
            Some(rooms) => serde_json::from_str(rooms.get())?,
            // ruma takes rooms that are knocks alone for no rooms.
            None => Fields::from([("knock".to_owned(), knock)]),
        };
        if let Some(leave) = rooms.get("leave") {
            let mut leave: BTreeMap<String, Fields> = serde_json::from_str(leave.get())?;
            for room in leave.values_mut() {
                complete(room)?;
            }
            rooms.insert("leave".to_owned(), to_raw_value(&leave)?);
        }
        body.insert("rooms".to_owned(), to_raw_value(&rooms)?);
        let mut written = T::default();
        written.put_slice(&serde_json::to_vec(&body)?);
        Ok(http::Response::from_parts(parts, written))
    }
}

/// Gives a left room its sections where they are empty: some clients (matrix-nio) take no response without them.
fn complete(room: &mut Fields) -> serde_json::Result<()> {
    let has_state = room.contains_key("state") || room.contains_key("state_after");
    for (section, is_there) in [("state", has_state), ("timeline", false)] {
        let mut fields: Fields = match room.get(section) {
            Some(fields) => serde_json::from_str(fields.get())?,
            None if is_there => continue,
            None => Fields::new(),
        };
        if !fields.contains_key("events") {
            fields.insert("events".to_owned(), to_raw_value(&[(); 0])?);
            room.insert(section.to_owned(), to_raw_value(&fields)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_ruma_leaves_out() {
        let mut response = v3::Response::new("1".to_owned());
        let write = |response: &v3::Response| -> Value {
            let response = Response(response.clone()).try_into_http_response::<Vec<u8>>().unwrap();
            serde_json::from_slice(response.body()).unwrap()
        };
        assert_eq!(write(&response).get("rooms"), None);
        let room = ruma::owned_room_id!("!r:example.org");
        response.rooms.knock.insert(room.clone(), v3::KnockedRoom::new());
        assert_eq!(write(&response)["rooms"], json!({ "knock": { "!r:example.org": {} } }));
        response.rooms.knock.clear();
        response.rooms.leave.insert(room, v3::LeftRoom::new());
        let empty = json!({ "events": [] });
        assert_eq!(write(&response)["rooms"]["leave"]["!r:example.org"], json!({ "state": empty, "timeline": empty }));
    }
}
