//! The server as a whole: every step of its start once and in order, and its end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use redred_signaling::hub::VerifyError;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::auth::Verifier;
use crate::config::{Config, Takeover};
use crate::http::{self, App, origin, pace, permit};
use crate::metrics::{Metrics, PerSecond, Rates};
use crate::shutdown::{Phase, Requests, Shutdown};
use crate::store::Store;
use crate::{media, realtime, telemetry};

/// Connections that the kernel completes while the accept loop is busy: a storm of reconnecting viewers must not be
/// refused by a full queue.
const BACKLOG: u32 = 4096;

/// How often rates are sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// How often a draining server looks whether anybody is left.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

/// A server that listens and does not answer yet.
pub struct Server {
    app: http::Shared,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<http::tls::Tls>>,
    reloads: Arc<Notify>,
}

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everybody was told, and everything acknowledged is on disk.
    Drained,
    /// A second request to stop came first.
    Forced,
}

impl Server {
    /// Starts everything but the answering of requests.
    ///
    /// # Errors
    ///
    /// When a file cannot be used or an address cannot be bound. Nothing keeps running then.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let metrics = Metrics::default();
        telemetry::count_panics(metrics.panics.clone());
        raise_open_files_limit();

        // 1. What only reads files: a mistake here should cost nothing.
        let verifier = Arc::new(Verifier::counting(&config, metrics.key_fetches.clone())?);
        let tls = http::tls(&config.http)?;

        // 2. The HTTP port, so that a second server on the same machine stops here, before it touches the database.
        let listener = listen(config.http.listen)?;
        let address = listener
            .local_addr()
            .context("asking for the bound address")?;

        // 3. The keys of the token issuer, without which nobody could be let in.
        verifier.fetch_keys().await?;

        // 4. The store, which may have to migrate; nobody is let in before.
        let store = Store::open(&config.store.url, metrics.store_write.clone()).await?;

        // 5. The media workers, then the hub that steers them.
        let plane = media::Plane::start(&media_config(&config)).context("starting media")?;
        let verify = {
            let verifier = Arc::clone(&verifier);
            Arc::new(move |token: String| {
                let verifier = Arc::clone(&verifier);
                let verifying: realtime::Verifying = Box::pin(async move {
                    let verified = verifier.verify_learning(&token).await;
                    verified.map_err(|rejection| VerifyError {
                        reason: rejection.to_string(),
                    })
                });
                verifying
            })
        };
        let realtime = realtime::start(
            realtime_config(&config),
            store,
            plane,
            verify,
            metrics.clone(),
        );

        let app = Arc::new(App {
            origins: origin::Policy::new(config.http.allowed_origins.clone(), tls.is_some()),
            permits: permit::Permits::new(&config.limits),
            pace: pace::Pace::new(&config.limits, Instant::now()),
            config,
            verifier,
            realtime,
            metrics,
            rates: Rates::default(),
            shutdown: Shutdown::default(),
            started: Instant::now(),
        });
        Ok(Self {
            app,
            listener,
            address,
            tls,
            reloads: Arc::new(Notify::new()),
        })
    }

    /// The address that HTTP listens on, with its port when the kernel chose it.
    pub fn http_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address to open in a browser of this machine.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("{scheme}://{host}:{}", self.address.port())
    }

    /// What to tell somebody who just started it.
    pub fn welcome(&self) -> String {
        let mode = if self.app.verifier.is_dev() {
            "  Dev mode: everybody on this machine may publish and watch. Set auth.secret to open it to others.\n"
        } else {
            ""
        };
        format!(
            "\n  redred is live at {}\n\n{mode}  Press Ctrl+C to stop.\n\n",
            self.url()
        )
    }

    /// Verifies and signs tokens with the server's keys.
    pub fn verifier(&self) -> &Verifier {
        &self.app.verifier
    }

    /// Which phase the server is in; to be kept by whoever watches it stop.
    pub fn phase(&self) -> Shutdown {
        self.app.shutdown.clone()
    }

    /// Whoever notifies it makes the running server take up what can be taken up without a restart.
    pub fn reloads(&self) -> Arc<Notify> {
        Arc::clone(&self.reloads)
    }

    /// Answers requests until the first request to stop, then drains, unless a second comes meanwhile.
    pub async fn run(self, mut requests: Requests) -> Exit {
        tracing::info!(
            url = self.url(),
            version = telemetry::VERSION,
            dev = self.app.verifier.is_dev(),
            media = %self.app.config.media_ip(),
            "serving"
        );
        let app = self.app;
        let router = http::router(&app);
        // They end with this function.
        let mut chores = JoinSet::new();
        if let Some(tls) = &self.tls {
            let interval = app.config.http.tls_reload_interval;
            let outcomes = app.metrics.tls_reloads.clone();
            chores.spawn(Arc::clone(tls).keep_fresh(interval, outcomes));
        }
        chores.spawn(reload(Arc::clone(&app), self.tls.clone(), self.reloads));
        let verifier = Arc::clone(&app.verifier);
        chores.spawn(async move { verifier.keep_keys_fresh().await });
        chores.spawn(sample(Arc::clone(&app)));
        let serving = tokio::spawn(http::serve::serve(
            self.listener,
            self.tls,
            Arc::clone(&app),
            router,
        ));
        // A closed channel means that nobody can ask any more: then the server runs for good.
        if requests.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let drained = async {
            drain(&app).await;
            if let Err(error) = serving.await {
                tracing::error!(%error, "the accept loop did not end well");
            }
            app.realtime.stop().await;
        };
        let exit = tokio::select! {
            () = drained => Exit::Drained,
            Some(()) = requests.recv() => Exit::Forced,
        };
        chores.abort_all();
        tracing::info!(?exit, "stopped");
        exit
    }
}

/// Tells everybody to come back later, and waits until nobody is left or the grace time is over.
async fn drain(app: &App) {
    let grace = app.config.shutdown.grace;
    tracing::info!(?grace, "draining");
    app.shutdown.enter(Phase::Draining);
    app.realtime.drain(grace).await;
    let _ = timeout(grace, async {
        let mut looks = interval(DRAIN_INTERVAL);
        loop {
            looks.tick().await;
            let media = app.realtime.media().stats();
            let peers = |worker: &media::Stats| {
                worker.shard.sessions.publishers + worker.shard.sessions.viewers
            };
            if app.realtime.sockets().open == 0 && media.iter().map(peers).sum::<u64>() == 0 {
                return;
            }
        }
    })
    .await;
    app.shutdown.enter(Phase::Stopped);
}

/// Takes up what can be taken up without a restart, whenever somebody asks, and says in the log what that was.
async fn reload(app: http::Shared, tls: Option<Arc<http::tls::Tls>>, asked: Arc<Notify>) {
    loop {
        asked.notified().await;
        if let Some(tls) = &tls
            && tls.refresh(&app.metrics.tls_reloads).await
        {
            tracing::info!("asked to reload: the certificate has not changed");
        }
        match app.verifier.fetch_keys().await {
            Ok(true) => tracing::info!("asked to reload: the keys of auth.jwks_url were fetched"),
            Ok(false) if tls.is_none() => tracing::info!(
                "asked to reload: there is no certificate and no auth.jwks_url, and all else takes a restart"
            ),
            Ok(false) => {}
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "asked to reload: the keys cannot be fetched; those of before stay"
            ),
        }
    }
}

/// Notes how many messages there were, again and again.
async fn sample(app: http::Shared) {
    let mut ticks = interval(SAMPLE_INTERVAL);
    loop {
        ticks.tick().await;
        let Some(hub) = app.realtime.snapshot().await else {
            return;
        };
        let total = PerSecond {
            received: hub.messages.iter().map(|count| count.received as f64).sum(),
            sent: hub.messages.iter().map(|count| count.sent as f64).sum(),
        };
        app.rates.sample(Instant::now(), total);
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .context("making a socket")?;
    // A restarted server must not wait for connections of its predecessor to be forgotten.
    socket
        .set_reuseaddr(true)
        .context("setting up the socket")?;
    socket
        .bind(address)
        .and_then(|()| socket.listen(BACKLOG))
        .with_context(|| {
            format!("http.listen: {address} cannot be bound; another server may be running there")
        })
}

fn media_config(config: &Config) -> media::Config {
    media::Config {
        workers: config.sfu.workers as u16,
        listen_ip: config.media_ip(),
        udp_port_base: config.sfu.udp_port_base,
        advertised_ips: config.advertised_ips(interface_ips),
    }
}

fn realtime_config(config: &Config) -> realtime::Config {
    let mut hub = redred_signaling::Config::default();
    hub.session.max_sessions = config.limits.sessions;
    hub.session.max_sessions_per_user = config.limits.sessions_per_user;
    hub.session.message_bytes_max = config.websocket.message_bytes_max;
    hub.session.heartbeat = config.websocket.heartbeat;
    hub.session.idle_timeout = config.websocket.idle_timeout;
    hub.session.drain_spread = config.shutdown.grace;
    hub.outbox.bytes_max = config.websocket.outbox_bytes;
    hub.outbox.messages_max = config.websocket.outbox_messages;
    hub.live.publisher_grace = config.live.publisher_grace;
    hub.live.max_viewers = config.live.max_viewers;
    hub.chat.comments_per_minute = config.live.comments_per_minute;
    hub.chat.comments_burst = config.live.comments_burst;
    hub.chat.reactions_per_second = config.live.reactions_per_second;
    hub.chat.reactions_burst = config.live.reactions_burst;
    hub.session.messages_per_second = config.limits.messages.per_second;
    hub.session.messages_burst = config.limits.messages.burst;
    hub.rooms.max_group_members = config.chat.max_group_members;
    hub.rooms.max_rooms = config.chat.max_rooms;
    hub.rooms.messages_per_second = config.chat.messages.per_second;
    hub.rooms.messages_burst = config.chat.messages.burst;
    hub.rooms.linger = config.chat.linger;
    hub.rooms.offline_delay = config.chat.offline_delay;
    hub.notifications.batch_window = config.notifications.batch_window;
    hub.notifications.retention = config.notifications.retention;
    hub.notifications.live_cooldown = config.notifications.live_cooldown;
    hub.notifications.recipients_max = config.notifications.recipients_max;
    hub.notifications.followers_max = config.notifications.followers_max;
    hub.session.abuse_forgiven_per_second = config.limits.bad_messages.per_second;
    hub.session.abuse_budget = config.limits.bad_messages.burst;
    hub.quota.messages_per_second = config.limits.user_messages.per_second;
    hub.quota.messages_burst = config.limits.user_messages.burst;
    hub.quota.requests_per_second = config.limits.user_requests.per_second;
    hub.quota.requests_burst = config.limits.user_requests.burst;
    hub.live.takeover = match config.live.takeover {
        Takeover::Reject => redred_signaling::config::Takeover::Reject,
        Takeover::Replace => redred_signaling::config::Takeover::Replace,
    };
    realtime::Config {
        hub,
        websocket: realtime::websocket::Config {
            write_timeout: config.websocket.write_timeout,
            message_bytes_max: config.websocket.message_bytes_max,
            fragments_max: config.websocket.fragments_max as u32,
            compress_min_bytes: config.websocket.compress_min_bytes,
        },
    }
}

/// The addresses of this machine that others may reach.
fn interface_ips() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the machine's addresses cannot be listed; set sfu.advertised_ips");
        Vec::new()
    });
    let mut ips: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(if_addrs::Interface::ip)
        .collect();
    ips.sort_by_key(IpAddr::is_ipv6);
    ips
}

/// The default limit on open files is 1024 on most systems, for the sake of programs that use select(2).
fn raise_open_files_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, "the limit on open files cannot be raised");
    }
}
