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
use axum::routing::{MethodRouter, any, delete, get, post};

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
    vec![
        ("/healthz", &["get"], get(ops::healthz)),
        ("/readyz", &["get"], get(ops::readyz)),
        ("/metrics", &["get"], get(ops::metrics)),
        ("/openapi.json", &["get"], get(ops::openapi)),
        ("/api/v1/streams", &["get"], get(api::streams)),
        (
            "/api/v1/streams/{id}",
            &["get", "delete"],
            get(api::stream).delete(api::end_stream),
        ),
        ("/api/v1/stats", &["get"], get(api::stats)),
        ("/api/v1/tokens", &["post"], post(api::tokens)),
        ("/api/v1/dev/token", &["post"], post(api::dev_token)),
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
