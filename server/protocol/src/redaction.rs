//! Whether a redaction takes effect.

use ruma::state_res::events::RoomPowerLevelsIntField;

use crate::{
    Pdu, RoomVersion,
    auth::{PowerLevels, Refused},
};

/// Whether `redaction` redacts `target`, both accepted, by the power levels before the redaction
/// ([handling redactions](https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions)): it may when its sender has the
/// power to redact or is of the server of the target's sender. In room versions 1 and 2 the authorization rules decided
/// that already.
pub fn applies(
    version: &RoomVersion,
    redaction: &Pdu,
    target: &Pdu,
    levels: &PowerLevels<'_>,
) -> Result<bool, Refused> {
    if redaction.redacts.as_ref() != Some(&target.event_id) || redaction.room_id != target.room_id {
        return Ok(false);
    }
    Ok(version.facts.redaction_auth_rule
        || redaction.sender.server_name() == target.sender.server_name()
        || levels.may(&redaction.sender, RoomPowerLevelsIntField::Redact)?)
}
