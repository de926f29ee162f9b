//! Access control lists of servers
//! ([`m.room.server_acl`](https://spec.matrix.org/v1.19/client-server-api/#mroomserver_acl)).

use ruma::ServerName;
use serde_json::Value;

/// A room's list, ready to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAcl {
    allow: Vec<String>,
    deny: Vec<String>,
    ip_literals: bool,
}

impl ServerAcl {
    /// Reads the content of an `m.room.server_acl` event. What is not of the expected type counts as missing, patterns that
    /// are no strings are passed over, as other servers do.
    pub fn parse(content: &serde_json::value::RawValue) -> Self {
        let content: Value = serde_json::from_str(content.get()).unwrap_or_default();
        let patterns = |field: &str| {
            let list = content.get(field).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_lowercase).collect()
        };
        Self {
            allow: patterns("allow"),
            deny: patterns("deny"),
            ip_literals: content.get("allow_ip_literals").and_then(Value::as_bool).unwrap_or(true),
        }
    }

    /// Whether a server may take part in the room. Rooms without a list allow all. The port does not count, nor does case.
    pub fn allows(&self, server: &ServerName) -> bool {
        if server.is_ip_literal() && !self.ip_literals {
            return false;
        }
        let name = server.host().to_lowercase();
        let matches = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, &name));
        !matches(&self.deny) && matches(&self.allow)
    }
}

/// [Glob-style matching](https://spec.matrix.org/v1.19/appendices/#glob-style-matching): `*` is any characters, `?` one.
/// Takes time in the product of the lengths at most, whatever the pattern.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where the last `*` is, and up to where it matches.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((begin, end)) = star else { return false };
                star = Some((begin, end + 1));
                at = begin + 1;
                from = end + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::{json, value::to_raw_value};

    use super::*;

    fn allows(acl: &Value, server: &str) -> bool {
        let acl = ServerAcl::parse(&to_raw_value(acl).unwrap());
        acl.allows(<&ServerName>::try_from(server).unwrap())
    }

    #[test]
    fn the_rules_in_their_order() {
        let all = json!(["*"]);
        for (acl, server, expected) in [
            (json!({ "allow": all }), "example.org", true),
            (json!({}), "example.org", false),
            (json!({ "allow": [] }), "example.org", false),
            (json!({ "deny": ["evil.com"] }), "example.org", false),
            (json!({ "allow": all, "deny": ["evil.com"] }), "evil.com", false),
            (json!({ "allow": all, "deny": ["evil.com"] }), "evil.com:8448", false),
            (json!({ "allow": all, "deny": ["evil.com:8448"] }), "evil.com:8448", true),
            (json!({ "allow": all, "deny": ["evil.com"] }), "not.evil.com", true),
            (json!({ "allow": all, "deny": ["*.evil.com"] }), "not.evil.com", false),
            (json!({ "allow": all, "deny": ["*.evil.com"] }), "evil.com", true),
            (json!({ "allow": ["good.com"], "deny": ["good.com"] }), "good.com", false),
            (json!({ "allow": ["good.com"] }), "better.com", false),
            (json!({ "allow": ["g??d.com"] }), "good.com", true),
            (json!({ "allow": ["g?d.com"] }), "good.com", false),
            // Case does not count (v1.19).
            (json!({ "allow": all, "deny": ["EVIL.com"] }), "evil.COM", false),
            (json!({ "allow": ["GOOD.*"] }), "good.org", true),
            // Addresses.
            (json!({ "allow": all }), "1.2.3.4", true),
            (json!({ "allow": all, "allow_ip_literals": false }), "1.2.3.4", false),
            (json!({ "allow": all, "allow_ip_literals": false }), "1.2.3.4:8448", false),
            (json!({ "allow": all, "allow_ip_literals": false }), "[2001:db8::1]", false),
            (json!({ "allow": all, "allow_ip_literals": false }), "[2001:db8::1]:8448", false),
            (json!({ "allow": all, "allow_ip_literals": false }), "1.2.3.4.example.org", true),
            (json!({ "allow": all, "allow_ip_literals": true }), "1.2.3.4", true),
            (json!({ "allow": all, "deny": ["1.2.3.*"] }), "1.2.3.4:1", false),
            // Other types are as if missing.
            (json!({ "allow": all, "allow_ip_literals": "false" }), "1.2.3.4", true),
            (json!({ "allow": "*" }), "example.org", false),
            (json!({ "allow": [1, "*"], "deny": { "evil.com": 1 } }), "evil.com", true),
            (json!([]), "example.org", false),
        ] {
            assert_eq!(allows(&acl, server), expected, "{acl} for {server}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("**", "x", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("*.org", "a.b.org", true),
            ("*.org", "org", false),
            ("a[b]", "ab", false),
            ("a[b]", "a[b]", true),
            ("a.c", "abc", false),
            ("\u{e9}?", "\u{e9}\u{e9}", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
        // No blow-up.
        assert!(!glob(&"*a".repeat(100), &"a".repeat(99)));
    }
}
