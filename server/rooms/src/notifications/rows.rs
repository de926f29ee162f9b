//! Push rules decide at publication: one row for each user whom an event notifies.

use hearth_protocol::client_event::{UnsignedData, to_client};
use hearth_store::{Transaction, Versionstamp};
use ruma::{
    UInt,
    events::room::power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
    push::{FlattenedJson, PushConditionPowerLevelsCtx, PushConditionRoomCtx},
    state_res::events::RoomCreateEvent,
};

use super::{Publishing, Recipient};
use crate::{EventNid, RoomError, RoomNid, StateKeyNid, error::corrupt, keys, records::Notification};

/// Stands for "outside of threads" in [`keys::SENT`]; no event has this id.
pub(crate) const NO_THREAD: EventNid = EventNid(0);

/// Notes that a user of this server sent into a room (or one of its threads), and so has read what was there before.
pub(crate) fn note_sent(
    tx: &Transaction,
    room: RoomNid,
    user: StateKeyNid,
    thread: Option<EventNid>,
    user_version: u16,
) {
    keys::SENT.set_to_commit_stamp(tx, (user, room, thread.unwrap_or(NO_THREAD)), user_version);
}

/// Writes the notification rows of one event. Reads nothing that the transaction writes.
pub(crate) async fn write_rows(
    tx: &Transaction,
    room: RoomNid,
    event: &Publishing<'_>,
    recipients: &[Recipient],
) -> Result<(), RoomError> {
    if recipients.is_empty() {
        return Ok(());
    }
    let flattened = FlattenedJson::from_raw(&to_client(event.pdu, &UnsignedData::default(), true));
    let power_levels = power_levels(event)?;
    let members = UInt::try_from(event.joined).unwrap_or(UInt::MAX);
    for recipient in recipients {
        if recipient.user == event.sender {
            continue;
        }
        let name = recipient.displayname.clone().unwrap_or_else(|| recipient.user_id.localpart().to_owned());
        let mut context =
            PushConditionRoomCtx::new(event.pdu.room_id.clone(), members, recipient.user_id.clone(), name);
        context.power_levels.clone_from(&power_levels);
        for rule in recipient.rules.iter() {
            if !rule.applies(&flattened, &context).await {
                continue;
            }
            let (notify, highlight) = (rule.triggers_notification(), rule.triggers_highlight());
            if notify || highlight {
                let row = Notification {
                    event: event.event,
                    notify,
                    highlight,
                    thread: event.thread,
                    actions: serde_json::to_string(rule.actions()).map_err(corrupt)?,
                };
                let at = Versionstamp::incomplete(event.user_version);
                keys::NOTIFICATION.set_versionstamped_key(tx, (recipient.user, room, &at), &row);
            }
            // The first rule that applies decides.
            break;
        }
    }
    Ok(())
}

/// What `sender_notification_permission` asks; only read where the event could ask it.
fn power_levels(event: &Publishing<'_>) -> Result<Option<PushConditionPowerLevelsCtx>, RoomError> {
    let content = event.pdu.content.get();
    // `m.mentions` of the whole room, or the old way to say that.
    if !content.contains("\"room\"") && !content.contains("@room") {
        return Ok(None);
    }
    let rules = &event.version.rules.authorization;
    let creators = RoomCreateEvent::new(event.create).creators(rules).map_err(corrupt)?;
    let source = match event.power_levels {
        // Older rooms may hold levels that are strings; rules that ask for levels then never apply.
        Some(levels) => match serde_json::from_str::<RoomPowerLevelsEventContent>(levels.content.get()) {
            Ok(content) => RoomPowerLevelsSource::Original(content),
            Err(_) => return Ok(None),
        },
        None => RoomPowerLevelsSource::None,
    };
    Ok(Some(RoomPowerLevels::new(source, rules, creators).into()))
}
