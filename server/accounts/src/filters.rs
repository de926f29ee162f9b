//! Stored [filters](https://spec.matrix.org/v1.19/client-server-api/#filtering).

use ruma::UserId;
use serde_json::{Value, value::RawValue};

use crate::{AccountError, Accounts};

impl Accounts {
    /// Stores a filter; equal content (of the same user) has the same id.
    pub async fn create_filter(&self, user: &UserId, filter: &Value) -> Result<String, AccountError> {
        let _ = (user, filter);
        todo!()
    }

    /// A stored filter; [`AccountError::NotFound`] when there is none.
    pub async fn filter(&self, user: &UserId, filter_id: &str) -> Result<Box<RawValue>, AccountError> {
        let _ = (user, filter_id);
        todo!()
    }
}
