//! Users of this server: creating, finding, changing and deactivating them.

use std::collections::HashMap;

use hearth_store::Transaction;
use ruma::{DeviceId, OwnedMxcUri, OwnedUserId, UserId};

use crate::{
    AccountError, Accounts, Profile,
    contents::clear_all_data,
    devices::clear_device,
    keys::{COUNTER, DEVICE, FILTER, PROFILE, PUSHER, RULES_HEAD, SEEN, UNFINISHED, USER},
    passwords::check_strength,
    profiles::parse_profile,
    pushers::clear_pusher,
    records::UserRecord,
    secrets::new_id,
    sessions::active_user,
};

/// Key of [`COUNTER`]: accounts that are not deactivated.
pub(crate) const ACTIVE_USERS: u64 = 1;
/// Accounts read in one transaction by a search.
const PAGE: usize = 500;
/// Longest user id, in bytes.
const USER_ID_BYTES: usize = 255;

/// A user to be created.
#[derive(Clone, Copy, Default)]
pub struct NewUser<'a> {
    /// Localpart; its grammar is checked. `None` makes one up.
    pub localpart: Option<&'a str>,
    /// Password; `None` makes an account that cannot log in until its password is reset.
    pub password: Option<&'a str>,
    /// Administrator of this server.
    pub admin: bool,
    /// Display name to begin with; `None` takes the localpart.
    pub displayname: Option<&'a str>,
}

/// A user as the administrator sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub user_id: OwnedUserId,
    /// Display name.
    pub displayname: Option<String>,
    /// Avatar.
    pub avatar_url: Option<OwnedMxcUri>,
    /// Administrator of this server.
    pub admin: bool,
    /// Deactivated for ever.
    pub deactivated: bool,
    /// Deactivated with the wish to be erased.
    pub erased: bool,
    /// Milliseconds since 1970.
    pub created_ts: u64,
    /// When any device was last seen, milliseconds since 1970.
    pub last_seen_ts: Option<u64>,
    /// Number of devices.
    pub devices: usize,
}

/// A user as the directory shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// User id.
    pub user_id: OwnedUserId,
    /// Display name.
    pub displayname: Option<String>,
    /// Avatar.
    pub avatar_url: Option<OwnedMxcUri>,
}

/// One account as a page of a search reads it.
struct Row {
    localpart: String,
    record: UserRecord,
    profile: Profile,
}

/// A user that is ready to be written: everything slow or random is done.
pub(crate) struct PreparedUser {
    pub(crate) localpart: String,
    record: UserRecord,
    profile: String,
}

impl PreparedUser {
    /// Writes the user down; [`AccountError::UserInUse`] when the localpart was ever taken.
    pub(crate) async fn write(&self, tx: &Transaction) -> Result<(), AccountError> {
        if USER.get(tx, (&self.localpart,)).await?.is_some() {
            return Err(AccountError::UserInUse);
        }
        USER.set(tx, (&self.localpart,), &self.record);
        PROFILE.set(tx, (&self.localpart,), &self.profile);
        COUNTER.add(tx, (ACTIVE_USERS,), 1);
        Ok(())
    }
}

impl Accounts {
    /// The grammar of [user ids](https://spec.matrix.org/v1.19/appendices/#user-identifiers) for new accounts.
    pub(crate) fn check_localpart(&self, localpart: &str) -> Result<(), AccountError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._=-/+".contains(c);
        if localpart.is_empty() {
            return Err(AccountError::InvalidUsername("a user name must not be empty"));
        }
        if !localpart.chars().all(allowed) {
            return Err(AccountError::InvalidUsername("a user name may contain only a-z, 0-9, and . _ = - / +"));
        }
        if localpart.len() + self.config.server_name.as_str().len() + 2 > USER_ID_BYTES {
            return Err(AccountError::InvalidUsername("the user name is too long"));
        }
        Ok(())
    }

    /// Checks a new user and hashes the password.
    pub(crate) async fn prepare_user(&self, new: NewUser<'_>) -> Result<PreparedUser, AccountError> {
        let localpart = match new.localpart {
            Some(localpart) => localpart.to_owned(),
            None => format!("user-{}", new_id(10)),
        };
        self.check_localpart(&localpart)?;
        let password = match new.password {
            Some(password) => {
                check_strength(password)?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        let name = new.displayname.unwrap_or(&localpart);
        let profile = serde_json::json!({ "displayname": name }).to_string();
        let record =
            UserRecord { created_ts: self.clock.now(), admin: new.admin, password, deactivated: false, erased: false };
        Ok(PreparedUser { localpart, record, profile })
    }

    /// Creates a user.
    pub async fn create_user(&self, new: NewUser<'_>) -> Result<OwnedUserId, AccountError> {
        let user = &self.prepare_user(new).await?;
        self.store.transact("accounts.create_user", |tx| async move { user.write(&tx).await }).await?;
        self.user_id(&user.localpart)
    }

    /// The user, `None` when there is none (deactivated ones are there).
    pub async fn user(&self, user: &UserId) -> Result<Option<User>, AccountError> {
        let Ok(localpart) = self.local(user) else { return Ok(None) };
        let tx = self.store.begin();
        let Some(record) = USER.get_snapshot(&tx, (localpart,)).await? else { return Ok(None) };
        let profile = parse_profile(PROFILE.get_snapshot(&tx, (localpart,)).await?)?;
        Ok(Some(self.to_user(&tx, Row { localpart: localpart.to_owned(), record, profile }).await?))
    }

    async fn to_user(&self, tx: &Transaction, row: Row) -> Result<User, AccountError> {
        let devices = DEVICE.scan((&row.localpart,)).snapshot().all(tx).await?;
        let written = SEEN.scan((&row.localpart,)).snapshot().all(tx).await?;
        let noted = devices.iter().filter_map(|((user, device), _)| self.seen.get(user, device));
        Ok(User {
            user_id: self.user_id(&row.localpart)?,
            displayname: row.profile.displayname(),
            avatar_url: row.profile.avatar_url(),
            admin: row.record.admin,
            deactivated: row.record.deactivated,
            erased: row.record.erased,
            created_ts: row.record.created_ts,
            last_seen_ts: noted.chain(written.into_iter().map(|(_, seen)| seen)).map(|seen| seen.ts).max(),
            devices: devices.len(),
        })
    }

    /// Whether `user` is an account of this server that is not deactivated.
    pub async fn is_active(&self, user: &UserId) -> Result<bool, AccountError> {
        let Ok(localpart) = self.local(user) else { return Ok(false) };
        let record = USER.get_snapshot(&self.store.begin(), (localpart,)).await?;
        Ok(record.is_some_and(|record| !record.deactivated))
    }

    /// One page of accounts after a localpart.
    async fn page(&self, tx: &Transaction, after: &str) -> Result<Vec<Row>, AccountError> {
        let users = USER.scan(()).after((after,)).limit(PAGE).snapshot().all(tx).await?;
        let Some(((last,), _)) = users.last() else { return Ok(Vec::new()) };
        let mut profiles: HashMap<String, String> = PROFILE
            .scan(())
            .after((after,))
            .until((last,))
            .snapshot()
            .all(tx)
            .await?
            .into_iter()
            .map(|((user,), profile)| (user, profile))
            .collect();
        users
            .into_iter()
            .map(|((localpart,), record)| {
                let profile = parse_profile(profiles.remove(&localpart))?;
                Ok(Row { localpart, record, profile })
            })
            .collect()
    }

    /// Users by localpart, those after `after`, at most `limit`, where localpart or display name contain `search`
    /// (ignoring case).
    pub async fn list_users(
        &self,
        search: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<User>, AccountError> {
        let search = search.map(str::to_lowercase);
        let mut after = after.unwrap_or_default().to_owned();
        let mut users = Vec::new();
        loop {
            let tx = self.store.begin();
            let rows = self.page(&tx, &after).await?;
            let Some(last) = rows.last() else { return Ok(users) };
            after.clone_from(&last.localpart);
            for row in rows {
                if users.len() == limit {
                    return Ok(users);
                }
                if search.as_deref().is_none_or(|search| rank(&row, search).is_some()) {
                    users.push(self.to_user(&tx, row).await?);
                }
            }
        }
    }

    /// Active users for the directory search, the most relevant first: those whose user id or display name contain
    /// `term` (ignoring case). Who may see whom is the caller's to decide.
    pub async fn search_directory(&self, term: &str) -> Result<Vec<DirectoryEntry>, AccountError> {
        let term = term.trim().to_lowercase();
        // People search for what they see: with the sigil, or the whole id.
        let term = term.strip_prefix('@').unwrap_or(&term);
        let term = term.strip_suffix(&format!(":{}", self.config.server_name)).unwrap_or(term);
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let rows = self.page(&self.store.begin(), &after).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.localpart);
            found.extend(rows.into_iter().filter(|row| !row.record.deactivated).filter_map(|row| {
                let rank = rank(&row, term)?;
                Some((rank, row))
            }));
        }
        found.sort_by_key(|(rank, _)| *rank);
        found
            .into_iter()
            .map(|(_, row)| {
                Ok(DirectoryEntry {
                    user_id: self.user_id(&row.localpart)?,
                    displayname: row.profile.displayname(),
                    avatar_url: row.profile.avatar_url(),
                })
            })
            .collect()
    }

    /// Number of accounts that are not deactivated.
    pub async fn user_count(&self) -> Result<u64, AccountError> {
        Ok(COUNTER.get_snapshot(&self.store.begin(), (ACTIVE_USERS,)).await?.unwrap_or(0))
    }

    /// Gives or takes the administrator's flag.
    pub async fn set_admin(&self, user: &UserId, admin: bool) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        self.store
            .transact("accounts.set_admin", |tx| async move {
                let mut record = active_user(&tx, localpart).await?;
                record.admin = admin;
                USER.set(&tx, (localpart,), &record);
                Ok(())
            })
            .await
    }

    /// Sets a new password. With `logout_devices`, every device but `keep` is deleted with its tokens.
    pub async fn set_password(
        &self,
        user: &UserId,
        password: &str,
        logout_devices: bool,
        keep: Option<&DeviceId>,
    ) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        check_strength(password)?;
        let hash = &self.passwords.hash(password).await?;
        // At once: a thief's session must not outlive the password by a crash in between.
        self.store
            .transact("accounts.set_password", |tx| async move {
                let mut record = active_user(&tx, localpart).await?;
                record.password = Some(hash.clone());
                USER.set(&tx, (localpart,), &record);
                if logout_devices {
                    for ((_, device), _) in DEVICE.scan((localpart,)).all(&tx).await? {
                        if keep.is_none_or(|keep| keep.as_str() != device) {
                            clear_device(&tx, localpart, &device).await?;
                        }
                    }
                }
                Ok(())
            })
            .await
    }

    /// Deactivates the account for ever: sessions, devices, tokens, password, profile, account data, filters, push
    /// rules and pushers are removed, the user id stays taken. The caller then leaves the rooms and calls
    /// [`Self::finish_deactivation`]; until then the user is in [`Self::unfinished_deactivations`]. Deactivating again
    /// changes nothing (but may add the wish to be erased).
    pub async fn deactivate(&self, user: &UserId, erase: bool) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        self.store
            .transact("accounts.deactivate", |tx| async move {
                let mut record = USER.get(&tx, (localpart,)).await?.ok_or(AccountError::UserNotFound)?;
                if !record.deactivated {
                    COUNTER.add(&tx, (ACTIVE_USERS,), -1);
                    UNFINISHED.set(&tx, (localpart,), &());
                }
                record = UserRecord {
                    deactivated: true,
                    erased: record.erased || erase,
                    password: None,
                    admin: false,
                    ..record
                };
                USER.set(&tx, (localpart,), &record);
                for ((_, device), _) in DEVICE.scan((localpart,)).all(&tx).await? {
                    clear_device(&tx, localpart, &device).await?;
                }
                for ((_, app_id, pushkey), _) in PUSHER.scan((localpart,)).all(&tx).await? {
                    clear_pusher(&tx, localpart, &app_id, &pushkey);
                }
                clear_all_data(&tx, localpart).await?;
                PROFILE.clear(&tx, (localpart,));
                FILTER.clear_prefix(&tx, (localpart,));
                RULES_HEAD.set_to_commit_stamp(&tx, (0,), 0);
                Ok(())
            })
            .await
    }

    /// Deactivated users whose rooms have not been left yet: to be taken up again at the start.
    pub async fn unfinished_deactivations(&self) -> Result<Vec<OwnedUserId>, AccountError> {
        let users = UNFINISHED.scan(()).snapshot().all(&self.store.begin()).await?;
        users.into_iter().map(|((user,), ())| self.user_id(&user)).collect()
    }

    /// The deactivated user has left all rooms.
    pub async fn finish_deactivation(&self, user: &UserId) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        self.store
            .transact("accounts.finish_deactivation", |tx| async move {
                UNFINISHED.clear(&tx, (localpart,));
                Ok(())
            })
            .await
    }
}

/// How well an account matches a search in lower case, the smaller the better; `None` not at all.
fn rank(row: &Row, search: &str) -> Option<u8> {
    let name = row.profile.displayname().map(|name| name.to_lowercase()).unwrap_or_default();
    let localpart = row.localpart.to_lowercase();
    let starts_word = || name.split_whitespace().any(|word| word.starts_with(search));
    if localpart == search || name == search {
        Some(0)
    } else if localpart.starts_with(search) || name.starts_with(search) {
        Some(1)
    } else if starts_word() {
        Some(2)
    } else if localpart.contains(search) || name.contains(search) {
        Some(3)
    } else {
        None
    }
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
