//! [Push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules-api).

use axum::{Router, extract::State, routing::get};
use hearth_accounts::push_rules::ruleset_json;
use ruma::api::client::push::{
    delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled, set_pushrule, set_pushrule_actions,
    set_pushrule_enabled,
};
use serde_json::{Value, json};

use super::v3;
use crate::client::{ApiError, Args, ClientState, extract::Authenticated, route};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = ["/pushrules", "/pushrules/"]
        .into_iter()
        .fold(Router::new(), |router, path| v3(router, path, &get(all_scopes)));
    let router = ["/pushrules/global", "/pushrules/global/"]
        .into_iter()
        .fold(router, |router, path| v3(router, path, &get(global_scope)));
    let router = route(router, get_rule);
    let router = route(router, put_rule);
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

/// `PUT /pushrules/global/{kind}/{ruleId}`
async fn put_rule(
    state: ClientState,
    args: Args<set_pushrule::v3::Request>,
) -> Result<set_pushrule::v3::Response, ApiError> {
    let set_pushrule::v3::Request { rule, before, after, .. } = args.request;
    state.accounts.put_push_rule(&args.session.user_id, rule, after.as_deref(), before.as_deref()).await?;
    Ok(set_pushrule::v3::Response::new())
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
