//! What the process carries right now.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use redred_sfu::stats::FORWARD_BOUNDS;
use serde_json::{Value, json};

use super::{fresh, streams};
use crate::config::Scope;
use crate::http::{Problem, Shared, guard};
use crate::media;
use crate::metrics::{self, Histogram};

/// `GET /api/v1/stats`.
pub(in crate::http) async fn get(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::open_caller(&app, &request.into_parts().0, Scope::Streams)?;
    let streams = streams::listed(&app, caller).await?;
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
            "chat": hub.sessions_chat,
            "notifications": hub.sessions_notifications,
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
