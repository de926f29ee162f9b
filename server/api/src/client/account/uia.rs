//! [User-interactive authentication](https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api)
//! of a request, for every endpoint that wants it.
//!
//! ruma's types for `auth` refuse what clients send in practice (a password without identifier, the form before it), so
//! such endpoints take their body as [`Body`] and read it with [`Body::parse`] once the request is authorized.

use hearth_accounts::{Authorized, Challenge, Session, Stage, UiaOutcome, UiaRequest};
use ruma::api::{
    client::uiaa::{AuthFlow, AuthType, UiaaInfo},
    error::{ErrorKind, StandardErrorBody},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};

use crate::client::{
    ApiError, ClientState,
    rate_limit::{Caller, Class},
};

/// The only flow for users who are logged in: their password.
const PASSWORD: &[&[Stage]] = &[&[Stage::Password]];

/// A request's body, `auth` and the rest apart.
#[derive(Debug, Default)]
pub(crate) struct Body {
    auth: Option<Map<String, Value>>,
    rest: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rest = Map::deserialize(deserializer)?;
        let auth = match rest.remove("auth") {
            None | Some(Value::Null) => None,
            Some(Value::Object(auth)) => Some(auth),
            Some(_) => return Err(serde::de::Error::custom("auth must be an object")),
        };
        Ok(Self { auth, rest })
    }
}

impl Body {
    /// The rest as the endpoint's own type.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_value(Value::Object(self.rest.clone())).map_err(|error| {
            let message = error.to_string();
            if message.starts_with("missing field") {
                ApiError::missing_param(message)
            } else {
                ApiError::bad_json(message)
            }
        })
    }

    fn stage(&self) -> Option<&str> {
        self.auth.as_ref()?.get("type")?.as_str()
    }
}

/// Has the user confirm a request with their password. `operation` names the endpoint with the variables of its path:
/// what was begun for one request is of no use for another.
pub(crate) async fn confirm(
    state: &ClientState,
    session: &Session,
    operation: &str,
    body: &Body,
) -> Result<(), ApiError> {
    if body.stage() == Some(Stage::Password.as_str()) {
        // A stolen token must not be a way to try passwords.
        state.limiter.check(Class::Login, Caller::User(session.user_id.clone())).map_err(ApiError::limit_exceeded)?;
    }
    let outcome = state
        .accounts
        .authorize(UiaRequest {
            operation,
            body: &Value::Object(body.rest.clone()),
            session: Some((&session.user_id, &session.device_id)),
            flows: PASSWORD,
            auth: body.auth.as_ref(),
            keep_session: false,
        })
        .await?;
    match outcome {
        UiaOutcome::Authorized(_) => Ok(()),
        UiaOutcome::Challenge(challenge) => Err(answer(PASSWORD, &challenge)),
    }
}

/// Authenticates a registration. Its body may change from stage to stage (clients ask for the flows before anybody has
/// typed a name): what is authorized is to make one account.
pub(super) async fn authorize_registration(
    state: &ClientState,
    flows: &[&[Stage]],
    body: &Body,
) -> Result<Authorized, ApiError> {
    let outcome = state
        .accounts
        .authorize(UiaRequest {
            operation: "POST /register",
            body: &Value::Null,
            session: None,
            flows,
            auth: body.auth.as_ref(),
            keep_session: true,
        })
        .await?;
    match outcome {
        UiaOutcome::Authorized(authorized) => Ok(authorized),
        UiaOutcome::Challenge(challenge) => Err(answer(flows, &challenge)),
    }
}

/// The 401 that asks for the next stage.
fn answer(flows: &[&[Stage]], challenge: &Challenge) -> ApiError {
    let names = |stages: &[Stage]| stages.iter().map(|stage| AuthType::from(stage.as_str())).collect();
    let mut info = UiaaInfo::new(flows.iter().map(|flow| AuthFlow::new(names(flow))).collect());
    info.session = Some(challenge.session.clone());
    info.completed = names(&challenge.completed);
    // Optional, but some clients look into it without asking.
    info.params = Some(RawValue::from_string("{}".to_owned()).expect("an empty object is JSON"));
    info.auth_error = challenge.error.map(|(code, message)| {
        let kind = match code {
            "M_FORBIDDEN" => ErrorKind::Forbidden,
            "M_UNAUTHORIZED" => ErrorKind::Unauthorized,
            "M_MISSING_PARAM" => ErrorKind::MissingParam,
            "M_UNRECOGNIZED" => ErrorKind::Unrecognized,
            _ => ErrorKind::Unknown,
        };
        StandardErrorBody::new(kind, message.to_owned())
    });
    ApiError::interactive(info)
}
