//! `/api/v1`: the directory of streams, tokens, statistics.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use redred_sfu::stats::FORWARD_BOUNDS;
use redred_signaling::api::{self, StreamSummary};
use redred_signaling::grants::{Caller, Grants, User};
use redred_signaling::id::StreamName;
use redred_signaling::time::rfc3339;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Problem, Shared, body, guard};
use crate::auth::{self, claims};
use crate::media;
use crate::metrics::{self, Histogram};

/// Life of a token of dev mode: a working day with its evening.
const DEV_TTL: Duration = Duration::from_secs(12 * 3600);

/// Life of a token that another server asks for without saying.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// `GET /api/v1/streams`: who is live, of what the caller may watch.
pub(super) async fn streams(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::api_caller(&app, request.headers(), request.uri())?;
    let streams = list(&app, caller).await?;
    Ok(fresh(json!({ "streams": streams })))
}

/// `GET /api/v1/streams/{id}`.
pub(super) async fn stream(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::api_caller(&app, request.headers(), request.uri())?;
    let ask = api::Request::GetStream {
        stream: stream_name(id)?,
    };
    let api::Reply::Stream(summary) = app.realtime.request(caller, ask).await? else {
        return Err(unexpected());
    };
    Ok(fresh(json!(summary)))
}

/// `DELETE /api/v1/streams/{id}`.
pub(super) async fn end_stream(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::api_caller(&app, request.headers(), request.uri())?;
    let ask = api::Request::EndStream {
        stream: stream_name(id)?,
    };
    app.realtime.request(caller, ask).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /api/v1/stats`.
pub(super) async fn stats(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::api_caller(&app, request.headers(), request.uri())?;
    let streams = list(&app, caller).await?;
    let streams: Vec<Value> = streams
        .iter()
        .map(|stream| json!({ "id": stream.id, "viewers": stream.viewers }))
        .collect();
    let hub = app.realtime.snapshot().await.unwrap_or_default();
    let rates = app.rates.per_second();
    Ok(fresh(json!({
        "version": crate::telemetry::VERSION,
        "uptime_seconds": app.started.elapsed().as_secs(),
        "connections": {
            "http": app.permits.count(),
            "multiplexed": hub.sessions_multiplexed,
            "live": hub.sessions_live,
        },
        "streams": streams,
        "live_streams": hub.live_streams,
        "live_viewers": hub.live_viewers,
        "messages_per_second": { "received": rates.received, "sent": rates.sent },
        "latency_seconds": {
            "ws_delivery": quantiles(&app.metrics.ws_delivery),
            "sfu_forward": forwarding(&app.realtime.media().stats()),
            "store_write": quantiles(&app.metrics.store_write),
        },
    })))
}

/// A request for a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    sub: Option<String>,
    name: Option<String>,
    grants: Option<Value>,
    ttl_seconds: Option<u64>,
}

/// `POST /api/v1/tokens`, for other servers.
pub(super) async fn tokens(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    guard::server(&app, &parts.headers)?;
    let asked: TokenRequest = body::json(&app, body).await?;
    let sub = asked
        .sub
        .ok_or_else(|| Problem::invalid("sub: expected a user id"))?;
    let user = claims::user(sub, asked.name).map_err(Problem::invalid)?;
    let ttl = match asked.ttl_seconds.map(Duration::from_secs) {
        None => DEFAULT_TTL,
        Some(ttl) if !ttl.is_zero() && ttl <= auth::TTL_MAX => ttl,
        Some(_) => return Err(Problem::invalid("ttl_seconds: expected 1 to 2592000")),
    };
    signed(&app, &user, asked.grants, ttl)
}

/// `POST /api/v1/dev/token`, for everybody on this machine.
pub(super) async fn dev_token(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    if !app.verifier.is_dev() {
        return Err(Problem::not_found("the server is not in dev mode"));
    }
    let asked: TokenRequest = body::json(&app, request.into_body()).await?;
    if asked.ttl_seconds.is_some() {
        return Err(Problem::invalid("ttl_seconds: not part of this request"));
    }
    let sub = asked
        .sub
        .unwrap_or_else(|| format!("guest-{:08x}", rand::random::<u32>()));
    let user = claims::user(sub, asked.name).map_err(Problem::invalid)?;
    signed(&app, &user, asked.grants, DEV_TTL)
}

fn signed(
    app: &App,
    user: &User,
    grants: Option<Value>,
    ttl: Duration,
) -> Result<Response, Problem> {
    let grants = match grants {
        Some(grants) => claims::grants(grants).map_err(Problem::invalid)?,
        None => Grants::default(),
    };
    let signed = app
        .verifier
        .sign(user, &grants, ttl)
        .map_err(|error| Problem::new(StatusCode::CONFLICT, "conflict", error.to_string()))?;
    Ok(fresh(json!({
        "token": signed.token,
        "sub": user.id,
        "expires_at": rfc3339(signed.expires_at_ms),
    })))
}

async fn list(app: &App, caller: Caller) -> Result<Vec<StreamSummary>, Problem> {
    let ask = api::Request::ListStreams;
    let api::Reply::Streams(streams) = app.realtime.request(caller, ask).await? else {
        return Err(unexpected());
    };
    Ok(streams)
}

fn stream_name(id: String) -> Result<StreamName, Problem> {
    StreamName::new(id).map_err(|error| Problem::not_found(error.to_string()))
}

/// Upper bounds, in seconds, of what half and nearly all took.
fn quantiles(histogram: &Histogram) -> Value {
    json!({
        "count": histogram.count(),
        "p50": histogram.quantile(0.5),
        "p99": histogram.quantile(0.99),
    })
}

/// The same of the time from a packet's arrival to its departure, over all workers.
fn forwarding(workers: &[media::Stats]) -> Value {
    let mut counts = [0; FORWARD_BOUNDS.len() + 1];
    for worker in workers {
        for (total, count) in counts.iter_mut().zip(worker.shard.forward.buckets) {
            *total += count;
        }
    }
    let bound = |q| {
        let bucket = metrics::quantile(&counts, q)?;
        FORWARD_BOUNDS.get(bucket).map(Duration::as_secs_f64)
    };
    json!({ "count": counts.iter().sum::<u64>(), "p50": bound(0.5), "p99": bound(0.99) })
}

/// JSON that is true now and not for long.
fn fresh(value: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(value)).into_response()
}

fn unexpected() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the hub gave an answer of another kind",
    )
}
