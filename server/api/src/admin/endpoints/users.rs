//! Users of this server: list, create, password, deactivation, devices.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_accounts::{AccountError, Accounts, Device as AccountDevice, NewUser, User as Account};
use hearth_jobs::kinds;
use http::StatusCode;
use rand::{Rng, rngs::OsRng};
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Body, Path, Query};
use crate::admin::{
    error::{AdminError, ErrorCode},
    state::Admin,
};

/// Most users on one page.
const MOST_USERS: usize = 200;

/// Which users to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct ListQuery {
    /// Only users whose localpart or display name contains this, in any case.
    search: Option<String>,
    /// Users after this localpart, as `next` of the page before says.
    after: Option<String>,
    /// At most so many; 50 unless told otherwise, at most 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// A page of users, by localpart.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct UserList {
    /// The users.
    users: Vec<User>,
    /// Pass it as `after` for the next page; absent on the last.
    next: Option<String>,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct User {
    /// User id.
    user_id: String,
    /// Display name.
    display_name: Option<String>,
    /// Administrator of this server.
    admin: bool,
    /// Deactivated for ever.
    deactivated: bool,
    /// When the account was made, Unix milliseconds.
    created_at: u64,
    /// When any of its devices was last seen, Unix milliseconds.
    last_seen_at: Option<u64>,
    /// Devices that are logged in.
    devices: u64,
}

impl From<Account> for User {
    fn from(user: Account) -> Self {
        Self {
            user_id: user.user_id.into(),
            display_name: user.displayname,
            admin: user.admin,
            deactivated: user.deactivated,
            created_at: user.created_ts,
            last_seen_at: user.last_seen_ts,
            devices: user.devices as u64,
        }
    }
}

/// A user to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::admin) struct CreateUser {
    /// The part of the user id between `@` and `:`.
    localpart: String,
    /// Password; made up where it is missing.
    password: Option<String>,
    /// Name that others see; the localpart where it is missing.
    display_name: Option<String>,
    /// Administrator of this server.
    #[serde(default)]
    admin: bool,
}

/// A user that was made.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::admin) struct CreatedUser {
    /// The user.
    user: User,
    /// The password that was made up, shown this once.
    generated_password: Option<String>,
}

/// A new password.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::admin) struct ResetPassword {
    /// The password; made up where it is missing.
    password: Option<String>,
    /// Log every device out. Yes unless told otherwise.
    #[serde(default = "yes")]
    logout_devices: bool,
}

fn yes() -> bool {
    true
}

/// A password that was reset.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::admin) struct PasswordWasReset {
    /// The password that was made up, shown this once.
    generated_password: Option<String>,
}

/// How to deactivate a user.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(in crate::admin) struct DeactivateUser {
    /// Note the wish that the user's messages be hidden from people who join later.
    #[serde(default)]
    erase: bool,
}

/// Whether a user is an administrator.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::admin) struct SetAdmin {
    /// Whether they are to be one.
    admin: bool,
}

/// A device of a user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Device {
    /// Device id.
    device_id: String,
    /// Its name.
    display_name: Option<String>,
    /// When it first logged in, Unix milliseconds.
    created_at: u64,
    /// When it was last seen, Unix milliseconds.
    last_seen_at: Option<u64>,
    /// From where.
    last_seen_ip: Option<String>,
    /// With what client.
    last_seen_user_agent: Option<String>,
}

impl From<AccountDevice> for Device {
    fn from(device: AccountDevice) -> Self {
        Self {
            device_id: device.device_id.into(),
            display_name: device.display_name,
            created_at: device.created_ts,
            last_seen_at: device.last_seen_ts,
            last_seen_ip: device.last_seen_ip,
            last_seen_user_agent: device.last_seen_user_agent,
        }
    }
}

impl From<AccountError> for AdminError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::UserNotFound => Self::not_found("There is no such user on this server."),
            AccountError::DeviceNotFound => Self::not_found("The user has no such device (any more)."),
            AccountError::NotFound(what) => Self::not_found(format!("There is no such {what} (any more).")),
            AccountError::UserInUse => Self::conflict("localpart", "This name is taken, or was."),
            AccountError::UserDeactivated => Self::new(ErrorCode::Conflict, "This account has been deactivated."),
            AccountError::InvalidUsername(message) => Self::invalid("localpart", message),
            AccountError::WeakPassword(message) => Self::invalid("password", message),
            AccountError::InvalidParam(message) => Self::new(ErrorCode::Invalid, message),
            error => Self::internal(&error),
        }
    }
}

/// The user of this id, who must be one of this server.
async fn find(accounts: &Accounts, user_id: &str) -> Result<Account, AdminError> {
    let user_id = UserId::parse(user_id).map_err(|_| AdminError::invalid("user_id", "This is not a user id."))?;
    accounts.user(&user_id).await?.ok_or_else(|| AccountError::UserNotFound.into())
}

/// Like [`find`], for what only makes sense while the account is in use.
async fn find_active(accounts: &Accounts, user_id: &str) -> Result<OwnedUserId, AdminError> {
    let user = find(accounts, user_id).await?;
    if user.deactivated { Err(AccountError::UserDeactivated.into()) } else { Ok(user.user_id) }
}

/// A password to be read out and typed: five groups of four, without letters that look alike; 100 bits.
fn make_up_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let group = || (0..4).map(|_| char::from(LETTERS[OsRng.gen_range(0..LETTERS.len())])).collect::<String>();
    (0..5).map(|_| group()).collect::<Vec<_>>().join("-")
}

/// The password to set, and the one to show when it was made up.
fn choose_password(given: Option<String>) -> (String, Option<String>) {
    if let Some(password) = given {
        return (password, None);
    }
    let password = make_up_password();
    (password.clone(), Some(password))
}

/// Users, with search and paging.
#[utoipa::path(get, path = "/users", operation_id = "list_users", tag = "users", params(ListQuery), responses(
    (status = OK, body = UserList),
    (status = "default", body = AdminError),
))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<UserList>, AdminError> {
    let limit = query.limit.unwrap_or(50).clamp(1, MOST_USERS);
    let search = query.search.as_deref().filter(|search| !search.is_empty());
    // One more than asked for tells whether there is a next page.
    let mut users = admin.parts.accounts.list_users(search, query.after.as_deref(), limit + 1).await?;
    let more = users.len() > limit;
    users.truncate(limit);
    let next = users.last().filter(|_| more).map(|user| user.user_id.localpart().to_owned());
    Ok(Json(UserList { users: users.into_iter().map(User::from).collect(), next }))
}

/// Makes a user.
#[utoipa::path(post, path = "/users", operation_id = "create_user", tag = "users", request_body = CreateUser, responses(
    (status = CREATED, body = CreatedUser),
    (status = "default", body = AdminError),
))]
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Body(body): Body<CreateUser>,
) -> Result<(StatusCode, Json<CreatedUser>), AdminError> {
    let accounts = &admin.parts.accounts;
    let (password, generated_password) = choose_password(body.password);
    let new = NewUser {
        localpart: Some(&body.localpart),
        password: Some(&password),
        admin: body.admin,
        displayname: body.display_name.as_deref().map(str::trim).filter(|name| !name.is_empty()),
    };
    let user_id = accounts.create_user(new).await?;
    tracing::info!(%user_id, admin = body.admin, "user created by the administrator");
    let user = accounts.user(&user_id).await?.ok_or(AccountError::UserNotFound)?;
    Ok((StatusCode::CREATED, Json(CreatedUser { user: user.into(), generated_password })))
}

/// One user.
#[utoipa::path(get, path = "/users/{user_id}", operation_id = "get_user", tag = "users", params(("user_id" = String, Path)), responses(
    (status = OK, body = User),
    (status = "default", body = AdminError),
))]
pub(super) async fn get(
    State(admin): State<Arc<Admin>>,
    Path(user_id): Path<String>,
) -> Result<Json<User>, AdminError> {
    Ok(Json(find(&admin.parts.accounts, &user_id).await?.into()))
}

/// Sets a new password for a user.
#[utoipa::path(
    post,
    path = "/users/{user_id}/password",
    tag = "users",
    params(("user_id" = String, Path)),
    request_body = ResetPassword,
    responses((status = OK, body = PasswordWasReset), (status = "default", body = AdminError)),
)]
pub(super) async fn reset_password(
    State(admin): State<Arc<Admin>>,
    Path(user_id): Path<String>,
    Body(body): Body<ResetPassword>,
) -> Result<Json<PasswordWasReset>, AdminError> {
    let accounts = &admin.parts.accounts;
    let user_id = find_active(accounts, &user_id).await?;
    let (password, generated_password) = choose_password(body.password);
    accounts.set_password(&user_id, &password, body.logout_devices, None).await?;
    tracing::info!(%user_id, logout_devices = body.logout_devices, "password reset by the administrator");
    Ok(Json(PasswordWasReset { generated_password }))
}

/// Deactivates a user for ever: devices are logged out, the name stays taken. A job leaves the rooms.
#[utoipa::path(
    post,
    path = "/users/{user_id}/deactivate",
    tag = "users",
    params(("user_id" = String, Path)),
    request_body = DeactivateUser,
    responses((status = OK, body = User), (status = "default", body = AdminError)),
)]
pub(super) async fn deactivate(
    State(admin): State<Arc<Admin>>,
    Path(user_id): Path<String>,
    Body(body): Body<DeactivateUser>,
) -> Result<Json<User>, AdminError> {
    let accounts = &admin.parts.accounts;
    let user_id = find_active(accounts, &user_id).await?;
    accounts.deactivate(&user_id, body.erase).await?;
    // From here on the account is closed; a job leaves the rooms.
    kinds::DeactivateUser::enqueue(&admin.parts.jobs, user_id.as_str()).await?;
    tracing::info!(%user_id, erase = body.erase, "user deactivated by the administrator");
    Ok(Json(find(accounts, user_id.as_str()).await?.into()))
}

/// Makes a user an administrator of this server, or takes that away.
#[utoipa::path(
    put,
    path = "/users/{user_id}/admin",
    tag = "users",
    params(("user_id" = String, Path)),
    request_body = SetAdmin,
    responses((status = OK, body = User), (status = "default", body = AdminError)),
)]
pub(super) async fn set_admin(
    State(admin): State<Arc<Admin>>,
    Path(user_id): Path<String>,
    Body(body): Body<SetAdmin>,
) -> Result<Json<User>, AdminError> {
    let accounts = &admin.parts.accounts;
    let user_id = find_active(accounts, &user_id).await?;
    accounts.set_admin(&user_id, body.admin).await?;
    tracing::info!(%user_id, admin = body.admin, "administrator's flag changed");
    Ok(Json(find(accounts, user_id.as_str()).await?.into()))
}

/// The devices of a user.
#[utoipa::path(get, path = "/users/{user_id}/devices", operation_id = "list_devices", tag = "users", params(("user_id" = String, Path)), responses(
    (status = OK, body = Vec<Device>),
    (status = "default", body = AdminError),
))]
pub(super) async fn devices(
    State(admin): State<Arc<Admin>>,
    Path(user_id): Path<String>,
) -> Result<Json<Vec<Device>>, AdminError> {
    let accounts = &admin.parts.accounts;
    let user = find(accounts, &user_id).await?;
    let devices = accounts.devices(&user.user_id).await?;
    Ok(Json(devices.into_iter().map(Device::from).collect()))
}

/// Logs a device out and deletes it.
#[utoipa::path(
    delete,
    path = "/users/{user_id}/devices/{device_id}",
    tag = "users",
    params(("user_id" = String, Path), ("device_id" = String, Path)),
    responses((status = NO_CONTENT), (status = "default", body = AdminError)),
)]
pub(super) async fn delete_device(
    State(admin): State<Arc<Admin>>,
    Path((user_id, device_id)): Path<(String, String)>,
) -> Result<StatusCode, AdminError> {
    let accounts = &admin.parts.accounts;
    let user = find(accounts, &user_id).await?;
    let device = accounts.device(&user.user_id, device_id.as_str().into()).await?;
    accounts.delete_devices(&user.user_id, &[device.device_id]).await?;
    tracing::info!(user_id = %user.user_id, device_id, "device deleted by the administrator");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_passwords_are_long_and_differ() {
        let (a, b) = (make_up_password(), make_up_password());
        assert_eq!(a.len(), 24);
        assert!(a.split('-').all(|group| group.len() == 4), "{a}");
        assert_ne!(a, b);
        assert_eq!(choose_password(Some("given".into())), ("given".into(), None));
    }
}
