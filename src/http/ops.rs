//! What operators and their machines ask: health, readiness, metrics, the documents of both protocols.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{OPENAPI, Problem, Shared};
use crate::metrics;

const JSON: &str = "application/json";

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`: the server takes new work, or why it does not.
pub(super) async fn readyz(State(app): State<Shared>) -> Response {
    let mut reasons = app.realtime.faults();
    if app.shutdown.is_draining() {
        reasons.insert(0, "draining".to_owned());
    }
    if reasons.is_empty() {
        return Json(json!({ "ready": true, "reasons": [] })).into_response();
    }
    Problem::unavailable(reasons.join("; "))
        .with("ready", json!(false))
        .with("reasons", json!(reasons))
        .into_response()
}

/// `GET /metrics`, in the Prometheus text format.
pub(super) async fn metrics(State(app): State<Shared>) -> Response {
    let hub = app.realtime.snapshot().await.unwrap_or_default();
    let readings = metrics::Readings {
        metrics: &app.metrics,
        hub: &hub,
        media: &app.realtime.media().stats(),
        sockets: app.realtime.sockets(),
        store: app.realtime.store().stats(),
        connections: app.permits.count(),
    };
    match readings.render() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics have no text form");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no metrics")
                .into_response()
        }
    }
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, JSON)], OPENAPI).into_response()
}

/// `GET /asyncapi.json`.
pub(super) async fn asyncapi() -> Response {
    ([(header::CONTENT_TYPE, JSON)], redred_signaling::ASYNCAPI).into_response()
}
