//! Gives the Rooms database the push rules that the Accounts database keeps.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hearth_accounts::Accounts;
use hearth_rooms::PushRules;
use ruma::{OwnedUserId, push::Ruleset};

/// The bridge: neither database knows the other.
pub(crate) struct AccountRules(pub Accounts);

impl PushRules for AccountRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(async move {
            match self.0.rulesets(users).await {
                Ok(rulesets) => rulesets,
                Err(error) => {
                    // The event must be published all the same; nobody is notified of it.
                    tracing::error!(%error, "cannot read push rules");
                    vec![None; users.len()]
                }
            }
        })
    }
}
