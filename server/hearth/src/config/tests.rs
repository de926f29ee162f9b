use super::*;

const FILE: &str = "/etc/hearth/hearth.toml";

fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new(FILE), text, environment)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}

#[test]
fn defaults() {
    let config = parse("server_name = \"example.org\"\ndata_dir = \"data\"").unwrap();
    assert_eq!(config.server_name, "example.org");
    assert_eq!(config.data_dir, Path::new("/etc/hearth/data"));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.to_string(), CLIENT_ADDRESS);
    assert_eq!(config.listeners[0].serves, EVERY_SERVICE);
    assert_eq!(config.admin.to_string(), ADMIN_ADDRESS);
    assert_eq!(config.registration.mode, RegistrationMode::Closed);
    assert_eq!(config.default_room_version, RoomVersionId::V12);
    assert_eq!(config.store.engine, Engine::Embedded);
    assert!(config.rate_limit);
}

#[test]
fn every_key() {
    let text = r#"
        server_name = "example.org:8448"
        public_base_url = "https://matrix.example.org/"
        data_dir = "/srv/hearth"
        [[listener]]
        address = "[::1]:0"
        serves = ["client"]
        [[listener]]
        address = "0.0.0.0:8448"
        serves = ["federation", "media"]
        tls = { certificate = "cert.pem", key = "/keys/key.pem" }
        [admin]
        address = "localhost:0"
        [registration]
        mode = "token"
        token = "family"
        shared_secret = "s"
        [federation]
        enabled = false
        extra_ca = ["ca.pem"]
        allow_private_addresses = true
        [rooms]
        default_version = "11"
        [passwords]
        memory_kib = 64
        iterations = 1
        [store]
        engine = "foundationdb"
        cluster_file = "fdb.cluster"
        [limits]
        rate_limit = false
    "#;
    let config = parse(text).unwrap();
    assert_eq!(config.public_base_url.as_deref(), Some("https://matrix.example.org"));
    assert_eq!(config.listeners[0].serves, [Service::Client]);
    let tls = config.listeners[1].tls.as_ref().unwrap();
    assert_eq!(tls.certificate, Path::new("/etc/hearth/cert.pem"));
    assert_eq!(tls.key, Path::new("/keys/key.pem"));
    assert_eq!(config.admin.to_string(), "127.0.0.1:0");
    assert_eq!(config.registration.token.as_deref(), Some("family"));
    assert_eq!(config.federation.extra_ca, [Path::new("/etc/hearth/ca.pem")]);
    assert_eq!(config.passwords, PasswordCost { memory_kib: 64, iterations: 1 });
    assert_eq!(config.store.cluster_file.as_deref(), Some(Path::new("/etc/hearth/fdb.cluster")));
    assert!(!config.rate_limit && !config.federation.enabled && config.federation.allow_private_addresses);
}

/// What is wrong, where, which key, and a word of the message.
#[test]
fn errors_name_the_place_and_the_key() {
    let name = "server_name = \"example.org\"\n";
    for (text, line, key, word) in [
        ("", None, "server_name", "needs a name"),
        ("server_name = 1", Some(1), "server_name", "wrong type: integer `1`, expected a string"),
        ("\n\nserver_name = \"Example.org\"", Some(3), "server_name", "write \"example.org\""),
        ("server_name = \"https://example.org\"", Some(1), "server_name", "address"),
        ("server_name = \"exa mple\"", Some(1), "server_name", "no server name"),
        ("server_name = ", Some(1), "", ""),
        ("servername = \"example.org\"", Some(1), "servername", "there is no key `servername`"),
        (
            "[registration]\n\nmode = \"opne\"",
            Some(3),
            "registration.mode",
            "there is no choice `opne`, expected one of `closed`, `token`, `open`",
        ),
        ("[registration]\nmod = \"open\"", Some(2), "registration.mod", "there is no key `mod`"),
        ("[registration]\ntoken = \"a b\"", Some(2), "registration.token", "characters"),
        ("[registration]\nshared_secret = \"\"", Some(2), "registration.shared_secret", "empty"),
        ("[passwords]\nmemory_kib = \"64\"", Some(2), "passwords.memory_kib", "expected a whole number"),
        ("[passwords]\nmemory_kib = 7", Some(2), "passwords.memory_kib", "between"),
        ("[passwords]\niterations = -1", Some(2), "passwords.iterations", "whole number"),
        ("[limits]\nrate_limit = \"yes\"", Some(2), "limits.rate_limit", "boolean"),
        ("[rooms]\ndefault_version = \"1\"", Some(2), "rooms.default_version", "10, 11, 12"),
        ("[store]\nengine = \"sqlite\"", Some(2), "store.engine", "there is no choice `sqlite`"),
        ("[store]\ncluster_file = \"x\"", Some(2), "store.cluster_file", "foundationdb"),
        ("[admin]\naddress = \"0.0.0.0:8010\"", Some(2), "admin.address", "reached by others"),
        ("[[listener]]\nserves = [\"client\"]", Some(1), "listener[0]", "needs an `address`"),
        ("[[listener]]\naddress = \"8008\"", Some(2), "listener[0].address", "an IP address and a port"),
        (
            "[[listener]]\naddress = \"[::1]:1\"\n[[listener]]\naddress = \"[::1]:1\"",
            Some(4),
            "listener[1].address",
            "two listeners",
        ),
        (
            "[[listener]]\naddress = \"[::1]:1\"\nserves = [\"web\"]",
            Some(3),
            "listener[0].serves[0]",
            "there is no choice `web`",
        ),
        ("[[listener]]\naddress = \"[::1]:1\"\nserves = []", Some(3), "listener[0].serves", "nothing"),
        ("[[listener]]\naddress = \"[::1]:1\"\ntls = { key = \"k\" }", Some(3), "listener[0].tls", "`certificate`"),
        ("listener = []", Some(1), "listener", "one listener at least"),
        ("public_base_url = \"example.org\"", Some(1), "public_base_url", "https://"),
        ("public_base_url = \"ftp://example.org\"", Some(1), "public_base_url", "must begin"),
        ("public_base_url = \"https://example.org/?a\"", Some(1), "public_base_url", "alone"),
    ] {
        // The name stands at the end of the first line, so that it moves no line.
        let full = if text.contains("server_name") || text.is_empty() || line.is_none() || key == "servername" {
            text.to_owned()
        } else {
            format!("{name}{text}")
        };
        let line = line.map(|line| if full == text { line } else { line + 1 });
        let error = parse(&full).expect_err(text);
        let place = line.map_or_else(|| FILE.to_owned(), |line| format!("{FILE}:{line}"));
        assert_eq!((error.place.as_str(), error.key.as_str()), (place.as_str(), key), "{text}: {error}");
        assert!(error.message.contains(word), "{text}: {error}");
    }
}

#[test]
fn the_environment_overrides() {
    let text = "server_name = \"example.org\"\ndata_dir = \"data\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n";
    let config = parse_with(
        text,
        &[
            ("HEARTH_SERVER_NAME", "other.example"),
            ("HEARTH_STORE__ENGINE", "foundationdb"),
            ("HEARTH_LIMITS__RATE_LIMIT", "false"),
            ("HEARTH_PASSWORDS__MEMORY_KIB", "64"),
            ("HEARTH_REGISTRATION__TOKEN", "123"),
            ("HEARTH_FEDERATION__EXTRA_CA", "a.pem, b.pem"),
            ("HEARTH_LISTENER__0__ADDRESS", "127.0.0.1:2"),
            ("HEARTH_LISTENER__0__SERVES", "[\"media\"]"),
            ("HEARTH_LISTENER__1__ADDRESS", "127.0.0.1:3"),
            ("HEARTH_BIN", "/somewhere/hearth"),
            ("HEARTH_SERVERNAME", "x"),
            ("OTHER", "thing"),
        ],
    )
    .unwrap();
    assert_eq!(config.server_name, "other.example");
    assert_eq!(config.store.engine, Engine::FoundationDb);
    assert!(!config.rate_limit);
    assert_eq!(config.passwords.memory_kib, 64);
    assert_eq!(config.registration.token.as_deref(), Some("123"));
    assert_eq!(config.federation.extra_ca, [Path::new("/etc/hearth/a.pem"), Path::new("/etc/hearth/b.pem")]);
    let addresses: Vec<_> = config.listeners.iter().map(|listener| listener.address.port()).collect();
    assert_eq!(addresses, [2, 3]);
    assert_eq!(config.listeners[0].serves, [Service::Media]);
    assert_eq!(config.ignored_variables, ["HEARTH_BIN", "HEARTH_SERVERNAME"]);
}

#[test]
fn errors_of_the_environment_name_the_variable() {
    let text = "server_name = \"example.org\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n";
    for (name, value, key, word) in [
        ("HEARTH_STORE__ENGIN", "embedded", "store.engin", "there is no key `engin`"),
        ("HEARTH_STORE__ENGINE", "sqlite", "store.engine", "there is no choice `sqlite`"),
        ("HEARTH_LIMITS__RATE_LIMIT", "maybe", "limits.rate_limit", "boolean"),
        ("HEARTH_SERVER_NAME", "Example.org", "server_name", "capital"),
        ("HEARTH_LISTENER__0__ADDRESS", "nowhere", "listener[0].address", "no address"),
        ("HEARTH_LISTENER__5__ADDRESS", "[::1]:1", "listener[5].address", "does not lead to a key"),
    ] {
        let error = parse_with(text, &[(name, value)]).expect_err(name);
        assert_eq!((error.place.as_str(), error.key.as_str()), (name, key), "{error}");
        assert!(error.message.contains(word), "{error}");
    }
}
