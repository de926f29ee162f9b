//! Room versions: every difference that matters here, in one table.
//!
//! The table is written from the [specification](https://spec.matrix.org/v1.19/rooms/); ruma's rules, which its
//! authorization and state resolution work by, are compared with it field by field in a test.

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

/// A room version with its rules.
#[derive(Debug, Clone)]
pub struct RoomVersion {
    /// Its id, such as `12`.
    pub id: RoomVersionId,
    /// ruma's form of the rules.
    pub rules: RoomVersionRules,
    /// This server's own table of them.
    pub facts: &'static Facts,
}

/// How event ids are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventIds {
    /// `$opaque:domain`, in the event; references to other events carry their hashes
    /// ([v1](https://spec.matrix.org/v1.19/rooms/v1/#event-ids)).
    Named,
    /// `$` and the reference hash in standard base64 ([v3](https://spec.matrix.org/v1.19/rooms/v3/#event-ids)).
    Hash,
    /// `$` and the reference hash in base64 for URLs ([v4](https://spec.matrix.org/v1.19/rooms/v4/#event-ids)).
    UrlSafeHash,
}

/// How states are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateResolution {
    /// The [first algorithm](https://spec.matrix.org/v1.19/rooms/v1/#state-resolution). Not implemented: ruma has none,
    /// and it loses state by design.
    V1,
    /// The [second](https://spec.matrix.org/v1.19/rooms/v2/#state-resolution).
    V2,
    /// The second with an empty initial state and the conflicted subgraph
    /// ([v12](https://spec.matrix.org/v1.19/rooms/v12/#state-resolution)).
    V2_1,
}

/// What sets one room version apart from another: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule of the specification")]
pub struct Facts {
    /// Event ids and the form of references to events.
    pub event_ids: EventIds,
    /// State resolution.
    pub state_resolution: StateResolution,
    /// Only canonical JSON is an event (v6); before, other numbers are to be borne.
    pub strict_json: bool,
    /// Signing keys count no longer than they are valid (v5).
    pub key_validity: bool,
    /// The room id is the create event's id, which is in no `auth_events` (v12).
    pub room_id_is_create_event: bool,
    /// Redactions need power by the authorization rules (until v2); from v3 on they are checked when applied.
    pub redaction_auth_rule: bool,
    /// `m.room.aliases` has its own authorization rule, and its content survives redaction (until v5).
    pub aliases_rule: bool,
    /// Changes to `notifications` in power levels are checked (v6).
    pub notification_levels: bool,
    /// Power levels are integers only (v10); before, strings (and before v6 floats) that are one.
    pub integer_power_levels: bool,
    /// Membership and join rule `knock` (v7).
    pub knock: bool,
    /// Join rule `restricted` and `join_authorised_via_users_server` (v8).
    pub restricted: bool,
    /// Join rule `knock_restricted` (v10).
    pub knock_restricted: bool,
    /// The creator is the sender of the create event (v11); before, `creator` in its content.
    pub creator_is_sender: bool,
    /// Creators, `additional_creators` among them, have infinite power (v12).
    pub infinite_creators: bool,
    /// `redacts` is in the content (v11); before, at the top level.
    pub redacts_in_content: bool,
    /// Redaction keeps `allow` of join rules (v8).
    pub keeps_join_rules_allow: bool,
    /// Redaction keeps `join_authorised_via_users_server` of memberships (v9).
    pub keeps_join_authorised: bool,
    /// Redaction as cleared up in v11: keeps the create event's content, `redacts`, `invite` of power levels and `signed`
    /// of third-party invites, and drops `origin`, `membership` and `prev_state` at the top level.
    pub redaction_of_v11: bool,
}

const V1: Facts = Facts {
    event_ids: EventIds::Named,
    state_resolution: StateResolution::V1,
    strict_json: false,
    key_validity: false,
    room_id_is_create_event: false,
    redaction_auth_rule: true,
    aliases_rule: true,
    notification_levels: false,
    integer_power_levels: false,
    knock: false,
    restricted: false,
    knock_restricted: false,
    creator_is_sender: false,
    infinite_creators: false,
    redacts_in_content: false,
    keeps_join_rules_allow: false,
    keeps_join_authorised: false,
    redaction_of_v11: false,
};
const V2: Facts = Facts { state_resolution: StateResolution::V2, ..V1 };
const V3: Facts = Facts { event_ids: EventIds::Hash, redaction_auth_rule: false, ..V2 };
const V4: Facts = Facts { event_ids: EventIds::UrlSafeHash, ..V3 };
const V5: Facts = Facts { key_validity: true, ..V4 };
const V6: Facts = Facts { strict_json: true, aliases_rule: false, notification_levels: true, ..V5 };
const V7: Facts = Facts { knock: true, ..V6 };
const V8: Facts = Facts { restricted: true, keeps_join_rules_allow: true, ..V7 };
const V9: Facts = Facts { keeps_join_authorised: true, ..V8 };
const V10: Facts = Facts { knock_restricted: true, integer_power_levels: true, ..V9 };
const V11: Facts = Facts { creator_is_sender: true, redacts_in_content: true, redaction_of_v11: true, ..V10 };
const V12: Facts =
    Facts { state_resolution: StateResolution::V2_1, room_id_is_create_event: true, infinite_creators: true, ..V11 };

/// Every version of the specification, oldest first. All are stable.
static TABLE: [(RoomVersionId, Facts); 12] = [
    (RoomVersionId::V1, V1),
    (RoomVersionId::V2, V2),
    (RoomVersionId::V3, V3),
    (RoomVersionId::V4, V4),
    (RoomVersionId::V5, V5),
    (RoomVersionId::V6, V6),
    (RoomVersionId::V7, V7),
    (RoomVersionId::V8, V8),
    (RoomVersionId::V9, V9),
    (RoomVersionId::V10, V10),
    (RoomVersionId::V11, V11),
    (RoomVersionId::V12, V12),
];

impl RoomVersion {
    /// The versions that rooms here may have, oldest first: all but 1, whose state resolution nothing here implements.
    /// All of them are stable in the specification. Asking for another one is answered with
    /// `M_UNSUPPORTED_ROOM_VERSION` (creating, upgrading) or `M_INCOMPATIBLE_ROOM_VERSION` (joining, inviting, knocking).
    pub const SUPPORTED: &'static [RoomVersionId] = &[
        RoomVersionId::V2,
        RoomVersionId::V3,
        RoomVersionId::V4,
        RoomVersionId::V5,
        RoomVersionId::V6,
        RoomVersionId::V7,
        RoomVersionId::V8,
        RoomVersionId::V9,
        RoomVersionId::V10,
        RoomVersionId::V11,
        RoomVersionId::V12,
    ];

    /// The rules of `id`, if this server supports it.
    pub fn get(id: &RoomVersionId) -> Option<Self> {
        Self::known(id).filter(|version| version.facts.state_resolution != StateResolution::V1)
    }

    /// The rules of `id`, if the specification has it: enough to read, check and redact single events, also of version
    /// 1, whose rooms are refused.
    pub fn known(id: &RoomVersionId) -> Option<Self> {
        let (_, facts) = TABLE.iter().find(|(known, _)| known == id)?;
        Some(Self { id: id.clone(), rules: id.rules()?, facts })
    }

    /// Whether the room id is the create event's id with another sigil (version 12 on).
    pub fn room_id_is_create_event(&self) -> bool {
        self.facts.room_id_is_create_event
    }

    /// Whether events name others by id and hash (versions 1 and 2), so that building one needs the hashes.
    pub fn references_have_hashes(&self) -> bool {
        self.facts.event_ids == EventIds::Named
    }
}

#[cfg(test)]
mod tests {
    use ruma::room_version_rules::{
        EventIdFormatVersion, EventsReferenceFormatVersion, RoomIdFormatVersion, RoomVersionDisposition,
        StateResolutionV2Rules, StateResolutionVersion,
    };

    use super::*;

    /// What the table says, in ruma's words, must be what ruma works by.
    #[test]
    fn ruma_has_the_same_rules() {
        for (id, facts) in &TABLE {
            let rules = id.rules().unwrap();
            assert_eq!(rules.disposition, RoomVersionDisposition::Stable, "{id}");
            let (ids, references) = match facts.event_ids {
                EventIds::Named => (EventIdFormatVersion::V1, EventsReferenceFormatVersion::V1),
                EventIds::Hash => (EventIdFormatVersion::V2, EventsReferenceFormatVersion::V2),
                EventIds::UrlSafeHash => (EventIdFormatVersion::V3, EventsReferenceFormatVersion::V2),
            };
            assert_eq!((rules.event_id_format, rules.events_reference_format), (ids, references), "{id}");
            let room_ids =
                if facts.room_id_is_create_event { RoomIdFormatVersion::V2 } else { RoomIdFormatVersion::V1 };
            assert_eq!(rules.room_id_format, room_ids, "{id}");
            let resolution = match facts.state_resolution {
                StateResolution::V1 => StateResolutionVersion::V1,
                StateResolution::V2 => StateResolutionVersion::V2(StateResolutionV2Rules::V2_0),
                StateResolution::V2_1 => StateResolutionVersion::V2(StateResolutionV2Rules::V2_1),
            };
            assert_eq!(rules.state_res, resolution, "{id}");
            let named = facts.event_ids == EventIds::Named;
            for (rule, ours, theirs) in [
                ("key validity", facts.key_validity, rules.enforce_key_validity),
                ("redaction rule", facts.redaction_auth_rule, rules.authorization.special_case_room_redaction),
                ("aliases rule", facts.aliases_rule, rules.authorization.special_case_room_aliases),
                ("aliases kept", facts.aliases_rule, rules.redaction.keep_room_aliases_aliases),
                ("strict JSON", facts.strict_json, rules.authorization.strict_canonical_json),
                ("notifications", facts.notification_levels, rules.authorization.limit_notifications_power_levels),
                ("knock", facts.knock, rules.authorization.knocking),
                ("restricted", facts.restricted, rules.authorization.restricted_join_rule),
                ("knock_restricted", facts.knock_restricted, rules.authorization.knock_restricted_join_rule),
                ("integer levels", facts.integer_power_levels, rules.authorization.integer_power_levels),
                ("creator", facts.creator_is_sender, rules.authorization.use_room_create_sender),
                ("infinite", facts.infinite_creators, rules.authorization.explicitly_privilege_room_creators),
                ("additional", facts.infinite_creators, rules.authorization.additional_room_creators),
                ("room id", facts.room_id_is_create_event, rules.authorization.room_create_event_id_as_room_id),
                ("allow", facts.keeps_join_rules_allow, rules.redaction.keep_room_join_rules_allow),
                (
                    "authorised via",
                    facts.keeps_join_authorised,
                    rules.redaction.keep_room_member_join_authorised_via_users_server,
                ),
                ("origin", !facts.redaction_of_v11, rules.redaction.keep_origin_membership_prev_state),
                ("create content", facts.redaction_of_v11, rules.redaction.keep_room_create_content),
                ("redacts kept", facts.redaction_of_v11, rules.redaction.keep_room_redaction_redacts),
                ("invite level", facts.redaction_of_v11, rules.redaction.keep_room_power_levels_invite),
                ("signed", facts.redaction_of_v11, rules.redaction.keep_room_member_third_party_invite_signed),
                ("redacts place", facts.redacts_in_content, rules.redaction.content_field_redacts),
                ("signature of the id's server", named, rules.signatures.check_event_id_server),
                ("event id required", named, rules.event_format.require_event_id),
                ("authorising signature", facts.restricted, rules.signatures.check_join_authorised_via_users_server),
                (
                    "create has a room id",
                    !facts.room_id_is_create_event,
                    rules.event_format.require_room_create_room_id,
                ),
                (
                    "create among auth events",
                    !facts.room_id_is_create_event,
                    rules.event_format.allow_room_create_in_auth_events,
                ),
            ] {
                assert_eq!(ours, theirs, "version {id}: {rule}");
            }
        }
    }

    #[test]
    fn all_but_the_first_are_supported() {
        let known: Vec<_> = TABLE.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(&known[1..], RoomVersion::SUPPORTED);
        assert!(RoomVersion::get(&RoomVersionId::V1).is_none());
        assert!(RoomVersion::known(&RoomVersionId::V1).is_some());
        assert!(RoomVersion::known(&RoomVersionId::try_from("org.example.x").unwrap()).is_none());
        for id in RoomVersion::SUPPORTED {
            assert_eq!(RoomVersion::get(id).unwrap().id, *id);
        }
    }
}
