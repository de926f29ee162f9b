//! The whole keyspace of the Transitory database. Nothing outside this crate knows these keys.

use hearth_store::{Versionstamp, keyspace};

use crate::records::{ChangeRecord, DevicePresenceRecord, PresenceRecord, ReceiptRecord, ReceiptSubject};

keyspace! {
    database "transitory";

    /// The newest change (one key, `0`): what waiting readers watch.
    HEAD "head": (zero: u64) => Versionstamp;
    /// Changes in order, one per subject: a newer one of the same subject removes the older.
    CHANGE "change": (at: Versionstamp) => ChangeRecord;
    /// Where a subject's row in the log of changes stands, by kind (1 typing, 2 receipts, 3 presence).
    CHANGED_AT "changed_at": (kind: u64, subject: String) => Versionstamp;
    /// The newest timer that was set (one key, `0`): what the timers task watches.
    TIMER_HEAD "timer_head": (zero: u64) => Versionstamp;

    /// Who is typing in a room, until when (milliseconds since the epoch).
    TYPING "typing": (room: String, user: String) => u64;
    /// The same by time.
    TYPING_UNTIL "typing_until": (until: u64, room: String, user: String) => ();

    /// Newest receipt of a user in a room, by kind (1 public, 2 private) and thread ("" is unthreaded).
    RECEIPT "receipt": (room: String, user: String, kind: u64, thread: String) => ReceiptRecord;
    /// Where a receipt stands in its room's log.
    RECEIPT_AT "receipt_at": (room: String, user: String, kind: u64, thread: String) => Versionstamp;
    /// Receipts of a room in order, one per user, kind and thread.
    RECEIPT_LOG "receipt_log": (room: String, at: Versionstamp) => ReceiptSubject;

    /// A user's presence, put together from their devices.
    PRESENCE "presence": (user: String) => PresenceRecord;
    /// What one device says of its user; removed when it was not seen for a while.
    DEVICE_PRESENCE "device_presence": (user: String, device: String) => DevicePresenceRecord;
    /// Users whose presence changes by itself, by time (milliseconds since the epoch).
    PRESENCE_DUE "presence_due": (due: u64, user: String) => ();
}
