//! The JSON of events: [canonical](https://spec.matrix.org/v1.19/appendices/#canonical-json) from room version 6 on,
//! and with any numbers before.
//!
//! ruma's canonical JSON holds integers of ±(2^53 − 1) only. Where other numbers are allowed they are kept as strings
//! that begin with a mark (strings that begin with it themselves get a second one), so that redaction and the rest of
//! ruma work on them unseen; reading and writing translate. Numbers are written as the reference implementation's JSON
//! library does, since that is what was hashed: integers whole, floats shortest with Python's exponents.

use std::borrow::Cow;

use ruma::CanonicalJsonObject;
use serde_json::{Value, value::RawValue};

use crate::{
    RoomVersion,
    pdu_error::{PduError, malformed},
};

/// A noncharacter, in UTF-8 `EF B7 90`.
const MARK: &str = "\u{fdd0}";

/// Largest magnitude of a canonical integer.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Reads an object as the room version wants it.
pub(crate) fn parse(text: &str, version: &RoomVersion) -> Result<CanonicalJsonObject, PduError> {
    if version.facts.strict_json {
        return serde_json::from_str(text).map_err(malformed);
    }
    serde_json::from_str(&shield(text)?).map_err(malformed)
}

/// Writes an object canonically: keys in order, nothing superfluous.
pub(crate) fn write(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<String, PduError> {
    let text = serde_json::to_string(object).map_err(malformed)?;
    if version.facts.strict_json || !text.contains(MARK) {
        return Ok(text);
    }
    Ok(unshield(&text))
}

/// Turns numbers that are not canonical into marked strings.
fn shield(text: &str) -> Result<Cow<'_, str>, PduError> {
    let mut out = String::new();
    let mut copied = 0;
    let mut rest = tokens(text);
    while let Some((start, end, is_string)) = rest.next_token() {
        let token = &text[start..end];
        let replacement = if is_string { shield_string(token) } else { shield_number(token)? };
        if let Some(replacement) = replacement {
            out.push_str(&text[copied..start]);
            out.push_str(&replacement);
            copied = end;
        }
    }
    if copied == 0 {
        return Ok(text.into());
    }
    out.push_str(&text[copied..]);
    Ok(out.into())
}

/// A string that begins with the mark, written plainly or escaped, with a second one.
fn shield_string(token: &str) -> Option<String> {
    let inner = token.strip_prefix('"')?;
    let marked = inner.starts_with(MARK) || inner.get(..6).is_some_and(|escape| escape.eq_ignore_ascii_case("\\ufdd0"));
    marked.then(|| format!("\"{MARK}{inner}"))
}

fn shield_number(token: &str) -> Result<Option<String>, PduError> {
    // Only what JSON knows as a number; everything else is left for the parser to refuse.
    if serde_json::from_str::<&RawValue>(token).is_err() {
        return Ok(None);
    }
    if token == "-0" {
        return Ok(Some("0".to_owned()));
    }
    if !token.contains(['.', 'e', 'E']) {
        let magnitude = token.trim_start_matches('-').parse::<u64>();
        let canonical = magnitude.is_ok_and(|magnitude| magnitude <= MAX_INTEGER);
        return Ok((!canonical).then(|| format!("\"{MARK}{token}\"")));
    }
    let number: f64 = token.parse().map_err(malformed)?;
    if !number.is_finite() {
        return Err(malformed(format!("{token} is out of a float's range")));
    }
    Ok(Some(format!("\"{MARK}{}\"", float(number))))
}

/// A float as Python writes it: the shortest digits that give it back, an exponent of at least two digits below 1e-4
/// and from 1e16 on.
fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{number:?}"),
    }
}

/// Turns marked strings back into numbers.
fn unshield(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut rest = tokens(text);
    while let Some((start, end, is_string)) = rest.next_token() {
        let Some(marked) = text[start..end].strip_prefix('"').and_then(|inner| inner.strip_prefix(MARK)) else {
            continue;
        };
        if !is_string {
            continue;
        }
        out.push_str(&text[copied..start]);
        if marked.starts_with(MARK) {
            out.push('"');
            out.push_str(marked);
        } else {
            out.push_str(marked.trim_end_matches('"'));
        }
        copied = end;
    }
    out.push_str(&text[copied..]);
    out
}

/// Power levels of versions without strict JSON: floats are cut at the point, and what is out of a canonical integer's
/// range becomes the nearest that is in it.
pub(crate) fn integer_levels(content: Box<RawValue>) -> Result<Box<RawValue>, PduError> {
    let mut levels: Value = serde_json::from_str(content.get()).map_err(malformed)?;
    if !cut(&mut levels) {
        return Ok(content);
    }
    RawValue::from_string(levels.to_string()).map_err(malformed)
}

/// Whether anything changed.
fn cut(value: &mut Value) -> bool {
    match value {
        Value::Object(entries) => entries.values_mut().map(cut).filter(|changed| *changed).count() > 0,
        Value::Number(number) => {
            let most = MAX_INTEGER.cast_signed();
            let integer = match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => integer.clamp(-most, most),
                // Conversion from a float cuts at the point and saturates.
                (None, Some(float)) => (float as i64).clamp(-most, most),
                (None, None) => return false,
            };
            let changed = number.as_i64() != Some(integer);
            *number = integer.into();
            changed
        }
        _ => false,
    }
}

/// Finds strings and numbers in a text that may or may not be JSON.
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn tokens(text: &str) -> Tokens<'_> {
    Tokens { bytes: text.as_bytes(), at: 0 }
}

impl Tokens<'_> {
    /// Start, end and whether it is a string. Both are on character boundaries: tokens begin and end with ASCII, or with the
    /// text.
    fn next_token(&mut self) -> Option<(usize, usize, bool)> {
        loop {
            let start = self.at;
            match *self.bytes.get(start)? {
                b'"' => {
                    self.at += 1;
                    while let Some(byte) = self.bytes.get(self.at) {
                        self.at += 1;
                        match byte {
                            b'"' => break,
                            // An escaped multi-byte character is no JSON; its later bytes are none of `"` and `\`.
                            b'\\' => self.at += 1,
                            _ => {}
                        }
                    }
                    self.at = self.at.min(self.bytes.len());
                    while self.at < self.bytes.len() && self.bytes[self.at] & 0xc0 == 0x80 {
                        self.at += 1;
                    }
                    return Some((start, self.at, true));
                }
                b'-' | b'0'..=b'9' => {
                    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                    let length = self.bytes[start..].iter().take_while(|byte| is_part(byte)).count();
                    self.at += length;
                    return Some((start, self.at, false));
                }
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::RoomVersionId;

    use super::*;

    fn version(id: &RoomVersionId) -> RoomVersion {
        RoomVersion::known(id).unwrap()
    }

    fn canonical(text: &str, id: &RoomVersionId) -> Option<String> {
        let version = version(id);
        Some(write(&parse(text, &version).ok()?, &version).unwrap())
    }

    #[test]
    fn numbers_by_version() {
        // What Python's json module makes of each, for versions that are not strict.
        for (number, lax, strict) in [
            ("1", Some("1"), true),
            ("-0", Some("0"), false),
            ("9007199254740991", Some("9007199254740991"), true),
            ("9007199254740992", Some("9007199254740992"), false),
            ("-9007199254740992", Some("-9007199254740992"), false),
            ("123456789012345678901234567890", Some("123456789012345678901234567890"), false),
            ("1.0", Some("1.0"), false),
            ("-0.0", Some("-0.0"), false),
            ("1.50", Some("1.5"), false),
            ("1e3", Some("1000.0"), false),
            ("5.114698E4", Some("51146.98"), false),
            ("0.1", Some("0.1"), false),
            ("1e15", Some("1000000000000000.0"), false),
            ("1e16", Some("1e+16"), false),
            ("1.25e22", Some("1.25e+22"), false),
            ("0.0001", Some("0.0001"), false),
            ("0.00001", Some("1e-05"), false),
            ("1e-300", Some("1e-300"), false),
            ("1e999", None, false),
            ("01", None, false),
            ("1.", None, false),
            ("+1", None, false),
            ("--1", None, false),
            ("NaN", None, false),
        ] {
            let text = format!("{{\"n\":[{number},{{\"m\": {number} }}]}}");
            let expected = lax.map(|lax| format!("{{\"n\":[{lax},{{\"m\":{lax}}}]}}"));
            assert_eq!(canonical(&text, &RoomVersionId::V5), expected, "{number}, lax");
            assert_eq!(canonical(&text, &RoomVersionId::V6), expected.filter(|_| strict), "{number}, strict");
        }
    }

    #[test]
    fn marked_strings_stay_strings() {
        for (text, expected) in [
            ("{\"\u{fdd0}a\":\"\u{fdd0}1.5\",\"b\":1.5}", "{\"b\":1.5,\"\u{fdd0}a\":\"\u{fdd0}1.5\"}"),
            (
                r#"{"a":"\uFDD0\ufdd01","c":"x\"1.5","d":"\\"}"#,
                "{\"a\":\"\u{fdd0}\u{fdd0}1\",\"c\":\"x\\\"1.5\",\"d\":\"\\\\\"}",
            ),
            ("{\"a\":\"\u{fdd0}\",\"b\":\"\",\"c\":2.0}", "{\"a\":\"\u{fdd0}\",\"b\":\"\",\"c\":2.0}"),
        ] {
            assert_eq!(canonical(text, &RoomVersionId::V4).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_specification_s_examples() {
        for (text, expected) in [
            ("{}", "{}"),
            ("{ \"one\": 1, \"two\": \"Two\" }", "{\"one\":1,\"two\":\"Two\"}"),
            ("{\"b\":\"2\",\"a\":\"1\"}", "{\"a\":\"1\",\"b\":\"2\"}"),
            ("{\"a\": \"\u{65e5}\u{672c}\u{8a9e}\"}", "{\"a\":\"\u{65e5}\u{672c}\u{8a9e}\"}"),
            ("{\"\u{672c}\": 2, \"\u{65e5}\": 1}", "{\"\u{65e5}\":1,\"\u{672c}\":2}"),
            ("{\"a\": \"\\u65E5\"}", "{\"a\":\"\u{65e5}\"}"),
            ("{\"a\": null}", "{\"a\":null}"),
            ("{\"a\": -10}", "{\"a\":-10}"),
        ] {
            for id in [RoomVersionId::V1, RoomVersionId::V12] {
                assert_eq!(canonical(text, &id).as_deref(), Some(expected), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_canonical_is_stable(text in "\\PC{0,64}", number in any::<f64>(), key in "[\u{fdd0}\"\\\\a]{0,4}") {
            let _ = canonical(&text, &RoomVersionId::V3);
            let object = format!("{{{}:{number:?},\"t\":{}}}", serde_json::to_string(&key).unwrap(), serde_json::to_string(&text).unwrap());
            if let Some(once) = canonical(&object, &RoomVersionId::V3) {
                prop_assert_eq!(canonical(&once, &RoomVersionId::V3), Some(once.clone()));
                let back: Value = serde_json::from_str(&once).unwrap();
                prop_assert_eq!(back["t"].as_str(), Some(text.as_str()));
                if key != "t" && number.is_finite() {
                    let written = format!("{}:{}", serde_json::to_string(&key).unwrap(), float(number));
                    prop_assert!(once.contains(&written), "{} in {}", written, once);
                    prop_assert_eq!(float(number).parse::<f64>(), Ok(number));
                }
            }
        }
    }
}
