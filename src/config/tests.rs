//! Precedence, faults, and the example file that documents every key.

use super::*;

fn file(text: &str) -> Sources {
    Sources {
        file: Some(("redred.toml".to_owned(), Ok(text.to_owned()))),
        ..Sources::default()
    }
}

fn env(mut sources: Sources, name: &str, value: &str) -> Sources {
    sources.env.push((name.to_owned(), value.to_owned()));
    sources
}

fn faults(sources: Sources) -> String {
    merge(sources).expect_err("faults").to_string()
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(merge(Sources::default()), Ok(Config::default()));
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let mut sources = file("[http]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"");
    sources = env(sources, "REDRED_HTTP__LISTEN", "127.0.0.1:2");
    sources = env(sources, "REDRED_LOG__LEVEL", "debug");
    sources = env(sources, "HTTP__LISTEN", "127.0.0.1:4");
    sources
        .flags
        .push(("http.listen", "--listen", "127.0.0.1:3".to_owned()));
    let config = merge(sources).expect("no faults");
    assert_eq!(config.http.listen.port(), 3);
    assert_eq!(config.log.level, "debug");
}

#[test]
fn an_absent_flag_does_not_clobber_the_file() {
    let config = merge(file("[log]\nformat = \"json\"")).expect("no faults");
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.http == Http::default());
}

#[test]
fn every_fault_is_reported_at_once_with_key_place_and_expectation() {
    let mut sources = file(
        "[http]\nlisten = 8080\nlistne = \"x\"\n[cluster]\nredis_url = \"redis://x\"\n[sfu]\nworkers = 0\n\
         tcp_port = 7000\n[store]\nurl = \"mysql://x\"\n[live]\ntakeover = \"maybe\"\n\
         [shutdown]\ngrace = 5\n[log]\nlevel = \"loud\"",
    );
    sources = env(sources, "REDRED_SFU__UDP_PORT_BASE", "70000");
    let text = faults(sources);
    for expected in [
        "http.listen (in redred.toml): expected an address and a port",
        "http.listne (in redred.toml): unknown key, expected perhaps http.listen",
        "cluster.redis_url (in redred.toml): expected no such key: this version does not support clusters",
        "sfu.workers (in redred.toml): expected a number from 1 to 256",
        "sfu.tcp_port (in redred.toml): expected no such key: this version does not support ICE over TCP",
        "store.url (in redred.toml): expected a URL, as in",
        "live.takeover (in redred.toml): expected \"reject\" or \"replace\"",
        "shutdown.grace (in redred.toml): expected a time",
        "log.level (in redred.toml): expected error, warn",
        "sfu.udp_port_base (in the environment variable REDRED_SFU__UDP_PORT_BASE): expected a port number",
    ] {
        assert!(text.contains(expected), "{expected}\nnot in\n{text}");
    }
    assert!(
        text.starts_with("the configuration has 10 fault(s)"),
        "{text}"
    );
}

#[test]
fn a_missing_or_broken_file_is_a_fault() {
    let missing = Sources {
        file: Some((
            "no.toml".to_owned(),
            Err(std::io::ErrorKind::NotFound.into()),
        )),
        ..Sources::default()
    };
    assert!(faults(missing).contains("config (in no.toml): expected a readable TOML file"));
    assert!(faults(file("http = [")).contains("config (in redred.toml): "));
    assert!(faults(file("http = 1")).contains("http (in redred.toml): unknown key"));
    assert!(
        faults(file("[http.listen]\nport = 1")).contains("http.listen (in redred.toml): expected")
    );
}

#[test]
fn units_are_read() {
    let config = merge(file(
        "[shutdown]\ngrace = \"1m 30s\"\n[websocket]\noutbox_bytes = \"2MiB\"\n[live]\npublisher_grace_ms = 2500",
    ))
    .expect("no faults");
    assert_eq!(config.shutdown.grace, Duration::from_secs(90));
    assert_eq!(config.websocket.outbox_bytes, 2 * 1024 * 1024);
    assert_eq!(config.live.publisher_grace, Duration::from_millis(2500));
}

#[test]
fn lists_come_as_arrays_or_comma_separated() {
    let expected: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let from_file = file("[sfu]\nadvertised_ips = [\"192.0.2.1\", \"2001:db8::1\"]");
    let from_env = env(
        Sources::default(),
        "REDRED_SFU__ADVERTISED_IPS",
        "192.0.2.1, 2001:db8::1",
    );
    for sources in [from_file, from_env] {
        assert_eq!(
            merge(sources).expect("no faults").sfu.advertised_ips,
            expected
        );
    }
}

#[test]
fn dev_mode_is_for_loopback_without_keys() {
    let secret = "[auth]\nsecret = \"0123456789abcdef0123456789abcdef\"\n";
    let is_dev = |text: &str| merge(file(text)).map(|config| config.is_dev());
    assert_eq!(is_dev(""), Ok(true));
    assert_eq!(is_dev("dev = true"), Ok(true));
    assert_eq!(is_dev(secret), Ok(false));
    assert_eq!(
        is_dev(&format!("{secret}[http]\nlisten = \"0.0.0.0:80\"")),
        Ok(false)
    );

    let open = faults(file("[http]\nlisten = \"0.0.0.0:80\""));
    assert!(open.contains(
        "auth: expected auth.secret, auth.jwks_url or auth.jwks_file, because the server listens beyond loopback"
    ));
    let open = faults(file("dev = true\n[sfu]\nlisten_ip = \"192.0.2.1\""));
    assert!(open.contains("listens beyond loopback"), "{open}");
    let both = faults(file(&format!("dev = true\n{secret}")));
    assert!(
        both.contains("dev: expected no auth key beside dev = true"),
        "{both}"
    );
    let neither = faults(file("dev = false"));
    assert!(neither.contains(
        "auth: expected auth.secret, auth.jwks_url or auth.jwks_file, because dev is false"
    ));
}

#[test]
fn short_secrets_are_refused() {
    let text = faults(file("[auth]\nsecret = \"0123456789abcdef0123456789abcde\""));
    assert!(
        text.contains("auth.secret: expected at least 32 bytes"),
        "{text}"
    );
    assert!(!text.contains("0123456789"), "{text}");
}

#[test]
fn secrets_are_masked_in_the_effective_configuration() {
    let config = merge(file(
        "[auth]\nsecret = \"0123456789abcdef0123456789abcdef\"\napi_keys = [\"0123456789abcdef\"]",
    ))
    .expect("no faults");
    for shown in [config.to_toml(), format!("{config:?}")] {
        assert!(shown.contains("********"), "{shown}");
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}

#[test]
fn the_password_of_the_database_is_masked_wherever_it_stands() {
    for (url, shown) in [
        (
            "postgres://ana:hush@db/redred",
            "postgres://ana:********@db/redred",
        ),
        (
            "postgres:///redred?host=/run/x&password=hush",
            "postgres:///redred?host=%2Frun%2Fx&password=********",
        ),
        ("postgres://ana@db/redred", "postgres://ana@db/redred"),
        ("sqlite:///var/lib/redred.db", "sqlite:///var/lib/redred.db"),
    ] {
        let config = merge(file(&format!("[store]\nurl = \"{url}\""))).expect("no faults");
        assert_eq!(config.store.url, url);
        let text = config.to_toml();
        assert!(text.contains(&format!("url = \"{shown}\"")), "{text}");
    }
}

#[test]
fn media_listens_on_loopback_in_dev_mode_and_everywhere_else_otherwise() {
    let dev = Config::default();
    assert!(dev.media_ip().is_loopback());
    assert_eq!(dev.advertised_ips(|| unreachable!()), [dev.media_ip()]);
    let open = merge(file(
        "[auth]\nsecret = \"0123456789abcdef0123456789abcdef\"",
    ))
    .expect("no faults");
    assert!(open.media_ip().is_unspecified());
    let found: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(
        open.advertised_ips(|| vec![found, "2001:db8::1".parse().unwrap()]),
        [found]
    );
    assert_eq!(open.advertised_ips(Vec::new), [Ipv4Addr::LOCALHOST]);
}

#[test]
fn the_example_file_is_the_defaults() {
    let text = include_str!("../../config/redred.toml");
    let config = merge(file(text)).expect("no faults");
    assert_eq!(config, Config::default());
}

#[test]
fn the_example_file_shows_every_key_and_explains_it() {
    let text = include_str!("../../config/redred.toml");
    let mut table = String::new();
    let mut shown = Vec::new();
    let mut is_explained = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
            continue;
        }
        let setting = line.strip_prefix("#: ").unwrap_or(line);
        let Some((name, _)) = setting
            .split_once(" = ")
            .filter(|_| !line.starts_with("# "))
        else {
            is_explained = line.starts_with("# ");
            continue;
        };
        assert!(is_explained, "no comment above {table}{name}");
        is_explained = false;
        shown.push(format!("{table}{name}"));
    }
    shown.sort();
    let mut keys: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    keys.sort_unstable();
    assert_eq!(shown, keys);
}

#[test]
fn what_is_shown_can_be_read_back() {
    let shown = Config::default().to_toml();
    let again = merge(file(&shown)).expect("no faults");
    assert_eq!(again.to_toml(), shown);
}

fn api_keys(value: &str) -> Result<Vec<ApiKey>, String> {
    let secret = "secret = \"0123456789abcdef0123456789abcdef\"";
    merge(file(&format!("[auth]\n{secret}\napi_keys = {value}")))
        .map(|config| config.auth.api_keys)
        .map_err(|faults| faults.to_string())
}

#[test]
fn api_keys_are_for_everything_or_for_what_their_scopes_name() {
    let keys = api_keys(
        r#"["0123456789abcdef", { key = "fedcba9876543210", scopes = ["rooms", "messages"], name = "Shop" }]"#,
    )
    .expect("no faults");
    assert!(keys[0] == ApiKey::all("0123456789abcdef"));
    assert_eq!(keys[1].scopes, [Scope::Rooms, Scope::Messages].into());
    assert_eq!(keys[1].name.as_deref(), Some("Shop"));
}

#[test]
fn api_keys_come_from_the_environment_as_the_same_list_or_separated_by_commas() {
    let secret = "0123456789abcdef0123456789abcdef";
    for (text, scopes) in [
        ("0123456789abcdef, fedcba9876543210", [7, 7]),
        (
            r#"["0123456789abcdef", { key = "fedcba9876543210", scopes = ["publish"] }]"#,
            [7, 1],
        ),
    ] {
        let sources = env(Sources::default(), "REDRED_AUTH__SECRET", secret);
        let sources = env(sources, "REDRED_AUTH__API_KEYS", text);
        let keys = merge(sources).expect("no faults").auth.api_keys;
        let found: Vec<usize> = keys.iter().map(|key| key.scopes.len()).collect();
        assert_eq!(found, scopes, "{text}");
    }
}

#[test]
fn bad_api_keys_stop_the_start_and_are_not_repeated() {
    for bad in [
        r#"["0123456789abcde"]"#,
        r#"[{ scopes = ["rooms"] }]"#,
        r#"[{ key = "0123456789abcdef", scopes = ["room"] }]"#,
        r#"[{ key = "0123456789abcdef", scopes = [] }]"#,
        r#"[{ key = "0123456789abcdef", scope = ["rooms"] }]"#,
        r#"[{ key = "0123456789abcdef", scopes = "rooms" }]"#,
        r#"[7]"#,
    ] {
        let text = api_keys(bad).err().expect(bad);
        assert!(
            text.contains("auth.api_keys (in redred.toml): expected a list of keys"),
            "{text}"
        );
        assert!(text.contains("rooms, messages, notifications"), "{text}");
        assert!(!text.contains("0123456789"), "{text}");
    }
    let twice = api_keys(r#"["0123456789abcdef", "0123456789abcdef"]"#);
    assert!(twice.err().expect("twice").contains("every key once"));
}

#[test]
fn scopes_and_names_of_api_keys_are_shown_and_keys_are_not() {
    let keys = r#"[{ key = "fedcba9876543210", scopes = ["users"], name = "Shop" }]"#;
    let secret = "secret = \"0123456789abcdef0123456789abcdef\"";
    let config = merge(file(&format!("[auth]\n{secret}\napi_keys = {keys}")));
    let shown = config.expect("no faults").to_toml();
    assert!(shown.contains("users") && shown.contains("Shop"), "{shown}");
    assert!(!shown.contains("fedcba"), "{shown}");
}
