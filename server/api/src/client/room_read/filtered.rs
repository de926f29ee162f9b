//! Requests with a `filter` parameter. ruma's filter type does not know all of its fields, so it is parsed once more.

use std::borrow::Cow;

use hearth_rooms::EventFilter;
use http::Method;
use ruma::api::{
    IncomingRequest, Metadata,
    error::{DeserializationError, FromHttpRequestError},
};

/// ruma's request `R` with the whole filter.
pub(super) struct Filtered<R> {
    pub(super) request: R,
    pub(super) filter: EventFilter,
}

impl<R: Metadata> Metadata for Filtered<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: R::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for Filtered<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request<B, S>(request: http::Request<B>, path_args: &[S]) -> Result<Self, FromHttpRequestError>
    where
        B: AsRef<[u8]>,
        S: AsRef<str>,
    {
        let query = request.uri().query().unwrap_or_default();
        let filter = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "filter")
            .map_or(Cow::Borrowed("{}"), |(_, value)| value);
        // Broken JSON in the query is a bad parameter, which is what ruma's own parser makes of it, too.
        let filter = serde_json::from_str(&filter).map_err(|error| {
            let error = serde::de::Error::custom(format!("filter: {error}"));
            FromHttpRequestError::Deserialization(DeserializationError::Query(error))
        })?;
        Ok(Self { request: R::try_from_http_request(request, path_args)?, filter })
    }
}
