//! [Devices](https://spec.matrix.org/v1.19/client-server-api/#device-management).

use ruma::{DeviceId, OwnedDeviceId, UserId};

use crate::{AccountError, Accounts};

/// A device of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Device id.
    pub device_id: OwnedDeviceId,
    /// Name.
    pub display_name: Option<String>,
    /// When it first logged in, milliseconds since 1970.
    pub created_ts: u64,
    /// When it was last seen, milliseconds since 1970.
    pub last_seen_ts: Option<u64>,
    /// From where it was last seen.
    pub last_seen_ip: Option<String>,
    /// With what it was last seen.
    pub last_seen_user_agent: Option<String>,
}

impl Accounts {
    /// The user's devices.
    pub async fn devices(&self, user: &UserId) -> Result<Vec<Device>, AccountError> {
        let _ = user;
        todo!()
    }

    /// One device.
    pub async fn device(&self, user: &UserId, device: &DeviceId) -> Result<Device, AccountError> {
        let _ = (user, device);
        todo!()
    }

    /// Renames a device; `None` removes the name.
    pub async fn rename_device(
        &self,
        user: &UserId,
        device: &DeviceId,
        display_name: Option<String>,
    ) -> Result<(), AccountError> {
        let _ = (user, device, display_name);
        todo!()
    }

    /// Deletes devices with their tokens and pushers; unknown ones are passed over.
    pub async fn delete_devices(&self, user: &UserId, devices: &[OwnedDeviceId]) -> Result<(), AccountError> {
        let _ = (user, devices);
        todo!()
    }
}
