//! `hearth user`: on the store where the server does not run, through its admin API where it does.

use hearth_accounts::{AccountError, Accounts, NewUser};
use hyper::Method;
use rand::{Rng, rngs::OsRng};
use ruma::{OwnedUserId, ServerName, UserId};
use serde_json::{Value, json};

use crate::{
    admin_client::AdminClient,
    cli::{PasswordSource, UserCommand},
    config::Config,
    data_folder::DataFolder,
    databases::Databases,
    failure::{Failure, OpenFailure, STOP},
    jobs, password,
};

/// Letters that are not taken for others.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Users read at once.
const PAGE: usize = 200;

/// Does what the command says.
pub(crate) async fn run(command: UserCommand) -> Result<u8, Failure> {
    let file = match &command {
        UserCommand::Create { config, .. }
        | UserCommand::List { config, .. }
        | UserCommand::ResetPassword { config, .. }
        | UserCommand::Deactivate { config, .. } => config,
    };
    let config = crate::load(file)?;
    match &command {
        UserCommand::Create { name, admin, display_name, password, .. } => {
            let user = user_id(name, &config.server_name)?;
            let password = choose(*password)?;
            let users = Users::open(&config).await?;
            users.create(&user, &password.text, *admin, display_name.as_deref()).await?;
            users.close().await;
            crate::say(&format!("Created {user}."));
            password.show();
        }
        UserCommand::List { search, .. } => {
            let users = Users::open(&config).await?;
            users.list(search.as_deref()).await?;
            users.close().await;
        }
        UserCommand::ResetPassword { name, keep_devices, password, .. } => {
            let user = user_id(name, &config.server_name)?;
            let password = choose(*password)?;
            let users = Users::open(&config).await?;
            users.reset_password(&user, &password.text, !keep_devices).await?;
            users.close().await;
            crate::say(&format!("{user} has a new password."));
            password.show();
        }
        UserCommand::Deactivate { name, erase, .. } => {
            let user = user_id(name, &config.server_name)?;
            let users = Users::open(&config).await?;
            users.deactivate(&user, *erase).await?;
            users.close().await;
            crate::say(&format!("{user} is deactivated."));
        }
    }
    Ok(STOP)
}

/// A user of this server by name or id.
fn user_id(name: &str, server_name: &ServerName) -> Result<OwnedUserId, Failure> {
    let user =
        if name.starts_with('@') { UserId::parse(name) } else { UserId::parse(format!("@{name}:{server_name}")) };
    match user {
        Ok(user) if user.server_name() == server_name => Ok(user),
        Ok(user) => {
            Err(Failure::new(format!("{user} is a user of {}, and this server is {server_name}.", user.server_name())))
        }
        Err(error) => Err(Failure::new(format!("{name:?} is no user name: {error}."))),
    }
}

struct Password {
    text: String,
    generated: bool,
}

impl Password {
    fn show(&self) {
        if self.generated {
            crate::say(&format!("Password: {}", self.text));
        }
    }
}

fn choose(source: PasswordSource) -> Result<Password, Failure> {
    if !source.generate {
        return Ok(Password { text: password::read()?, generated: false });
    }
    // 100 bits.
    let letter = || char::from(LETTERS[OsRng.gen_range(0..LETTERS.len())]);
    let groups: Vec<String> = (0..5).map(|_| (0..4).map(|_| letter()).collect()).collect();
    Ok(Password { text: groups.join("-"), generated: true })
}

/// Where users can be managed.
enum Users {
    Store(Box<Databases>),
    Server(AdminClient),
}

impl Users {
    async fn open(config: &Config) -> Result<Self, Failure> {
        match Databases::open(config).await {
            Ok(databases) => Ok(Self::Store(Box::new(databases))),
            Err(OpenFailure::Held(failure)) => {
                let access = DataFolder::open(&config.data_dir)?.admin_access();
                let (url, token) = access.map_err(|error| {
                    Failure::new(format!("{failure}, and where its admin API is cannot be read: {error}."))
                })?;
                Ok(Self::Server(AdminClient::new(&url, token)))
            }
            Err(OpenFailure::Other(failure)) => Err(failure),
        }
    }

    async fn close(self) {
        if let Self::Store(databases) = self {
            databases.close().await;
        }
    }

    async fn create(
        &self,
        user: &UserId,
        password: &str,
        admin: bool,
        display_name: Option<&str>,
    ) -> Result<(), Failure> {
        match self {
            Self::Store(databases) => {
                let new = NewUser {
                    localpart: Some(user.localpart()),
                    password: Some(password),
                    admin,
                    displayname: display_name,
                };
                databases.accounts.create_user(new).await.map_err(words)?;
            }
            Self::Server(server) => {
                let body = json!({
                    "localpart": user.localpart(), "password": password, "admin": admin, "display_name": display_name,
                });
                server.ask(Method::POST, "/users", Some(body)).await?;
            }
        }
        Ok(())
    }

    async fn list(&self, search: Option<&str>) -> Result<(), Failure> {
        let mut after: Option<String> = None;
        loop {
            let next = match self {
                Self::Store(databases) => {
                    let page = databases.accounts.list_users(search, after.as_deref(), PAGE).await.map_err(words)?;
                    for user in &page {
                        print_user(user.user_id.as_str(), user.admin, user.deactivated, user.displayname.as_deref());
                    }
                    page.last().filter(|_| page.len() == PAGE).map(|user| user.user_id.localpart().to_owned())
                }
                Self::Server(server) => {
                    let mut query = url::form_urlencoded::Serializer::new(String::new());
                    query.append_pair("limit", &PAGE.to_string());
                    query.extend_pairs(search.map(|search| ("search", search)));
                    query.extend_pairs(after.as_deref().map(|after| ("after", after)));
                    let page = server.ask(Method::GET, &format!("/users?{}", query.finish()), None).await?;
                    for user in page["users"].as_array().into_iter().flatten() {
                        let flag = |name: &str| user[name] == Value::Bool(true);
                        let id = user["user_id"].as_str().unwrap_or_default();
                        print_user(id, flag("admin"), flag("deactivated"), user["display_name"].as_str());
                    }
                    page["next"].as_str().map(str::to_owned)
                }
            };
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    async fn reset_password(&self, user: &UserId, password: &str, logout_devices: bool) -> Result<(), Failure> {
        match self {
            Self::Store(databases) => {
                self.must_be_active(&databases.accounts, user).await?;
                databases.accounts.set_password(user, password, logout_devices, None).await.map_err(words)
            }
            Self::Server(server) => {
                let body = json!({ "password": password, "logout_devices": logout_devices });
                server.ask(Method::POST, &format!("/users/{}/password", encode(user)), Some(body)).await.map(drop)
            }
        }
    }

    async fn deactivate(&self, user: &UserId, erase: bool) -> Result<(), Failure> {
        match self {
            Self::Store(databases) => {
                self.must_be_active(&databases.accounts, user).await?;
                databases.accounts.deactivate(user, erase).await.map_err(words)?;
                // From here on the account is closed. Should the rest fail, the server takes it up again.
                jobs::finish_deactivations(databases).await
            }
            Self::Server(server) => {
                let path = format!("/users/{}/deactivate", encode(user));
                server.ask(Method::POST, &path, Some(json!({ "erase": erase }))).await.map(drop)
            }
        }
    }

    async fn must_be_active(&self, accounts: &Accounts, user: &UserId) -> Result<(), Failure> {
        match accounts.user(user).await.map_err(words)? {
            None => Err(words(AccountError::UserNotFound)),
            Some(user) if user.deactivated => Err(words(AccountError::UserDeactivated)),
            Some(_) => Ok(()),
        }
    }
}

fn words(error: AccountError) -> Failure {
    Failure::new(match error {
        AccountError::UserNotFound => "There is no such user on this server.".to_owned(),
        AccountError::UserInUse => "This name is taken, or was.".to_owned(),
        AccountError::UserDeactivated => "This account has been deactivated.".to_owned(),
        error => format!("{error}."),
    })
}

fn encode(user: &UserId) -> String {
    url::form_urlencoded::byte_serialize(user.as_bytes()).collect()
}

fn print_user(id: &str, admin: bool, deactivated: bool, display_name: Option<&str>) {
    let mut line = id.to_owned();
    if let Some(name) = display_name {
        line.extend(["  ", name]);
    }
    if admin {
        line += "  (administrator)";
    }
    if deactivated {
        line += "  (deactivated)";
    }
    crate::say(&line);
}
