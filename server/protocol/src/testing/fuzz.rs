//! Fuzz targets. Each takes any bytes and panics where a promise is broken; libFuzzer drives them from `fuzz/`, the tests here
//! with a seeded mutator, so that every run of the tests fuzzes a little on a stable compiler.

use ruma::{MilliSecondsSinceUnixEpoch, uint};
use serde_json::value::RawValue;

use crate::{
    Pdu, RoomVersion,
    client_event::{UnsignedData, to_client},
    json::integer_levels,
    keys::ServerKeys,
    receive::Received,
    server_acl::ServerAcl,
};

/// Parsing of received events, in the room version that the first byte chooses. What parses keeps its id through
/// canonical form, redaction and storage, and no check on it panics.
///
/// # Panics
/// When that is not so.
pub fn pdu(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let id = format!("{}", first % 12 + 1);
    let id = ruma::RoomVersionId::try_from(id).expect("1 to 12 are room versions");
    let version = RoomVersion::known(&id).expect("1 to 12 are room versions");
    if let Ok(content) = RawValue::from_string(text.to_owned()) {
        let _ = ServerAcl::parse(&content);
        let _ = integer_levels(content);
    }
    let Ok(received) = Received::parse(text, &version) else { return };
    let pdu = received.pdu().clone();
    let again = Pdu::parse(&pdu.json, &version, None).expect("canonical form is an event");
    assert_eq!((&again.event_id, &again.json), (&pdu.event_id, &pdu.json), "canonical form is stable");
    let stored = Pdu::parse(&pdu.json, &version, Some(pdu.event_id.clone())).expect("a stored event is read");
    assert_eq!(stored.content.get(), pdu.content.get());
    let redacted = pdu.redacted(&version).expect("an event can be redacted");
    let parsed = Pdu::parse(&redacted.json, &version, None).expect("a redacted event is an event");
    assert_eq!(parsed.event_id, pdu.event_id, "redaction keeps the id");
    assert_eq!(redacted.redacted(&version).expect("twice").json, redacted.json, "redacting twice is redacting once");
    pdu.reference_hash(&version).expect("an event has a reference hash");
    let client = to_client(&pdu, &UnsignedData::default(), true);
    serde_json::from_str::<serde_json::Value>(client.json().get()).expect("the client's form is JSON");
    let _ = received.wanted_keys(&version).expect("an event says which keys it needs");
    let _ = received.verify(&version, &ServerKeys::default(), MilliSecondsSinceUnixEpoch(uint!(1)));
    let _ = crate::auth::check_auth_events(&version, &pdu, |_| None);
    let _ = crate::auth::check_state(&version, &pdu, |_, _| Some(&pdu));
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

    use crate::testing::{Dag, DagPlan};

    /// Runs in every `cargo test`.
    const RUNS: u32 = 4000;

    /// Pieces at which parsers break.
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\\",
        "\\u0000",
        "\\ud800",
        "\\uFDD0",
        "\u{fdd0}",
        "null",
        "true",
        "-0",
        "1.5",
        "1e400",
        "9007199254740992",
        "-9223372036854775809",
        "1e-7",
        "\"room_id\"",
        "\"event_id\":\"$x:y\",",
        "\"state_key\":null,",
        "\"redacts\":\"$x\",",
        "\"hashes\":{\"sha256\":\"\"},",
        "\"signatures\":{},",
        "\"type\":\"m.room.create\",",
        "\"type\":\"m.room.power_levels\",",
        "\"membership\":\"join\",",
        "\"content\":{},",
        "\"depth\":9223372036854775807,",
        "[[[[[[[[[[[[[[[[",
        "\u{0}",
        "\u{ffff}",
        "$",
        "@:",
        "!",
    ];

    fn corpus() -> Vec<Vec<u8>> {
        let mut corpus = Vec::new();
        for number in 2..=12_u8 {
            let plan = DagPlan { events: 40, ..DagPlan::new(&number.to_string(), u64::from(number)) };
            for event in Dag::generate(&plan).events {
                corpus.push([&[number - 1], event.pdu.json.as_bytes()].concat());
            }
        }
        corpus
    }

    fn mutate(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut data = corpus.choose(random).cloned().unwrap_or_default();
        for _ in 0..random.gen_range(0..4) {
            let at = random.gen_range(0..=data.len());
            let to = (at + random.gen_range(0..16)).min(data.len());
            let piece = PIECES.choose(random).map_or(&b""[..], |piece| piece.as_bytes());
            match random.gen_range(0..6) {
                0 => drop(data.splice(at..at, piece.iter().copied())),
                1 => drop(data.splice(at..to, piece.iter().copied())),
                2 => drop(data.drain(at..to)),
                3 => {
                    let other = corpus.choose(random).cloned().unwrap_or_default();
                    let from = random.gen_range(0..=other.len());
                    let end = (from + random.gen_range(0..64)).min(other.len());
                    drop(data.splice(at..to, other[from..end].iter().copied()));
                }
                4 => {
                    if let Some(byte) = data.get_mut(at) {
                        *byte = random.r#gen();
                    }
                }
                _ => {
                    if let Some(version) = data.first_mut() {
                        *version = random.r#gen();
                    }
                }
            }
        }
        data
    }

    /// As often as `HEARTH_FUZZ_SECONDS` allow, where that is set (`make fuzz`).
    #[test]
    fn parsing_of_events() {
        let seconds = std::env::var("HEARTH_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let corpus = corpus();
        let mut run: u32 = 0;
        while end.map_or(run < RUNS, |end| Instant::now() < end) {
            let mut random = StdRng::seed_from_u64(u64::from(run));
            let data = mutate(&mut random, &corpus);
            let outcome = std::panic::catch_unwind(|| super::pdu(&data));
            assert!(outcome.is_ok(), "run {run}: {:?}", String::from_utf8_lossy(&data));
            run += 1;
        }
        println!("{run} runs");
    }
}
