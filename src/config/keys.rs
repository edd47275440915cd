//! The table of keys: how each is read, shown and explained. A key that is not here does not parse.

use std::net::IpAddr;
use std::time::Duration;

use toml::Value;
use tracing::level_filters::LevelFilter;
use url::{Host, Url};

use super::api_key::{api_keys, show_api_keys};
use super::value::{
    Bad, Secret, boolean, duration, integer, list, masked, parsed, show_duration, show_integer,
    show_list, show_size, show_url, size, text, word,
};
use super::{Config, LogFormat, Origins, Takeover};
use crate::store::{is_postgres, is_sqlite};

const TAKEOVERS: &[(&str, Takeover)] =
    &[("reject", Takeover::Reject), ("replace", Takeover::Replace)];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// One key.
pub struct Key {
    /// Dotted, as in `http.listen`.
    pub name: &'static str,
    /// What a good value looks like, to follow "expected".
    pub expected: &'static str,
    /// Reads a value into the tree.
    pub(super) set: fn(&mut Config, &Value) -> Result<(), Bad>,
    /// The effective value, none when it is unset or left to the server.
    pub(super) show: fn(&Config) -> Option<Value>,
}

/// A whole number.
macro_rules! number {
    ($name:literal, $($field:ident).+, $min:literal, $max:literal) => {
        Key {
            name: $name,
            expected: concat!("a number from ", $min, " to ", $max),
            set: |c, v| {
                c.$($field).+ = integer(v, $min, $max)?.try_into().map_err(|_| Bad)?;
                Ok(())
            },
            show: |c| Some(show_integer(c.$($field).+)),
        }
    };
}

/// A time with its unit; the bounds are in seconds, beside how they are written.
macro_rules! time {
    ($name:literal, $($field:ident).+, $least:literal = $min:literal, $most:literal = $max:literal) => {
        Key {
            name: $name,
            expected: concat!("a time from \"", $least, "\" to \"", $most, "\""),
            set: |c, v| {
                c.$($field).+ = duration(v, $min, $max)?;
                Ok(())
            },
            show: |c| Some(show_duration(c.$($field).+)),
        }
    };
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    Key {
        name: "dev",
        expected: "true or false",
        set: |c, v| {
            c.dev = Some(boolean(v)?);
            Ok(())
        },
        show: |c| Some(Value::Boolean(c.is_dev())),
    },
    Key {
        name: "http.listen",
        expected: "an address and a port, as in \"127.0.0.1:8080\"",
        set: |c, v| {
            c.http.listen = parsed(v)?;
            Ok(())
        },
        show: |c| Some(Value::String(c.http.listen.to_string())),
    },
    Key {
        name: "http.tls.cert",
        expected: "the path of a PEM file with the certificate chain",
        set: |c, v| {
            c.http.tls_cert = Some(text(v)?.into());
            Ok(())
        },
        show: |c| {
            Some(Value::String(
                c.http.tls_cert.as_ref()?.display().to_string(),
            ))
        },
    },
    Key {
        name: "http.tls.key",
        expected: "the path of a PEM file with the private key",
        set: |c, v| {
            c.http.tls_key = Some(text(v)?.into());
            Ok(())
        },
        show: |c| {
            Some(Value::String(
                c.http.tls_key.as_ref()?.display().to_string(),
            ))
        },
    },
    Key {
        name: "http.tls.reload_interval",
        expected: "a time from \"1s\" to \"1d\"",
        set: |c, v| {
            c.http.tls_reload_interval = duration(v, 1, 86_400)?;
            Ok(())
        },
        show: |c| Some(show_duration(c.http.tls_reload_interval)),
    },
    Key {
        name: "http.allowed_origins",
        expected: "a list of origins, as in [\"https://example.org\"], or [\"*\"], or [] for the same origin",
        set: |c, v| {
            c.http.allowed_origins = origins(&list(v)?)?;
            Ok(())
        },
        show: |c| {
            Some(match &c.http.allowed_origins {
                Origins::Same => show_list::<String>(&[]),
                Origins::Any => show_list(&["*"]),
                Origins::Listed(origins) => show_list(origins),
            })
        },
    },
    Key {
        name: "http.handshake_timeout",
        expected: "a time from \"100ms\" to \"60s\"",
        set: |c, v| {
            c.http.handshake_timeout = short_duration(v)?;
            Ok(())
        },
        show: |c| Some(show_duration(c.http.handshake_timeout)),
    },
    number!("sfu.workers", sfu.workers, 1, 256),
    Key {
        name: "sfu.udp_port_base",
        expected: "a port number, or 0",
        set: |c, v| {
            c.sfu.udp_port_base = integer(v, 0, u16::MAX.into())? as u16;
            Ok(())
        },
        show: |c| Some(show_integer(c.sfu.udp_port_base)),
    },
    Key {
        name: "sfu.listen_ip",
        expected: "an IP address, as in \"0.0.0.0\"",
        set: |c, v| {
            c.sfu.listen_ip = Some(parsed(v)?);
            Ok(())
        },
        show: |c| Some(Value::String(c.media_ip().to_string())),
    },
    Key {
        name: "sfu.advertised_ips",
        expected: "a list of IP addresses that viewers reach, as in [\"203.0.113.7\"]",
        set: |c, v| {
            c.sfu.advertised_ips = advertised_ips(&list(v)?)?;
            Ok(())
        },
        show: |c| Some(show_list(&c.sfu.advertised_ips)),
    },
    Key {
        name: "sfu.ice_servers",
        expected: "a list of STUN URLs, as in [\"stun:stun.example.org:3478\"]",
        set: |c, v| {
            c.sfu.ice_servers = ice_servers(list(v)?)?;
            Ok(())
        },
        show: |c| Some(show_list(&c.sfu.ice_servers)),
    },
    Key {
        name: "store.url",
        expected: "a URL, as in \"sqlite://redred.db\" or \"postgres://ana:password@localhost/redred\"",
        set: |c, v| {
            c.store.url = store_url(text(v)?)?;
            Ok(())
        },
        show: |c| Some(show_url(&c.store.url)),
    },
    Key {
        name: "auth.secret",
        expected: "a text of at least 32 bytes",
        set: |c, v| {
            c.auth.secret = Some(Secret::new(text(v)?));
            Ok(())
        },
        show: |c| c.auth.secret.as_ref().map(|_| masked()),
    },
    Key {
        name: "auth.jwks_file",
        expected: "the path of a JSON Web Key Set (RFC 7517)",
        set: |c, v| {
            c.auth.jwks_file = Some(text(v)?.into());
            Ok(())
        },
        show: |c| {
            Some(Value::String(
                c.auth.jwks_file.as_ref()?.display().to_string(),
            ))
        },
    },
    Key {
        name: "auth.jwks_url",
        expected: "an https URL of a JSON Web Key Set, as in \"https://id.example.org/jwks.json\" (http to this machine only)",
        set: |c, v| {
            c.auth.jwks_url = Some(jwks_url(&text(v)?)?);
            Ok(())
        },
        show: |c| Some(Value::String(c.auth.jwks_url.as_ref()?.to_string())),
    },
    Key {
        name: "auth.jwks_refresh_interval",
        expected: "a time from \"10s\" to \"1d\"",
        set: |c, v| {
            c.auth.jwks_refresh_interval = duration(v, 10, 86_400)?;
            Ok(())
        },
        show: |c| Some(show_duration(c.auth.jwks_refresh_interval)),
    },
    Key {
        name: "auth.api_keys",
        expected: "a list of keys of at least 16 characters, each a text or { key = \"…\", scopes = [\"rooms\"], name = \"…\" } \
                   with scopes of rooms, messages, notifications, tokens, users, publish and streams",
        set: |c, v| {
            c.auth.api_keys = api_keys(v)?;
            Ok(())
        },
        show: |c| Some(show_api_keys(&c.auth.api_keys)),
    },
    Key {
        name: "live.publisher_grace_ms",
        expected: "milliseconds from 0 to 600000",
        set: |c, v| {
            c.live.publisher_grace = Duration::from_millis(integer(v, 0, 600_000)?);
            Ok(())
        },
        show: |c| Some(show_integer(c.live.publisher_grace.as_millis())),
    },
    Key {
        name: "live.takeover",
        expected: "\"reject\" or \"replace\"",
        set: |c, v| {
            c.live.takeover = word(v, TAKEOVERS)?;
            Ok(())
        },
        show: |c| Some(show_word(c.live.takeover, TAKEOVERS)),
    },
    number!("live.max_viewers", live.max_viewers, 1, 1000000),
    number!(
        "live.comments_per_minute",
        live.comments_per_minute,
        1,
        6000
    ),
    number!("live.comments_burst", live.comments_burst, 1, 1000),
    number!(
        "live.reactions_per_second",
        live.reactions_per_second,
        1,
        1000
    ),
    number!("live.reactions_burst", live.reactions_burst, 1, 1000),
    time!(
        "websocket.heartbeat",
        websocket.heartbeat,
        "1s" = 1,
        "10m" = 600
    ),
    time!(
        "websocket.idle_timeout",
        websocket.idle_timeout,
        "2s" = 2,
        "1h" = 3600
    ),
    time!(
        "websocket.write_timeout",
        websocket.write_timeout,
        "1s" = 1,
        "5m" = 300
    ),
    Key {
        name: "websocket.message_bytes_max",
        expected: "a size from \"4kib\" to \"64kib\"",
        set: |c, v| {
            c.websocket.message_bytes_max = size(v, 4 * 1024, 64 * 1024)?;
            Ok(())
        },
        show: |c| Some(show_size(c.websocket.message_bytes_max)),
    },
    number!(
        "websocket.compress_min_bytes",
        websocket.compress_min_bytes,
        64,
        65536
    ),
    number!("websocket.fragments_max", websocket.fragments_max, 1, 1024),
    Key {
        name: "websocket.outbox_bytes",
        expected: "a size from \"64kib\" to \"64mib\"",
        set: |c, v| {
            c.websocket.outbox_bytes = size(v, 64 * 1024, 64 * 1024 * 1024)?;
            Ok(())
        },
        show: |c| Some(show_size(c.websocket.outbox_bytes)),
    },
    number!(
        "websocket.outbox_messages",
        websocket.outbox_messages,
        16,
        65_536
    ),
    number!("chat.max_group_members", chat.max_group_members, 2, 1000),
    number!("chat.max_rooms", chat.max_rooms, 1, 1000000),
    number!(
        "chat.messages_per_second",
        chat.messages.per_second,
        1,
        10000
    ),
    number!("chat.messages_burst", chat.messages.burst, 1, 100000),
    time!("chat.linger", chat.linger, "0s" = 0, "1h" = 3600),
    time!(
        "chat.offline_delay",
        chat.offline_delay,
        "0s" = 0,
        "5m" = 300
    ),
    Key {
        name: "notifications.batch_window_ms",
        expected: "milliseconds from 0 to 60000",
        set: |c, v| {
            c.notifications.batch_window = Duration::from_millis(integer(v, 0, 60_000)?);
            Ok(())
        },
        show: |c| Some(show_integer(c.notifications.batch_window.as_millis())),
    },
    time!(
        "notifications.retention",
        notifications.retention,
        "1d" = 86400,
        "3650d" = 315360000
    ),
    time!(
        "notifications.live_cooldown",
        notifications.live_cooldown,
        "0s" = 0,
        "1d" = 86400
    ),
    number!(
        "notifications.recipients_max",
        notifications.recipients_max,
        1,
        10000
    ),
    number!(
        "notifications.followers_max",
        notifications.followers_max,
        1,
        1000000
    ),
    number!("limits.connections", limits.connections, 1, 1_048_576),
    number!(
        "limits.connections_per_address",
        limits.connections_per_address,
        1,
        1_048_576
    ),
    number!(
        "limits.handshakes_per_address",
        limits.handshakes_per_address,
        1,
        1000000
    ),
    number!("limits.sessions", limits.sessions, 1, 1000000),
    number!(
        "limits.sessions_per_user",
        limits.sessions_per_user,
        1,
        1000000
    ),
    number!(
        "limits.messages_per_second",
        limits.messages.per_second,
        1,
        10000
    ),
    number!("limits.messages_burst", limits.messages.burst, 1, 100000),
    number!(
        "limits.bad_messages_per_second",
        limits.bad_messages.per_second,
        1,
        10000
    ),
    number!(
        "limits.bad_messages_burst",
        limits.bad_messages.burst,
        1,
        100000
    ),
    number!(
        "limits.user_messages_per_second",
        limits.user_messages.per_second,
        1,
        10000
    ),
    number!(
        "limits.user_messages_burst",
        limits.user_messages.burst,
        1,
        100000
    ),
    number!(
        "limits.user_requests_per_second",
        limits.user_requests.per_second,
        1,
        10000
    ),
    number!(
        "limits.user_requests_burst",
        limits.user_requests.burst,
        1,
        100000
    ),
    Key {
        name: "log.format",
        expected: "\"text\" or \"json\"",
        set: |c, v| {
            c.log.format = word(v, LOG_FORMATS)?;
            Ok(())
        },
        show: |c| Some(show_word(c.log.format, LOG_FORMATS)),
    },
    Key {
        name: "log.level",
        expected: "error, warn, info, debug or trace, or directives such as \"info,redred::http=debug\"",
        set: |c, v| {
            c.log.level = log_level(text(v)?)?;
            Ok(())
        },
        show: |c| Some(Value::String(c.log.level.clone())),
    },
    time!("shutdown.grace", shutdown.grace, "0s" = 0, "10m" = 600),
];

/// Keys of the contract whose feature this version does not have: parsing them would promise something untrue.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("cluster", "clusters of nodes"),
    ("sfu.tcp_port", "ICE over TCP"),
    ("webhooks", "webhooks"),
];

/// Finds a key, or says why there is none.
pub(super) fn find(name: &str) -> Result<&'static Key, String> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Ok(key);
    }
    let covers = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some((_, feature)) = UNSUPPORTED.iter().find(|(prefix, _)| covers(prefix)) {
        return Err(format!(
            "expected no such key: this version does not support {feature}"
        ));
    }
    let near = KEYS
        .iter()
        .map(|key| (strsim::damerau_levenshtein(key.name, name), key.name))
        .min();
    Err(match near {
        Some((distance, near)) if distance <= 3 => {
            format!("unknown key, expected perhaps {near}")
        }
        Some(_) | None => "unknown key, expected one of those in config/redred.toml".to_owned(),
    })
}

fn origins(list: &[String]) -> Result<Origins, Bad> {
    if list.is_empty() {
        return Ok(Origins::Same);
    }
    if list == ["*"] {
        return Ok(Origins::Any);
    }
    let normal = list
        .iter()
        .map(|origin| crate::http::origin::normalise(origin).ok_or(Bad));
    Ok(Origins::Listed(normal.collect::<Result<_, _>>()?))
}

fn advertised_ips(list: &[String]) -> Result<Vec<IpAddr>, Bad> {
    let ips = list.iter().map(|ip| ip.parse().map_err(|_| Bad));
    let ips = ips.collect::<Result<Vec<IpAddr>, Bad>>()?;
    let is_reachable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    ips.iter().all(is_reachable).then_some(ips).ok_or(Bad)
}

fn ice_servers(urls: Vec<String>) -> Result<Vec<String>, Bad> {
    let is_stun = |url: &String| {
        let host = url.strip_prefix("stun:").or(url.strip_prefix("stuns:"));
        // The URL stands between angle brackets in a Link header.
        host.is_some_and(|host| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'>')
        })
    };
    urls.iter().all(is_stun).then_some(urls).ok_or(Bad)
}

/// Keys that come over a line that others can write on would be anybody's keys.
fn jwks_url(text: &str) -> Result<Url, Bad> {
    let url: Url = text.parse().map_err(|_| Bad)?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let is_safe = match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback,
        _ => false,
    };
    let has_login = !url.username().is_empty() || url.password().is_some();
    (is_safe && !has_login).then_some(url).ok_or(Bad)
}

fn store_url(url: String) -> Result<String, Bad> {
    (is_sqlite(&url) || is_postgres(&url))
        .then_some(url)
        .ok_or(Bad)
}

fn log_level(text: String) -> Result<String, Bad> {
    // A lone word that is no level would be taken for the name of a module, and silence everything else.
    let is_directive = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level.trim().parse::<LevelFilter>().is_ok()
    };
    let is_filter = tracing_subscriber::EnvFilter::try_new(&text).is_ok();
    (is_filter && text.split(',').all(is_directive))
        .then_some(text)
        .ok_or(Bad)
}

fn short_duration(value: &Value) -> Result<Duration, Bad> {
    let duration = duration(value, 0, 60)?;
    (duration >= Duration::from_millis(100))
        .then_some(duration)
        .ok_or(Bad)
}

fn show_word<T: PartialEq>(meaning: T, words: &[(&str, T)]) -> Value {
    let found = words.iter().find(|(_, known)| *known == meaning);
    Value::String(found.map_or("", |(word, _)| word).to_owned())
}
