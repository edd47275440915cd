//! The configuration tree: defaults, merging of its sources, and the rules between keys.
//!
//! Sources in rising order of precedence: the defaults of [`Config::default`], a TOML file, environment variables
//! (`REDRED_` and `__` between levels) and flags. [`merge`] is pure: it reads neither files nor the environment. Every
//! fault is reported at once, each naming its key, where it was found and what was expected.

mod api_key;
mod fault;
mod keys;
mod limits;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

pub use api_key::{ApiKey, Scope};
pub use fault::{Fault, Faults, Origin};
pub use keys::{KEYS, Key};
pub use limits::{Limits, Rate};
pub use value::Secret;

/// Prefix of the environment variables that set a key.
pub const ENV_PREFIX: &str = "REDRED_";

/// Shorter HS256 secrets can be guessed offline from one token (RFC 7518 section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Everything that can be set.
#[derive(Clone, PartialEq, Default)]
pub struct Config {
    /// Open demo tokens. `None` lets [`Config::is_dev`] decide.
    pub dev: Option<bool>,
    /// The HTTP listener.
    pub http: Http,
    /// The media plane.
    pub sfu: Sfu,
    /// The database.
    pub store: Store,
    /// Who may do what.
    pub auth: Auth,
    /// Rules of live streams.
    pub live: Live,
    /// Chat rooms.
    pub chat: Chat,
    /// Notifications and followers.
    pub notifications: Notifications,
    /// WebSocket sessions.
    pub websocket: WebSocket,
    /// Caps on connections, and paces.
    pub limits: Limits,
    /// What is logged and how.
    pub log: Log,
    /// How the server stops.
    pub shutdown: Shutdown,
}

/// The HTTP listener.
#[derive(Clone, PartialEq)]
pub struct Http {
    /// Address of HTTP, WebSocket, WHIP, WHEP and the web app.
    pub listen: SocketAddr,
    /// PEM files; HTTPS and WSS are served when both are set.
    pub tls_cert: Option<PathBuf>,
    /// The private key of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// How often both files are looked at for a renewed certificate.
    pub tls_reload_interval: Duration,
    /// Which web sites may use the server from a browser.
    pub allowed_origins: Origins,
    /// One deadline over TCP accept, TLS, request headers, upgrade and authentication; also for the body of a request.
    pub handshake_timeout: Duration,
}

/// Which web sites may use the server from a browser.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Origins {
    /// Only pages this server served: scheme, host and port equal those of the request.
    #[default]
    Same,
    /// Every site.
    Any,
    /// Pages of these origins and of this server.
    Listed(Vec<String>),
}

/// The media plane.
#[derive(Clone, PartialEq)]
pub struct Sfu {
    /// Worker threads.
    pub workers: usize,
    /// Worker *i* listens on UDP `base + i`; 0 lets the kernel choose.
    pub udp_port_base: u16,
    /// Address the media sockets bind to. `None`: loopback in dev mode, else every address.
    pub listen_ip: Option<IpAddr>,
    /// Addresses written in ICE candidates. Empty: discovered.
    pub advertised_ips: Vec<IpAddr>,
    /// STUN servers told to WHIP and WHEP clients in `Link` headers.
    pub ice_servers: Vec<String>,
}

/// The database.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    /// `sqlite://path`, `sqlite::memory:`, or `postgres://user:password@host/database`.
    pub url: String,
}

/// Who may do what.
#[derive(Clone, PartialEq)]
pub struct Auth {
    /// HS256 secret.
    pub secret: Option<Secret>,
    /// JSON Web Key Set (RFC 7517) with RS256, ES256 and EdDSA keys.
    pub jwks_file: Option<PathBuf>,
    /// Where such a set is fetched from.
    pub jwks_url: Option<Url>,
    /// How often it is fetched again.
    pub jwks_refresh_interval: Duration,
    /// Keys of other servers: bearers that act as administrators on `/api/v1`.
    pub api_keys: Vec<ApiKey>,
}

/// Rules of live streams.
#[derive(Clone, PartialEq, Eq)]
pub struct Live {
    /// How long a publisher whose connection broke may take to come back before its stream ends.
    pub publisher_grace: Duration,
    /// What a second publisher of a live stream meets.
    pub takeover: Takeover,
    /// Connections that may watch one stream; further ones are refused (`unavailable`).
    pub max_viewers: usize,
    /// Comments a minute of one viewer on one stream; more are refused (`rate_limited`).
    pub comments_per_minute: u32,
    /// Comments at once, likewise.
    pub comments_burst: u32,
    /// Reactions a second of one session; more are refused (`rate_limited`).
    pub reactions_per_second: u32,
    /// Reactions at once, likewise.
    pub reactions_burst: u32,
}

/// What a second publisher of a live stream meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Takeover {
    /// It is refused (`conflict`, 409).
    #[default]
    Reject,
    /// It replaces the first.
    Replace,
}

/// Chat rooms.
#[derive(Clone, PartialEq, Eq)]
pub struct Chat {
    /// Members of a group; more are refused (`conflict`).
    pub max_group_members: usize,
    /// Rooms in memory; then the one that was idle longest is forgotten, and when none is idle requests are refused
    /// (`unavailable`).
    pub max_rooms: usize,
    /// Messages, edits and changes of groups of one user; more are refused (`rate_limited`).
    pub messages: Rate,
    /// How long a room that nobody follows stays in memory.
    pub linger: Duration,
    /// How long somebody must be away to be offline.
    pub offline_delay: Duration,
}

/// Notifications and followers.
#[derive(Clone, PartialEq, Eq)]
pub struct Notifications {
    /// How long those of medium priority are collected for one batch.
    pub batch_window: Duration,
    /// How long they are kept, from their newest event.
    pub retention: Duration,
    /// How long the followers of a stream are not told again that it is live.
    pub live_cooldown: Duration,
    /// Recipients of one request; more are refused.
    pub recipients_max: usize,
    /// Followers of one stream; more are refused.
    pub followers_max: usize,
}

/// WebSocket sessions.
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// How often the server pings; told to clients as `heartbeat_ms`.
    pub heartbeat: Duration,
    /// A session that sends nothing for this long is closed (4008).
    pub idle_timeout: Duration,
    /// How long one write may take before the socket is dropped.
    pub write_timeout: Duration,
    /// Longest message, in bytes, all its fragments together, as sent and inflated; longer ones close with 1009.
    pub message_bytes_max: usize,
    /// Messages of this many bytes and more are compressed for clients that take it, when they shrink.
    pub compress_min_bytes: usize,
    /// Most fragments of one message; more close with 1009.
    pub fragments_max: usize,
    /// How many bytes may wait for a slow reader before it is closed (4002).
    pub outbox_bytes: usize,
    /// How many messages may wait for a slow reader before it is closed (4002).
    pub outbox_messages: usize,
}

/// What is logged and how.
#[derive(Clone, PartialEq, Eq)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level, or directives such as `info,redred::http=debug`.
    pub level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// How the server stops.
#[derive(Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long media and sessions are kept after SIGTERM; clients are told to come back spread over this time.
    pub grace: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls_cert: None,
            tls_key: None,
            tls_reload_interval: Duration::from_secs(60),
            allowed_origins: Origins::Same,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Sfu {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            udp_port_base: 7000,
            listen_ip: None,
            advertised_ips: Vec::new(),
            ice_servers: Vec::new(),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite://redred.db".to_owned(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            secret: None,
            jwks_file: None,
            jwks_url: None,
            jwks_refresh_interval: Duration::from_secs(15 * 60),
            api_keys: Vec::new(),
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self {
            publisher_grace: Duration::from_secs(10),
            takeover: Takeover::Reject,
            max_viewers: 10_000,
            comments_per_minute: 60,
            comments_burst: 5,
            reactions_per_second: 5,
            reactions_burst: 20,
        }
    }
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            max_group_members: 256,
            max_rooms: 10_000,
            messages: Rate::new(10, 30),
            linger: Duration::from_secs(60),
            offline_delay: Duration::from_secs(5),
        }
    }
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            batch_window: Duration::from_millis(500),
            retention: Duration::from_secs(90 * 24 * 3600),
            live_cooldown: Duration::from_secs(600),
            recipients_max: 10_000,
            followers_max: 100_000,
        }
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(25),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            message_bytes_max: 64 * 1024,
            // Below, a message fits one packet anyway and compressing it mostly costs time.
            compress_min_bytes: 512,
            fragments_max: 128,
            outbox_bytes: 1024 * 1024,
            outbox_messages: 1024,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Tells whether some key can verify tokens, so that the server need not hand out open ones.
    pub fn has_auth(&self) -> bool {
        let auth = &self.auth;
        auth.secret.is_some() || auth.jwks_file.is_some() || auth.jwks_url.is_some()
    }

    /// Tells whether tokens are open to everybody: what `dev` says, else whether no auth key is set and every listen
    /// address is loopback.
    pub fn is_dev(&self) -> bool {
        self.dev
            .unwrap_or_else(|| !self.has_auth() && self.listens_on_loopback())
    }

    /// The address the media sockets bind to.
    pub fn media_ip(&self) -> IpAddr {
        let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.sfu
            .listen_ip
            .unwrap_or(if self.is_dev() { loopback } else { everywhere })
    }

    /// The addresses to write in ICE candidates: those configured, else the one listened on, else those that
    /// `discover` finds, else loopback.
    pub fn advertised_ips(&self, discover: impl FnOnce() -> Vec<IpAddr>) -> Vec<IpAddr> {
        if !self.sfu.advertised_ips.is_empty() {
            return self.sfu.advertised_ips.clone();
        }
        let ip = self.media_ip();
        if !ip.is_unspecified() {
            return vec![ip];
        }
        let mut found = discover();
        found.retain(|found| found.is_ipv4() || ip.is_ipv6());
        if found.is_empty() {
            found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        found
    }

    /// The effective configuration as TOML, secrets masked.
    pub fn to_toml(&self) -> String {
        let mut root = toml::Table::new();
        for key in KEYS {
            let Some(value) = (key.show)(self) else {
                continue;
            };
            let mut table = &mut root;
            let mut parts = key.name.split('.').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_none() {
                    table.insert(part.to_owned(), value.clone());
                    break;
                }
                table = table
                    .entry(part)
                    .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                    .as_table_mut()
                    .expect("no key is the prefix of another");
            }
        }
        toml::to_string(&root).expect("a tree of plain values has a TOML form")
    }

    fn listens_on_loopback(&self) -> bool {
        self.http.listen.ip().is_loopback() && self.sfu.listen_ip.is_none_or(|ip| ip.is_loopback())
    }

    /// The rules between keys.
    fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |key: &'static str, expected: &str| faults.push(Fault::rule(key, expected));
        if self.http.tls_cert.is_some() != self.http.tls_key.is_some() {
            fault(
                "http.tls",
                "both http.tls.cert and http.tls.key, or neither",
            );
        }
        if let Some(secret) = &self.auth.secret
            && secret.expose().len() < SECRET_BYTES_MIN
        {
            fault(
                "auth.secret",
                "at least 32 bytes, as from `openssl rand -hex 32`",
            );
        }
        if self.auth.jwks_url.is_some() && self.auth.jwks_file.is_some() {
            fault("auth", "either auth.jwks_url or auth.jwks_file");
        }
        let keys = self.auth.api_keys.iter().map(|entry| entry.key.expose());
        if keys.collect::<BTreeSet<_>>().len() < self.auth.api_keys.len() {
            fault("auth.api_keys", "every key once");
        }
        if !self.auth.api_keys.is_empty() && !self.has_auth() {
            fault(
                "auth.api_keys",
                "auth.secret, auth.jwks_url or auth.jwks_file beside it, so that users have tokens",
            );
        }
        if !self.has_auth() && !self.listens_on_loopback() {
            fault(
                "auth",
                "auth.secret, auth.jwks_url or auth.jwks_file, because the server listens beyond loopback and \
                 without authentication everybody who reaches it could do everything",
            );
        } else if self.dev == Some(true) && self.has_auth() {
            fault("dev", "no auth key beside dev = true, or dev = false");
        } else if self.dev == Some(false) && !self.has_auth() {
            fault(
                "auth",
                "auth.secret, auth.jwks_url or auth.jwks_file, because dev is false and no token could be verified",
            );
        }
        let ports = u16::try_from(self.sfu.workers - 1).unwrap_or(u16::MAX);
        if self.sfu.udp_port_base != 0 && self.sfu.udp_port_base.checked_add(ports).is_none() {
            fault(
                "sfu.udp_port_base",
                "room for one port a worker below 65536",
            );
        }
        if self.websocket.idle_timeout < self.websocket.heartbeat * 2 {
            fault(
                "websocket.idle_timeout",
                "at least twice websocket.heartbeat, or healthy sessions are closed as idle",
            );
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_toml())
    }
}

/// The sources of a configuration, in rising order of precedence.
#[derive(Default)]
pub struct Sources {
    /// Name and contents of the TOML file, or why it could not be read.
    pub file: Option<(String, Result<String, std::io::Error>)>,
    /// The environment; names without [`ENV_PREFIX`] are passed over.
    pub env: Vec<(String, String)>,
    /// Key, flag and value of each flag that was given.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// Reads the file at `path`, if any, and the environment of the process.
    pub fn read(
        path: Option<&std::path::Path>,
        flags: Vec<(&'static str, &'static str, String)>,
    ) -> Self {
        Self {
            file: path.map(|path| (path.display().to_string(), std::fs::read_to_string(path))),
            env: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .filter(|(name, _)| name.starts_with(ENV_PREFIX))
                .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
                .collect(),
            flags,
        }
    }
}

/// Merges the sources over the defaults and checks the result.
///
/// # Errors
///
/// Every fault of every source, and every broken rule between keys.
pub fn merge(sources: Sources) -> Result<Config, Faults> {
    let mut config = Config::default();
    let mut faults = Vec::new();
    let mut found: Vec<(String, Origin, toml::Value)> = Vec::new();

    if let Some((path, contents)) = sources.file {
        let origin = Origin::File(path);
        match contents.map(|text| text.parse::<toml::Table>()) {
            Ok(Ok(table)) => flatten("", table, &origin, &mut found),
            Ok(Err(error)) => faults.push(Fault::new("config", &origin, format!("{error}"))),
            Err(error) => faults.push(Fault::new(
                "config",
                &origin,
                format!("expected a readable TOML file: {error}"),
            )),
        }
    }
    let mut env = sources.env;
    env.sort();
    for (name, value) in env {
        let Some(key) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let key = key.replace("__", ".").to_ascii_lowercase();
        found.push((key, Origin::Env(name), toml::Value::String(value)));
    }
    for (key, flag, value) in sources.flags {
        let origin = Origin::Flag(flag.to_owned());
        found.push((key.to_owned(), origin, toml::Value::String(value)));
    }

    for (name, origin, value) in found {
        match keys::find(&name) {
            Ok(key) => {
                if (key.set)(&mut config, &value).is_err() {
                    let problem = format!("expected {}", key.expected);
                    faults.push(Fault::new(&name, &origin, problem));
                }
            }
            Err(problem) => faults.push(Fault::new(&name, &origin, problem)),
        }
    }
    config.check(&mut faults);
    if faults.is_empty() {
        Ok(config)
    } else {
        Err(Faults(faults))
    }
}

/// Turns nested tables into dotted keys.
fn flatten(
    prefix: &str,
    table: toml::Table,
    origin: &Origin,
    found: &mut Vec<(String, Origin, toml::Value)>,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        // A table where a value belongs is told as such, not as an unknown key below it.
        if let toml::Value::Table(table) = &value
            && !KEYS.iter().any(|known| known.name == key)
        {
            flatten(&key, table.clone(), origin, found);
        } else {
            found.push((key, origin.clone(), value));
        }
    }
}

#[cfg(test)]
mod tests;
