//! All that is counted, as Prometheus text. Names are those of `docs/protocol.md`; labels come from closed sets.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use redred_sfu::stats::FORWARD_BOUNDS;
use redred_signaling::stats::Snapshot;

use super::{BOUNDS, HandshakeFailure, Histogram, Metrics, Outcomes};
use crate::media;
use crate::realtime::SocketStats;
use crate::store;

/// Of the text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// One reading of everything.
pub struct Readings<'a> {
    /// What has no other owner.
    pub metrics: &'a Metrics,
    /// Of the hub.
    pub hub: &'a Snapshot,
    /// Of each media worker.
    pub media: &'a [media::Stats],
    /// Of the WebSockets.
    pub sockets: SocketStats,
    /// Of the store.
    pub store: store::Stats,
    /// Open TCP connections.
    pub connections: usize,
}

impl Readings<'_> {
    /// The text format, one family after another.
    ///
    /// # Errors
    ///
    /// When a family has no sample, which the code rules out.
    pub fn render(&self) -> prometheus::Result<String> {
        let mut families = self.realtime();
        families.extend(self.notifications());
        families.extend(self.media());
        families.extend(self.process());
        // The format has no family without a sample: without a hub, there are no messages by type.
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    fn realtime(&self) -> Vec<MetricFamily> {
        let (hub, metrics) = (self.hub, self.metrics);
        let messages = hub.messages.iter().flat_map(|count| {
            [
                (
                    vec![("direction", "in"), ("type", count.kind)],
                    count.received,
                ),
                (vec![("direction", "out"), ("type", count.kind)], count.sent),
            ]
        });
        let refused_upgrades = self.sockets.failed_upgrades;
        let failures = HandshakeFailure::ALL.map(|reason| {
            let given_up = if reason == HandshakeFailure::Upgrade {
                refused_upgrades
            } else {
                0
            };
            let count = metrics.handshake_failures(reason) + given_up;
            (vec![("reason", reason.label())], count)
        });
        let slow = hub.slow_consumers + self.sockets.stalled_writes;
        vec![
            gauges(
                "redred_ws_connections",
                "Open WebSocket sessions by the kind of their path.",
                [
                    (vec![("kind", "multiplexed")], hub.sessions_multiplexed),
                    (vec![("kind", "live")], hub.sessions_live),
                    (vec![("kind", "chat")], hub.sessions_chat),
                    (vec![("kind", "notifications")], hub.sessions_notifications),
                ],
            ),
            counters(
                "redred_ws_messages_total",
                "WebSocket messages by direction and type.",
                messages,
            ),
            histogram(
                "redred_ws_delivery_seconds",
                "From accepting a message to having written it to a receiver's socket.",
                &metrics.ws_delivery,
            ),
            counters(
                "redred_ws_handshake_failures_total",
                "Connections that never became sessions.",
                failures,
            ),
            counter(
                "redred_ws_reconnects_total",
                "Sessions taken up again on a new socket.",
                hub.resumes,
            ),
            counter(
                "redred_ws_slow_consumers_total",
                "Sessions closed because they read too slowly.",
                slow,
            ),
            counter(
                "redred_ws_messages_dropped_total",
                "Droppable messages that slow readers missed.",
                hub.messages_dropped,
            ),
            counter(
                "redred_ws_compressions_total",
                "Messages compressed, once for all receivers with the same window.",
                metrics.ws_compressions.count(),
            ),
            counter(
                "redred_ws_violations_total",
                "Connections closed for breaking the WebSocket protocol or its limits.",
                self.sockets.violations,
            ),
            counter(
                "redred_ws_rate_limited_total",
                "Messages, comments and requests refused for the pace of their session or user.",
                hub.rate_limited,
            ),
            counter(
                "redred_ws_bad_messages_total",
                "Messages refused as malformed.",
                hub.bad_messages,
            ),
            counter(
                "redred_ws_limits_hit_total",
                "Requests refused because a queue or table of the hub was full.",
                hub.limits_hit,
            ),
            counters(
                "redred_ws_closes_total",
                "Sessions the server closed, by reason.",
                [
                    (vec![("reason", "abuse")], hub.abuse_closes),
                    (vec![("reason", "idle")], hub.idle_closes),
                    (vec![("reason", "limit")], hub.sessions_refused),
                    (vec![("reason", "token_expired")], hub.token_expiries),
                ],
            ),
            counters(
                "redred_ws_recoveries_total",
                "Subscriptions that named what they last saw.",
                [
                    (vec![("recovered", "true")], hub.recoveries),
                    (vec![("recovered", "false")], hub.recovery_failures),
                ],
            ),
            gauge(
                "redred_live_streams",
                "Streams that are live.",
                hub.live_streams,
            ),
            gauge(
                "redred_live_viewers",
                "Connections that watch.",
                hub.live_viewers,
            ),
            counter(
                "redred_live_comments_total",
                "Comments stored.",
                hub.comments,
            ),
            gauge(
                "redred_chat_rooms",
                "Chat rooms with state in memory.",
                hub.chat_rooms,
            ),
            gauge(
                "redred_chat_people_online",
                "People with a connection, or without one since a moment ago.",
                hub.people_online,
            ),
            counter(
                "redred_chat_messages_total",
                "Messages stored in chat rooms.",
                hub.chat_messages,
            ),
            counter(
                "redred_chat_repeats_total",
                "Messages that were sent again and had been stored before.",
                hub.chat_repeats,
            ),
            counter(
                "redred_chat_log_recoveries_total",
                "Recoveries that were read from the log of a room.",
                hub.chat_log_recoveries,
            ),
            counter(
                "redred_chat_gaps_total",
                "Times that a room found something missing and read its log.",
                hub.chat_gaps,
            ),
            counter(
                "redred_chat_evictions_total",
                "Idle chat rooms forgotten to make room for others.",
                hub.chat_evictions,
            ),
            counter(
                "redred_chat_presence_changes_total",
                "People who came or went.",
                hub.presence_changes,
            ),
            counter(
                "redred_live_publisher_returns_total",
                "Publishers that came back within the grace time.",
                hub.publisher_returns,
            ),
            counter(
                "redred_live_publish_conflicts_total",
                "Publishers refused because another one was present.",
                hub.publish_conflicts,
            ),
            counter(
                "redred_live_moderations_total",
                "Kicks, bans, unbans and timeouts carried out.",
                hub.moderations,
            ),
            counter(
                "redred_live_token_expiries_total",
                "WHIP and WHEP connections closed because their token ended.",
                hub.media_token_expiries,
            ),
            histogram(
                "redred_store_write_seconds",
                "From a request to the store to its commit.",
                &metrics.store_write,
            ),
            counter(
                "redred_store_commits_total",
                "Transactions committed.",
                self.store.commits,
            ),
            counters(
                "redred_store_failures_total",
                "Requests to the store that came to nothing.",
                [
                    (vec![("reason", "database")], self.store.failures),
                    (vec![("reason", "queue_full")], self.store.refused),
                ],
            ),
        ]
    }

    fn notifications(&self) -> Vec<MetricFamily> {
        let hub = self.hub;
        vec![
            counter(
                "redred_notifications_total",
                "Notifications stored, one for each recipient.",
                hub.notifications,
            ),
            counter(
                "redred_notifications_folded_total",
                "Of these, folded into one that was there and not read.",
                hub.notifications_folded,
            ),
            counter(
                "redred_notification_repeats_total",
                "Parts of requests to notify that were there already.",
                hub.notification_repeats,
            ),
            counters(
                "redred_notification_batches_total",
                "Batches sent, by what ended them.",
                [
                    (
                        vec![("reason", "window")],
                        hub.notification_batches
                            .saturating_sub(hub.notification_batches_full),
                    ),
                    (vec![("reason", "full")], hub.notification_batches_full),
                ],
            ),
            counter(
                "redred_notification_gaps_total",
                "Times that a stored notification was never told here, and asked of the store.",
                hub.notification_gaps,
            ),
            counter(
                "redred_notifications_purged_total",
                "Rows deleted because they were too old.",
                hub.notifications_purged,
            ),
            counter(
                "redred_notices_dropped_total",
                "Messages and streams of which not everybody was notified.",
                hub.notices_dropped,
            ),
            counter(
                "redred_live_notices_suppressed_total",
                "Streams that went live again before their followers were to be told again.",
                hub.live_notices_suppressed,
            ),
        ]
    }

    fn media(&self) -> Vec<MetricFamily> {
        let sum = |field: &dyn Fn(&media::Stats) -> u64| self.media.iter().map(field).sum::<u64>();
        let one =
            |label, value, field: &dyn Fn(&media::Stats) -> u64| (vec![(label, value)], sum(field));
        vec![
            counters(
                "redred_sfu_packets_forwarded_total",
                "RTP packets handed to viewers.",
                [
                    one("kind", "audio", &|s| s.shard.packets_forwarded.audio),
                    one("kind", "video", &|s| s.shard.packets_forwarded.video),
                ],
            ),
            counters(
                "redred_sfu_bytes_forwarded_total",
                "Payload bytes handed to viewers.",
                [
                    one("kind", "audio", &|s| s.shard.bytes_forwarded.audio),
                    one("kind", "video", &|s| s.shard.bytes_forwarded.video),
                ],
            ),
            self.forward_seconds(),
            counters(
                "redred_sfu_packets_dropped_total",
                "Datagrams and packets dropped, by reason.",
                [
                    one("reason", "unverified", &|s| {
                        s.shard.packets_dropped.unverified
                    }),
                    one("reason", "stun", &|s| s.shard.packets_dropped.stun),
                    one("reason", "malformed", &|s| {
                        s.shard.packets_dropped.malformed
                    }),
                    one("reason", "unknown", &|s| s.shard.packets_dropped.unknown),
                    one("reason", "undecodable", &|s| {
                        s.shard.packets_dropped.undecodable
                    }),
                    one("reason", "late", &|s| s.shard.packets_dropped.late),
                    one("reason", "relay", &|s| s.shard.packets_dropped.relay),
                    one("reason", "relay_queue", &|s| s.relay_dropped),
                    one("reason", "truncated", &|s| s.socket.truncated),
                    one("reason", "send_buffer", &|s| s.socket.send_full),
                    one("reason", "send_error", &|s| s.socket.send_errors),
                ],
            ),
            counters(
                "redred_sfu_keyframe_requests_total",
                "Keyframes asked for, by what made us ask.",
                [
                    one("reason", "viewer", &|s| s.shard.keyframe_requests.viewer),
                    one("reason", "joined", &|s| s.shard.keyframe_requests.joined),
                    one("reason", "switched", &|s| {
                        s.shard.keyframe_requests.switched
                    }),
                    one("reason", "relay", &|s| s.shard.keyframe_requests.relay),
                ],
            ),
            counter(
                "redred_sfu_keyframe_requests_sent_total",
                "Keyframe requests that were passed on, after coalescing.",
                sum(&|s| s.shard.keyframe_requests_sent),
            ),
            counters(
                "redred_sfu_nack_total",
                "Packets asked for again: in by viewers, out by us.",
                [
                    one("direction", "in", &|s| s.shard.nacks.received),
                    one("direction", "out", &|s| s.shard.nacks.sent),
                ],
            ),
            counters(
                "redred_sfu_repeats_total",
                "Packets that viewers asked for again: sent, or refused as too much.",
                [
                    one("result", "sent", &|s| s.shard.repeats.sent),
                    one("result", "refused", &|s| s.shard.repeats.refused),
                ],
            ),
            counter(
                "redred_sfu_layer_switches_total",
                "Changes of the layer a viewer receives.",
                sum(&|s| s.shard.layer_switches),
            ),
            gauges(
                "redred_sfu_sessions",
                "WebRTC connections by role.",
                [
                    one("role", "publisher", &|s| s.shard.sessions.publishers),
                    one("role", "viewer", &|s| s.shard.sessions.viewers),
                ],
            ),
            counters(
                "redred_relay_bytes_total",
                "Payload bytes between media workers.",
                [
                    one("direction", "in", &|s| s.shard.relay_bytes.received),
                    one("direction", "out", &|s| s.shard.relay_bytes.sent),
                ],
            ),
            counters(
                "redred_sfu_datagrams_total",
                "Datagrams by direction.",
                [
                    one("direction", "in", &|s| s.socket.received),
                    one("direction", "out", &|s| s.socket.sent),
                ],
            ),
            counter(
                "redred_sfu_turns_over_budget_total",
                "Turns of a media worker that left work for the next.",
                sum(&|s| s.turns_over_budget),
            ),
        ]
    }

    fn forward_seconds(&self) -> MetricFamily {
        let histograms = self.media.iter().map(|stats| &stats.shard.forward);
        let mut counts = [0; FORWARD_BOUNDS.len() + 1];
        let mut sum = Duration::ZERO;
        for histogram in histograms {
            for (total, count) in counts.iter_mut().zip(histogram.buckets) {
                *total += count;
            }
            sum += histogram.sum;
        }
        let bounds = FORWARD_BOUNDS.map(|bound| bound.as_secs_f64());
        let help = "From a packet's arrival to its departure.";
        distribution(
            "redred_sfu_forward_seconds",
            help,
            &bounds,
            &counts,
            sum.as_secs_f64(),
        )
    }

    fn process(&self) -> Vec<MetricFamily> {
        let build = vec![("version", crate::telemetry::VERSION)];
        let mut families = vec![
            gauge(
                "redred_http_connections",
                "Open TCP connections.",
                self.connections as u64,
            ),
            outcomes(
                "redred_tls_reloads_total",
                "Changes of the certificate's files, by whether they could be taken up.",
                &self.metrics.tls_reloads,
            ),
            outcomes(
                "redred_auth_key_fetches_total",
                "Fetches of the key set of auth.jwks_url, by how they ended.",
                &self.metrics.key_fetches,
            ),
            counter(
                "redred_panics_total",
                "Panics of any thread.",
                self.metrics.panics.count(),
            ),
            gauges(
                "redred_build_info",
                "Always 1; the labels say what runs.",
                [(build, 1)],
            ),
        ];
        families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
        families
    }
}

type Labels = Vec<(&'static str, &'static str)>;

fn counter(name: &str, help: &str, count: u64) -> MetricFamily {
    counters(name, help, [(Labels::new(), count)])
}

fn outcomes(name: &str, help: &str, outcomes: &Outcomes) -> MetricFamily {
    counters(
        name,
        help,
        [
            (vec![("result", "done")], outcomes.done.count()),
            (vec![("result", "failed")], outcomes.failed.count()),
        ],
    )
}

fn gauge(name: &str, help: &str, value: u64) -> MetricFamily {
    gauges(name, help, [(Labels::new(), value)])
}

fn counters(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels, u64)>,
) -> MetricFamily {
    let samples = samples.into_iter().map(|(labels, count)| {
        let mut counter = proto::Counter::default();
        counter.set_value(count as f64);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, samples.collect())
}

fn gauges(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels, u64)>,
) -> MetricFamily {
    let samples = samples.into_iter().map(|(labels, value)| {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value as f64);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, samples.collect())
}

fn histogram(name: &str, help: &str, histogram: &Histogram) -> MetricFamily {
    distribution(
        name,
        help,
        &BOUNDS,
        &histogram.snapshot(),
        histogram.sum_seconds(),
    )
}

/// A histogram of `counts` between `bounds`, with one more count for what is above all.
fn distribution(name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) -> MetricFamily {
    let mut total = 0;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, count) in bounds.iter().zip(counts) {
        total += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(total);
        buckets.push(bucket);
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}

fn labelled(labels: Labels) -> proto::Metric {
    let labels = labels.into_iter().map(|(name, value)| {
        let mut label = proto::LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value.to_owned());
        label
    });
    proto::Metric::from_label(labels.collect())
}

fn family(name: &str, help: &str, kind: MetricType, samples: Vec<proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples);
    family
}
