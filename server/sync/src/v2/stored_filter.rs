//! The filter of a request: brought along, or stored before.

use std::sync::Arc;

use hearth_accounts::AccountError;
use ruma::{
    UserId,
    api::client::{filter::FilterDefinition, sync::sync_events::v3},
};

use crate::{SyncEngine, SyncError, filter::SyncFilter};

impl SyncEngine {
    /// The filter that a request names or brings along.
    pub(super) async fn filter(
        &self,
        user: &UserId,
        filter: Option<&v3::Filter>,
    ) -> Result<Arc<SyncFilter>, SyncError> {
        let id = match filter {
            None => return Ok(Arc::default()),
            Some(v3::Filter::FilterDefinition(definition)) => return Ok(Arc::new(SyncFilter::new(definition)?)),
            Some(v3::Filter::FilterId(id)) => id,
            Some(_) => return Err(SyncError::BadFilter("the filter is neither an id nor a definition".to_owned())),
        };
        // What looks like a definition came here because it is none.
        if id.starts_with('{') {
            return Err(SyncError::BadFilter("the filter is no valid definition".to_owned()));
        }
        // Stored filters never change.
        let key = (user.to_owned(), id.clone());
        if let Some(filter) = self.0.filters.get(&key) {
            return Ok(filter);
        }
        let stored = match self.0.accounts.filter(user, id).await {
            Ok(stored) => stored,
            Err(AccountError::NotFound(_)) => return Err(SyncError::BadFilter(format!("there is no filter {id:?}"))),
            Err(error) => return Err(error.into()),
        };
        let definition: FilterDefinition =
            serde_json::from_str(stored.get()).map_err(|error| SyncError::BadFilter(error.to_string()))?;
        let filter = Arc::new(SyncFilter::new(&definition)?);
        self.0.filters.insert(key, filter.clone());
        Ok(filter)
    }
}
