//! Requests with a field that the specification makes optional and ruma's type wants.

use std::borrow::Cow;

use http::{Method, Uri};
use ruma::api::{
    IncomingRequest, Metadata,
    client::{
        directory::set_room_visibility::v3 as set_room_visibility, threads::get_threads::v1 as get_threads,
        typing::create_typing_event::v3 as create_typing_event,
    },
    error::{DeserializationError, FromHttpRequestError},
};
use serde_json::{Map, Value};

/// ruma's request `R`, with the field's default where a client leaves it out.
pub(super) struct Optional<R>(pub(super) R);

/// The field that may be missing.
pub(super) enum Field {
    /// A query parameter and its default.
    Query(&'static str, &'static str),
    /// A field of the body and its default, in JSON.
    Body(&'static str, fn() -> Value),
}

/// A request of ruma's with a field of which the specification says more.
pub(super) trait HasOptional: IncomingRequest {
    /// The field.
    const FIELD: Field;
}

/// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads>
impl HasOptional for get_threads::Request {
    const FIELD: Field = Field::Query("include", "all");
}

/// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid>
impl HasOptional for set_room_visibility::Request {
    const FIELD: Field = Field::Body("visibility", || "public".into());
}

/// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid>. The specification leaves
/// the time to the server: as long as clients type before they say so again.
impl HasOptional for create_typing_event::Request {
    const FIELD: Field = Field::Body("timeout", || 30_000.into());
}

impl<R: Metadata> Metadata for Optional<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: R::PathBuilder = R::PATH_BUILDER;
}

impl<R: HasOptional> IncomingRequest for Optional<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request<B, S>(request: http::Request<B>, path_args: &[S]) -> Result<Self, FromHttpRequestError>
    where
        B: AsRef<[u8]>,
        S: AsRef<str>,
    {
        let (mut parts, body) = request.into_parts();
        let mut body = Cow::Borrowed(body.as_ref());
        match R::FIELD {
            Field::Query(name, default) => {
                let query = parts.uri.query().unwrap_or_default();
                if !url::form_urlencoded::parse(query.as_bytes()).any(|(given, _)| given == name) {
                    // The path has been taken apart before; what is left of the address is the query.
                    let query = format!("/?{query}&{name}={default}");
                    parts.uri = Uri::try_from(query).map_err(|error| {
                        FromHttpRequestError::Deserialization(DeserializationError::Query(serde::de::Error::custom(
                            error,
                        )))
                    })?;
                }
            }
            Field::Body(name, default) => {
                let mut fields: Map<String, Value> =
                    serde_json::from_slice(&body).map_err(DeserializationError::Json)?;
                if !fields.contains_key(name) {
                    fields.insert(name.to_owned(), default());
                    body = serde_json::to_vec(&fields).map_err(DeserializationError::Json)?.into();
                }
            }
        }
        R::try_from_http_request(http::Request::from_parts(parts, body), path_args).map(Self)
    }
}
