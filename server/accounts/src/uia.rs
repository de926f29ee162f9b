//! [User-interactive authentication](https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api).
//!
//! A session is stored with a digest of the one request that it may authorize (operation, user, device and body): it is of
//! no use for another one. It ends when it authorizes, except that of a registration, which ends together with the
//! creation of the account ([`Accounts::register`]).

use hearth_store::Transaction;
use ruma::{DeviceId, UserId};
use serde_json::{Map, Value};

use crate::{
    AccountError, Accounts,
    canonical::canonical,
    expiry::{Expiring, expire_at},
    keys::{REGISTRATION_TOKEN, UIA},
    records::UiaRecord,
    registration_tokens::release_pending,
    secrets::{digest, new_id},
};

/// How long a session is valid, in milliseconds: the time to type a password, or to find a registration token.
const SESSION_MS: u64 = 3_600_000;
/// Longest session id that is looked up, in bytes.
const SESSION_ID_BYTES: usize = 64;

/// A stage that this server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// `m.login.password`
    Password,
    /// `m.login.dummy`
    Dummy,
    /// `m.login.registration_token`
    RegistrationToken,
}

impl Stage {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "m.login.password",
            Self::Dummy => "m.login.dummy",
            Self::RegistrationToken => "m.login.registration_token",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Password, Self::Dummy, Self::RegistrationToken].into_iter().find(|stage| stage.as_str() == name)
    }
}

/// A request that needs authentication.
#[derive(Debug, Clone, Copy)]
pub struct UiaRequest<'a> {
    /// What is to be done: method and path, or a name.
    pub operation: &'a str,
    /// The request's body without `auth`, as far as it must stay the same from stage to stage.
    pub body: &'a Value,
    /// Who asks; `None` for a registration.
    pub session: Option<(&'a UserId, &'a DeviceId)>,
    /// The flows: each a list of stages to complete in order. Any one will do.
    pub flows: &'a [&'a [Stage]],
    /// The request's `auth`.
    pub auth: Option<&'a Map<String, Value>>,
    /// Whether the session outlives the authorization, to end in [`Accounts::register`].
    pub keep_session: bool,
}

/// Proof that a request was authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorized {
    /// Through a session.
    Session(String),
    /// By one request with everything in it, without a session.
    AtOnce {
        /// The stored registration token that was given.
        registration_token: Option<String>,
    },
}

/// What the client must still do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The session.
    pub session: String,
    /// Stages that are complete.
    pub completed: Vec<Stage>,
    /// Why the last stage failed, if it did: error code and text.
    pub error: Option<(&'static str, &'static str)>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UiaOutcome {
    /// Go ahead.
    Authorized(Authorized),
    /// Answer 401 with this.
    Challenge(Challenge),
}

/// What a stage found.
enum Attempt {
    /// Complete; with the stored registration token it used.
    Passed { registration_token: Option<String> },
    /// Refused: error code and text.
    Failed(&'static str, &'static str),
}

/// Whether `stages` begin a flow.
fn is_prefix(flows: &[&[Stage]], stages: &[Stage]) -> bool {
    flows.iter().any(|flow| flow.starts_with(stages))
}

/// Whether `stages` are all of a flow.
fn is_complete(flows: &[&[Stage]], stages: &[Stage]) -> bool {
    flows.contains(&stages)
}

impl Accounts {
    /// Takes a request one step further.
    pub async fn authorize(&self, request: UiaRequest<'_>) -> Result<UiaOutcome, AccountError> {
        let binding = binding(&request);
        let text = |name: &str| request.auth.and_then(|auth| auth.get(name)).and_then(Value::as_str);
        let id = text("session").filter(|id| id.len() <= SESSION_ID_BYTES);
        let stage = text("type");

        let Some(id) = id else {
            // Many clients send the only stage at once.
            let Some(stage) = stage.and_then(Stage::from_name) else {
                return self.challenge(&binding, &[], None).await;
            };
            if !is_prefix(request.flows, &[stage]) {
                return self.challenge(&binding, &[], None).await;
            }
            return match self.attempt(stage, &request).await? {
                Attempt::Failed(code, message) => self.challenge(&binding, &[], Some((code, message))).await,
                Attempt::Passed { registration_token } if is_complete(request.flows, &[stage]) => {
                    Ok(UiaOutcome::Authorized(Authorized::AtOnce { registration_token }))
                }
                Attempt::Passed { registration_token } => {
                    self.challenge(&binding, &[(stage, registration_token)], None).await
                }
            };
        };

        let Some(record) = self.uia_session(id).await? else {
            let over = ("M_UNKNOWN", "the authentication session is unknown or over");
            return self.challenge(&binding, &[], Some(over)).await;
        };
        if record.binding != binding {
            return Err(AccountError::Forbidden("the requested operation changed during authentication"));
        }
        let mut completed: Vec<Stage> = record.completed.iter().filter_map(|name| Stage::from_name(name)).collect();
        let mut error = None;
        // Without a type, the client only asks how it stands; a stage that is complete is not tried again.
        if let Some(name) = stage
            && !record.completed.iter().any(|done| done == name)
        {
            let next = Stage::from_name(name).filter(|stage| {
                let mut stages = completed.clone();
                stages.push(*stage);
                is_prefix(request.flows, &stages)
            });
            error = match next {
                None => Some(("M_UNRECOGNIZED", "this stage is not the next one of any flow")),
                Some(stage) => match self.attempt(stage, &request).await? {
                    Attempt::Failed(code, message) => Some((code, message)),
                    Attempt::Passed { registration_token } => {
                        match self.complete(id, &record, stage, registration_token).await? {
                            None => {
                                completed.push(stage);
                                None
                            }
                            failed => failed,
                        }
                    }
                },
            };
        }
        if error.is_none() && is_complete(request.flows, &completed) {
            if !request.keep_session && !self.end_session(id).await? {
                // Another request with the same session was faster.
                return Err(AccountError::Forbidden("the authentication session is over"));
            }
            return Ok(UiaOutcome::Authorized(Authorized::Session(id.to_owned())));
        }
        Ok(UiaOutcome::Challenge(Challenge { session: id.to_owned(), completed, error }))
    }

    /// A session that is not over.
    async fn uia_session(&self, id: &str) -> Result<Option<UiaRecord>, AccountError> {
        let record = UIA.get_snapshot(&self.store.begin(), (id,)).await?;
        Ok(record.filter(|record| self.clock.now() < record.expires_ts))
    }

    /// Begins a session, perhaps with a stage that is complete.
    async fn challenge(
        &self,
        binding: &str,
        done: &[(Stage, Option<String>)],
        error: Option<(&'static str, &'static str)>,
    ) -> Result<UiaOutcome, AccountError> {
        let id = &new_id(24);
        let (expires_ts, now) = (self.clock.now() + SESSION_MS, self.clock.now());
        self.store
            .transact("accounts.begin_uia", |tx| async move {
                let mut record = UiaRecord {
                    expires_ts,
                    binding: binding.to_owned(),
                    completed: Vec::new(),
                    registration_token: None,
                };
                for (stage, token) in done {
                    if let Some(token) = token {
                        take_pending(&tx, token, now).await?;
                        record.registration_token = Some(token.clone());
                    }
                    record.completed.push(stage.as_str().to_owned());
                }
                UIA.set(&tx, (id,), &record);
                expire_at(&tx, expires_ts, Expiring::Uia, id);
                Ok::<_, AccountError>(())
            })
            .await?;
        let completed = done.iter().map(|(stage, _)| *stage).collect();
        Ok(UiaOutcome::Challenge(Challenge { session: id.clone(), completed, error }))
    }

    /// Writes down that a stage is complete. `seen` is the session as it was when the stage was tried.
    async fn complete(
        &self,
        id: &str,
        seen: &UiaRecord,
        stage: Stage,
        registration_token: Option<String>,
    ) -> Result<Option<(&'static str, &'static str)>, AccountError> {
        let (token, now) = (&registration_token, self.clock.now());
        let result = self
            .store
            .transact("accounts.complete_uia_stage", |tx| async move {
                let record = UIA.get(&tx, (id,)).await?;
                let Some(mut record) = record.filter(|record| record.completed == seen.completed) else {
                    return Err(AccountError::Forbidden("another request continued this session"));
                };
                if let Some(token) = token {
                    take_pending(&tx, token, now).await?;
                    record.registration_token = Some(token.clone());
                }
                record.completed.push(stage.as_str().to_owned());
                UIA.set(&tx, (id,), &record);
                Ok(())
            })
            .await;
        match result {
            Ok(()) => Ok(None),
            Err(AccountError::Forbidden(message)) => Ok(Some(("M_FORBIDDEN", message))),
            Err(error) => Err(error),
        }
    }

    /// Ends a session; whether it was there.
    async fn end_session(&self, id: &str) -> Result<bool, AccountError> {
        self.store
            .transact("accounts.end_uia", |tx| async move {
                let Some(record) = UIA.get(&tx, (id,)).await? else { return Ok(false) };
                release_pending(&tx, record.registration_token.as_deref(), false).await?;
                UIA.clear(&tx, (id,));
                Ok(true)
            })
            .await
    }

    /// Tries one stage. Changes nothing.
    async fn attempt(&self, stage: Stage, request: &UiaRequest<'_>) -> Result<Attempt, AccountError> {
        let empty = Map::new();
        let auth = request.auth.unwrap_or(&empty);
        match stage {
            Stage::Dummy => Ok(Attempt::Passed { registration_token: None }),
            Stage::RegistrationToken => {
                let Some(token) = auth.get("token").and_then(Value::as_str) else {
                    return Ok(Attempt::Failed("M_MISSING_PARAM", "token is missing"));
                };
                if !self.registration_token_valid(token).await? {
                    return Ok(Attempt::Failed("M_UNAUTHORIZED", "invalid registration token"));
                }
                let registration_token = (!self.is_configured_token(token)).then(|| token.to_owned());
                Ok(Attempt::Passed { registration_token })
            }
            Stage::Password => {
                const WRONG: Attempt = Attempt::Failed("M_FORBIDDEN", "invalid password");
                let Some((user, _)) = request.session else { return Ok(WRONG) };
                let Some(password) = auth.get("password").and_then(Value::as_str) else {
                    return Ok(Attempt::Failed("M_MISSING_PARAM", "password is missing"));
                };
                // Some clients leave the identifier out or use the form before it; whoever is meant, it must be the user.
                let identifier = auth.get("identifier").and_then(|identifier| identifier.get("user"));
                let name = identifier.or_else(|| auth.get("user")).and_then(Value::as_str).unwrap_or(user.as_str());
                match self.check_password(name, password).await {
                    Ok(found) if found == user => Ok(Attempt::Passed { registration_token: None }),
                    Ok(_) | Err(AccountError::Forbidden(_)) => Ok(WRONG),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// Counts a session as pending for a registration token, if the token still allows it.
async fn take_pending(tx: &Transaction, token: &str, now: u64) -> Result<(), AccountError> {
    let record = REGISTRATION_TOKEN.get(tx, (token,)).await?;
    let mut record =
        record.filter(|record| record.valid(now)).ok_or(AccountError::Forbidden("invalid registration token"))?;
    record.pending += 1;
    REGISTRATION_TOKEN.set(tx, (token,), &record);
    Ok(())
}

/// Digest of what a session may authorize.
fn binding(request: &UiaRequest<'_>) -> String {
    let who = request.session.map(|(user, device)| [user.as_str(), device.as_str()]);
    digest(canonical(&serde_json::json!([request.operation, who, request.body])))
}

#[cfg(test)]
#[path = "uia_tests.rs"]
mod tests;
