//! HTTP: what the handlers share, and the table of routes.

pub mod origin;

mod api;
mod assets;
mod body;
mod cors;
mod guard;
mod ops;
pub mod pace;
pub mod permit;
mod problem;
pub mod serve;
pub mod tls;
mod websocket;
mod whip;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};

use crate::auth::Verifier;
use crate::config::{self, Config};
use crate::metrics::{Metrics, Rates};
use crate::realtime;
use crate::shutdown::Shutdown;

pub use problem::Problem;

/// What every handler may use.
pub struct App {
    /// The effective configuration.
    pub config: Config,
    /// Tokens and API keys.
    pub verifier: Arc<Verifier>,
    /// Which web sites may use the server.
    pub origins: origin::Policy,
    /// The hub, and behind it media and store.
    pub realtime: realtime::Handle,
    /// What has no other owner.
    pub metrics: Metrics,
    /// Messages a second.
    pub rates: Rates,
    /// Which phase the server is in.
    pub shutdown: Shutdown,
    /// Connections, counted.
    pub permits: permit::Permits,
    /// Handshakes, paced.
    pub pace: pace::Pace,
    /// When the server started.
    pub started: Instant,
}

/// The handlers' state.
pub type Shared = Arc<App>;

/// One route: its path as OpenAPI writes it, its documented methods, its handlers.
type Route = (&'static str, &'static [&'static str], MethodRouter<Shared>);

/// Every route but the files of the web app. The paths and methods here are what `openapi.json` documents.
fn routes() -> Vec<Route> {
    use api::{messages, notifications, publish, rooms, stats, streams, tokens, users};
    vec![
        ("/healthz", &["get"], get(ops::healthz)),
        ("/readyz", &["get"], get(ops::readyz)),
        ("/metrics", &["get"], get(ops::metrics)),
        ("/openapi.json", &["get"], get(ops::openapi)),
        ("/asyncapi.json", &["get"], get(ops::asyncapi)),
        ("/api/v1/streams", &["get"], get(streams::list)),
        (
            "/api/v1/streams/{id}",
            &["get", "delete"],
            get(streams::get).delete(streams::end),
        ),
        (
            "/api/v1/streams/{id}/followers",
            &["get", "put"],
            get(streams::followers).put(streams::replace_followers),
        ),
        (
            "/api/v1/streams/{id}/followers/{user}",
            &["put", "delete"],
            put(streams::follow).delete(streams::unfollow),
        ),
        (
            "/api/v1/rooms",
            &["get", "post"],
            get(rooms::list).post(rooms::create),
        ),
        (
            "/api/v1/rooms/{id}",
            &["get", "patch"],
            get(rooms::get).patch(rooms::rename),
        ),
        (
            "/api/v1/rooms/{id}/members",
            &["post"],
            post(rooms::add_members),
        ),
        (
            "/api/v1/rooms/{id}/members/{user}",
            &["patch", "delete"],
            patch(rooms::set_role).delete(rooms::remove_member),
        ),
        (
            "/api/v1/rooms/{id}/messages",
            &["get", "post"],
            get(messages::list).post(messages::write),
        ),
        ("/api/v1/search", &["get"], get(messages::search)),
        ("/api/v1/blocks", &["get"], get(rooms::blocks)),
        (
            "/api/v1/blocks/{user}",
            &["put", "delete"],
            put(rooms::block).delete(rooms::unblock),
        ),
        (
            "/api/v1/notifications",
            &["get", "post"],
            get(notifications::list).post(notifications::notify),
        ),
        (
            "/api/v1/notifications/read",
            &["post"],
            post(notifications::read_all),
        ),
        (
            "/api/v1/notifications/{id}/read",
            &["post"],
            post(notifications::read),
        ),
        (
            "/api/v1/notifications/preferences",
            &["get", "put"],
            get(notifications::preferences).put(notifications::set_preferences),
        ),
        (
            "/api/v1/users/{id}/presence",
            &["get"],
            get(users::presence),
        ),
        (
            "/api/v1/users/{id}/disconnect",
            &["post"],
            post(users::disconnect),
        ),
        ("/api/v1/publish", &["post"], post(publish::publish)),
        ("/api/v1/stats", &["get"], get(stats::get)),
        ("/api/v1/tokens", &["post"], post(tokens::create)),
        ("/api/v1/dev/token", &["post"], post(tokens::create_dev)),
        (
            "/whip/{stream}",
            &["post", "options"],
            post(whip::publish).options(whip::endpoint_options),
        ),
        (
            "/whip/resource/{id}",
            &["patch", "delete", "options"],
            delete(whip::end_publish)
                .patch(whip::patch_publish)
                .options(whip::resource_options),
        ),
        (
            "/whep/{stream}",
            &["post", "options"],
            post(whip::watch).options(whip::endpoint_options),
        ),
        (
            "/whep/resource/{id}",
            &["patch", "delete", "options"],
            delete(whip::end_watch)
                .patch(whip::patch_watch)
                .options(whip::resource_options),
        ),
        ("/ws", &["get"], get(websocket::multiplexed)),
        ("/ws/live/{stream}", &["get"], get(websocket::live)),
        ("/ws/live/{stream}/", &["get"], get(websocket::live)),
        ("/ws/chat/{room}", &["get"], get(websocket::chat)),
        ("/ws/chat/{room}/", &["get"], get(websocket::chat)),
        ("/ws/notifications", &["get"], get(websocket::notifications)),
        (
            "/ws/notifications/",
            &["get"],
            get(websocket::notifications),
        ),
    ]
}

/// The paths and methods of every route but the files of the web app, for whoever compares them with the documentation.
pub fn documented() -> Vec<(&'static str, &'static [&'static str])> {
    routes()
        .into_iter()
        .map(|(path, methods, _)| (path, methods))
        .collect()
}

/// TLS as configured.
///
/// # Errors
///
/// When its files cannot be used.
pub fn tls(config: &config::Http) -> anyhow::Result<Option<Arc<tls::Tls>>> {
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(Arc::new(tls::Tls::load(cert, key)?))),
        (None, _) | (_, None) => Ok(None),
    }
}

/// The OpenAPI document.
pub const OPENAPI: &str = include_str!("http/openapi.json");

/// All routes with their layers, outermost last.
pub fn router(app: &Shared) -> Router {
    let mut router = Router::new();
    for (path, _, handlers) in routes() {
        router = router.route(path, handlers);
    }
    let app = Arc::clone(app);
    router
        .route("/", get(assets::home))
        .route("/studio", get(assets::studio))
        .route("/watch/{stream}", get(assets::watch))
        .route("/inbox", get(assets::inbox))
        .route("/inbox/{room}", get(assets::inbox))
        .route("/social", get(assets::social))
        .route("/favicon.ico", get(assets::favicon))
        .route("/app/{*path}", get(assets::app))
        .route("/sdk/{*path}", get(assets::sdk))
        .fallback(any(assets::nothing))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::learn_keys,
        ))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            pace::handshakes,
        ))
        .layer(axum::middleware::from_fn(problem::normalise))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            cors::apply,
        ))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::local_host_only_in_dev,
        ))
        .with_state(app)
}
