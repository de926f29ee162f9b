//! [Push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules-api).

use axum::{
    Router,
    extract::State,
    routing::{get, put},
};
use hearth_accounts::push_rules::ruleset_json;
use ruma::api::client::push::{
    delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled, set_pushrule_actions,
    set_pushrule_enabled,
};
use ruma::{
    IdParseError, RoomId, UserId,
    push::{
        Action, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule, PushCondition, RuleKind,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    parts::{Path, Query},
    v3,
};
use crate::client::{
    ApiError, Args, ClientState,
    extract::{Authenticated, Json},
    route,
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = ["/pushrules", "/pushrules/"]
        .into_iter()
        .fold(Router::new(), |router, path| v3(router, path, &get(all_scopes)));
    let router = ["/pushrules/global", "/pushrules/global/"]
        .into_iter()
        .fold(router, |router, path| v3(router, path, &get(global_scope)));
    let router = route(router, get_rule);
    let router = v3(router, "/pushrules/global/{kind}/{rule_id}", &put(put_rule));
    let router = route(router, delete_rule);
    let router = route(router, get_enabled);
    let router = route(router, put_enabled);
    let router = route(router, get_actions);
    route(router, put_actions)
}

fn unknown() -> ApiError {
    ApiError::not_found("There is no such push rule.")
}

/// `GET /pushrules/`. Not by ruma's type, which leaves kinds without rules out.
async fn all_scopes(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
) -> Result<axum::Json<Value>, ApiError> {
    let rules = state.accounts.push_rules(&session.user_id).await?;
    Ok(axum::Json(json!({ "global": ruleset_json(&rules)? })))
}

/// `GET /pushrules/global/`
async fn global_scope(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
) -> Result<axum::Json<Value>, ApiError> {
    let rules = state.accounts.push_rules(&session.user_id).await?;
    Ok(axum::Json(ruleset_json(&rules)?))
}

/// `GET /pushrules/global/{kind}/{ruleId}`
async fn get_rule(
    state: ClientState,
    args: Args<get_pushrule::v3::Request>,
) -> Result<get_pushrule::v3::Response, ApiError> {
    let rules = state.accounts.push_rules(&args.session.user_id).await?;
    let rule = rules.get(args.request.kind, args.request.rule_id).ok_or_else(unknown)?;
    Ok(get_pushrule::v3::Response::new(rule.into()))
}

#[derive(Deserialize)]
struct Position {
    before: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    actions: Vec<Action>,
    #[serde(default)]
    conditions: Vec<PushCondition>,
    pattern: Option<String>,
}

impl Rule {
    fn into_rule(self, kind: &RuleKind, id: String) -> Result<NewPushRule, ApiError> {
        let not_an_id = |error: IdParseError| ApiError::invalid_param(format!("{id}: {error}"));
        Ok(match kind {
            RuleKind::Override => NewPushRule::Override(NewConditionalPushRule::new(id, self.conditions, self.actions)),
            RuleKind::Underride => {
                NewPushRule::Underride(NewConditionalPushRule::new(id, self.conditions, self.actions))
            }
            RuleKind::Content => {
                let pattern = self.pattern.ok_or_else(|| ApiError::missing_param("pattern is missing."))?;
                NewPushRule::Content(NewPatternedPushRule::new(id, pattern, self.actions))
            }
            RuleKind::Room => {
                let room = RoomId::parse(&id).map_err(not_an_id)?;
                NewPushRule::Room(NewSimplePushRule::new(room, self.actions))
            }
            RuleKind::Sender => {
                let sender = UserId::parse(&id).map_err(not_an_id)?;
                NewPushRule::Sender(NewSimplePushRule::new(sender, self.actions))
            }
            _ => return Err(ApiError::invalid_param("There is no such kind of push rule.")),
        })
    }
}

/// `PUT /pushrules/global/{kind}/{ruleId}`. Not by ruma's type, which refuses a rule without conditions.
async fn put_rule(
    State(state): State<ClientState>,
    Path((kind, id)): Path<(RuleKind, String)>,
    Query(position): Query<Position>,
    Authenticated(session): Authenticated,
    Json(rule): Json<Rule>,
) -> Result<axum::Json<Value>, ApiError> {
    let rule = rule.into_rule(&kind, id)?;
    let (after, before) = (position.after.as_deref(), position.before.as_deref());
    state.accounts.put_push_rule(&session.user_id, rule, after, before).await?;
    Ok(axum::Json(json!({})))
}

/// `DELETE /pushrules/global/{kind}/{ruleId}`
async fn delete_rule(
    state: ClientState,
    args: Args<delete_pushrule::v3::Request>,
) -> Result<delete_pushrule::v3::Response, ApiError> {
    state.accounts.delete_push_rule(&args.session.user_id, args.request.kind, &args.request.rule_id).await?;
    Ok(delete_pushrule::v3::Response::new())
}

/// `GET /pushrules/global/{kind}/{ruleId}/enabled`
async fn get_enabled(
    state: ClientState,
    args: Args<get_pushrule_enabled::v3::Request>,
) -> Result<get_pushrule_enabled::v3::Response, ApiError> {
    let rules = state.accounts.push_rules(&args.session.user_id).await?;
    let rule = rules.get(args.request.kind, args.request.rule_id).ok_or_else(unknown)?;
    Ok(get_pushrule_enabled::v3::Response::new(rule.enabled()))
}

/// `PUT /pushrules/global/{kind}/{ruleId}/enabled`
async fn put_enabled(
    state: ClientState,
    args: Args<set_pushrule_enabled::v3::Request>,
) -> Result<set_pushrule_enabled::v3::Response, ApiError> {
    let set_pushrule_enabled::v3::Request { kind, rule_id, enabled, .. } = args.request;
    state.accounts.enable_push_rule(&args.session.user_id, kind, &rule_id, enabled).await?;
    Ok(set_pushrule_enabled::v3::Response::new())
}

/// `GET /pushrules/global/{kind}/{ruleId}/actions`
async fn get_actions(
    state: ClientState,
    args: Args<get_pushrule_actions::v3::Request>,
) -> Result<get_pushrule_actions::v3::Response, ApiError> {
    let rules = state.accounts.push_rules(&args.session.user_id).await?;
    let rule = rules.get(args.request.kind, args.request.rule_id).ok_or_else(unknown)?;
    Ok(get_pushrule_actions::v3::Response::new(rule.actions().to_vec()))
}

/// `PUT /pushrules/global/{kind}/{ruleId}/actions`
async fn put_actions(
    state: ClientState,
    args: Args<set_pushrule_actions::v3::Request>,
) -> Result<set_pushrule_actions::v3::Response, ApiError> {
    let set_pushrule_actions::v3::Request { kind, rule_id, actions, .. } = args.request;
    state.accounts.set_push_rule_actions(&args.session.user_id, kind, &rule_id, actions).await?;
    Ok(set_pushrule_actions::v3::Response::new())
}
