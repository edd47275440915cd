//! The media half of the generator against a server of this process: everything that is sent arrives, and is counted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use redred::config::Config;
use redred::server::{Exit, Server};
use redred_loadtest::media::endpoint::Seat;
use redred_loadtest::media::plan::{Streams, VideoCodec};
use redred_loadtest::media::stack::{Engine, Engines};
use redred_loadtest::media::stage::{Cast, Stage};
use redred_loadtest::media::tally::Tally;
use redred_loadtest::run::{self, Target};
use redred_loadtest::scenario::Scenario;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const VIEWERS: usize = 8;

/// Sends what is asked for, with a keyframe each second.
fn synthetic(codec: VideoCodec) -> Streams {
    Streams {
        viewers: VIEWERS,
        codec,
        keyframe_interval: Duration::from_secs(1),
        ..Streams::default()
    }
}

struct TestServer {
    base: String,
    stop: mpsc::Sender<()>,
    task: tokio::task::JoinHandle<Exit>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.sfu.workers = 1;
        config.sfu.udp_port_base = 0;
        config.store.url = format!("sqlite://{}", directory.path().join("load.db").display());
        config.shutdown.grace = Duration::from_secs(1);
        let server = Server::bind(config).await.expect("a server on a free port");
        let base = format!("http://{}", server.http_addr());
        let (stop, requests) = mpsc::channel(1);
        let task = tokio::spawn(server.run(requests));
        Self {
            base,
            stop,
            task,
            _directory: directory,
        }
    }

    async fn seat(&self, path: &str, user: &str, grants: Value) -> Seat {
        let url = format!("{}/api/v1/dev/token", self.base);
        let body = json!({"sub": user, "name": user, "grants": grants});
        let response = reqwest::Client::new().post(url).json(&body).send().await;
        let answer: Value = response
            .expect("an answer")
            .json()
            .await
            .expect("a token in JSON");
        let url = format!("{}{path}", self.base);
        Seat {
            url: url.parse().expect("a URL"),
            token: answer["token"].as_str().map(str::to_owned),
            stream: 0,
        }
    }

    async fn stop(self) {
        self.stop.send(()).await.expect("a running server");
        assert_eq!(self.task.await.expect("no panic"), Exit::Drained);
    }
}

/// Everybody comes, the load lasts, everybody leaves.
async fn play(server: &TestServer, viewed: &str, streams: Streams) -> Tally {
    play_on(server, viewed, streams, Engines::default()).await
}

async fn play_on(server: &TestServer, viewed: &str, streams: Streams, engines: Engines) -> Tally {
    let mut cast = Cast {
        streams,
        publishers: vec![
            server
                .seat("/whip/ana", "ana", json!({"publish": ["ana"]}))
                .await,
        ],
        viewers: Vec::new(),
        ramp: Duration::from_millis(200),
        impairment: None,
        engines,
        seed: 1,
    };
    for number in 0..VIEWERS {
        let user = format!("viewer-{number}");
        cast.viewers
            .push(server.seat(viewed, &user, json!({})).await);
    }
    let stage = Stage::new(cast, 2, Instant::now()).expect("threads");
    stage.join().await.expect("a server that can be reached");
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.finish().await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_packet_reaches_every_viewer_and_everybody_is_gone_at_the_end() {
    let server = TestServer::start().await;
    let tally = play(&server, "/whep/ana", synthetic(VideoCodec::Vp8)).await;
    assert_eq!(tally.failed, std::collections::BTreeMap::new());
    assert_eq!((tally.publishing, tally.watching), (1, 8), "{tally:#?}");
    assert_eq!(
        (tally.lost, tally.duplicated, tally.strays, tally.unsent),
        (0, 0, 0, 0)
    );
    assert_eq!(tally.broken_frames, 0);
    // 60 pictures and 100 packets of sound in two seconds, at each of 8 viewers.
    assert!(tally.frames >= 8 * 55, "{} pictures", tally.frames);
    assert!(
        tally.received >= 8 * (2 * 55 + 95),
        "{} packets",
        tally.received
    );
    assert_eq!(tally.latency.len(), tally.received);
    for (name, times) in [
        ("HTTP", &tally.http),
        ("ICE", &tally.ice),
        ("DTLS", &tally.dtls),
    ] {
        assert_eq!(times.len(), 9, "{name}");
    }
    assert_eq!(
        (tally.first_packet.len(), tally.first_keyframe.len()),
        (8, 8)
    );
    // What was given is given back: the stream is not live any more.
    let gone = play(&server, "/whep/nobody", synthetic(VideoCodec::H264)).await;
    assert_eq!(gone.publishing, 1, "{:?}", gone.failed);
    assert_eq!(gone.failed["http 404"], 8);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_webrtc_watches_what_itself_and_the_other_publishes() {
    let server = TestServer::start().await;
    for (publish, watch) in [
        (Engine::WebrtcRs, Engine::WebrtcRs),
        (Engine::WebrtcRs, Engine::Str0m),
        (Engine::Str0m, Engine::WebrtcRs),
    ] {
        let engines = Engines { publish, watch };
        let tally = play_on(&server, "/whep/ana", synthetic(VideoCodec::Vp8), engines).await;
        assert_eq!(
            (tally.publishing, tally.watching),
            (1, 8),
            "{engines:?}: {:?}",
            tally.failed
        );
        assert_eq!(
            (tally.lost, tally.broken_frames, tally.strays, tally.ended),
            (0, 0, 0, 0),
            "{engines:?}"
        );
        assert!(
            tally.frames >= 8 * 55,
            "{engines:?}: {} pictures",
            tally.frames
        );
        assert!(tally.keyframes > 0, "{engines:?}");
        assert!(
            tally.keyframe_requests > 0,
            "{engines:?}: whoever comes later needs a keyframe, and the camera must hear of it"
        );
        assert_eq!((tally.ice.len(), tally.dtls.len()), (9, 9), "{engines:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scenario_with_streams_and_comments_reports_both() {
    let server = TestServer::start().await;
    let scenario = Scenario::parse(
        "name = 'mixed'\nseed = 3\nramp = '100ms'\nduration = '2s'\n\
         streams = { streams = 2, viewers = 2, bitrate_kbps = 500 }\n\
         audience = { stream = 'lt-0', sessions = 5, comments_per_second = 10 }\n\
         thresholds = { failed_sessions = 0, lost = 0, failed_joins = 0, media_lost = 0 }",
    );
    let target = Target {
        url: server.base.clone(),
        secret: None,
        server_pid: Some(std::process::id()),
        threads: 1,
        endpoints: None,
        engines: Engines::default(),
    };
    let scenario = scenario.expect("a scenario");
    let report = run::run(&scenario, &target, |_| {}).await.expect("a run");
    let table = report.table();
    assert_eq!(report.violations(), Vec::<String>::new(), "{table}");
    let media = report.media.as_ref().expect("media");
    assert_eq!((media.peers, media.tally.publishing), (6, 2), "{table}");
    assert_eq!(media.tally.watching, 4, "{table}");
    assert_eq!(media.tally.strays, 0, "no packet went to another stream");
    assert!(report.recorder.acked > 0, "{table}");
    let document = report.document();
    let metric = |name: &str| document.metric(name).and_then(|metric| metric.value);
    assert_eq!(metric("media_lost"), Some(0.0));
    assert!(metric("media_us_per_packet").is_some(), "{table}");
    let column = |name: &str| &document.series.column(name).expect(name).values;
    let sum = |name: &str| column(name).iter().flatten().sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "thousands of packets")]
    let (received, delivered) = (
        media.tally.received as f64,
        report.recorder.delivered as f64,
    );
    assert!((sum("media_received") - received).abs() < 1e-6, "{table}");
    assert!((sum("delivered") - delivered).abs() < 1e-6, "{table}");
    assert!(column("media_watching").contains(&Some(4.0)));
    assert!(column("media_latency_p99_ms").iter().any(Option::is_some));
    assert!(table.contains("µs a packet"), "{table}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bad_network_loses_is_repaired_by_the_server_and_takes_its_time() {
    let server = TestServer::start().await;
    lose(&server, Engine::Str0m).await;
    lose(&server, Engine::WebrtcRs).await;
    server.stop().await;
}

/// Viewers on one WebRTC behind a network that loses.
async fn lose(server: &TestServer, watch: Engine) {
    let scenario = Scenario::parse(
        "name = 'lossy'\nseed = 4\nramp = '100ms'\nduration = '3s'\n\
         streams = { viewers = 4, bitrate_kbps = 500 }\n\
         impairment = { loss = 0.03, delay = '30ms' }\n\
         thresholds = { failed_joins = 0 }",
    );
    let target = Target {
        url: server.base.clone(),
        secret: None,
        server_pid: None,
        threads: 1,
        endpoints: None,
        engines: Engines {
            watch,
            ..Engines::default()
        },
    };
    let scenario = scenario.expect("a scenario");
    let report = run::run(&scenario, &target, |_| {}).await.expect("a run");
    let table = report.table();
    assert_eq!(report.violations(), Vec::<String>::new(), "{table}");
    let tally = &report.media.as_ref().expect("media").tally;
    assert!(tally.latency.min() >= 29_900, "{table}");
    // A repaired picture comes after one that was sent later; sound is not repaired.
    assert!(tally.reordered > 0, "{table}");
    assert!(tally.lost > 0, "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264_is_carried_as_vp8_is() {
    let server = TestServer::start().await;
    let tally = play(&server, "/whep/ana", synthetic(VideoCodec::H264)).await;
    assert_eq!(tally.failed, std::collections::BTreeMap::new());
    assert_eq!((tally.publishing, tally.watching), (1, 8), "{tally:#?}");
    assert_eq!((tally.lost, tally.strays, tally.broken_frames), (0, 0, 0));
    assert!(tally.frames >= 8 * 55, "{} pictures", tally.frames);
    server.stop().await;
}

/// Samples of a codec behind a network that holds everything up for 50 ms.
async fn replay(codec: &str, engines: Engines) {
    let server = TestServer::start().await;
    let scenario = Scenario::parse(&format!(
        "name = 'samples'\nseed = 5\nramp = '100ms'\nduration = '3s'\n\
         streams = {{ viewers = 3, media = 'samples', codec = '{codec}' }}\n\
         impairment = {{ delay = '50ms' }}\n\
         thresholds = {{ failed_joins = 0, media_lost = 0 }}",
    ));
    let target = Target {
        url: server.base.clone(),
        secret: None,
        server_pid: None,
        threads: 1,
        endpoints: None,
        engines,
    };
    let scenario = scenario.expect("a scenario");
    let report = run::run(&scenario, &target, |_| {}).await.expect("a run");
    let table = report.table();
    assert_eq!(report.violations(), Vec::<String>::new(), "{table}");
    let tally = &report.media.as_ref().expect("media").tally;
    // Every packet was recognised, by nothing but the time it carried, and every picture was whole.
    assert_eq!((tally.strays, tally.broken_frames), (0, 0), "{table}");
    assert_eq!(tally.latency.len(), tally.received, "{table}");
    assert!(tally.frames >= 3 * 85, "{table}");
    // What held them up is what is told; how much longer it took is the machine's.
    assert!(tally.latency.min() >= 49_950, "{table}");
    assert!(tally.latency.value_at_quantile(0.5) < 100_000, "{table}");
    // A keyframe takes dozens of packets, as it does in the sample.
    let per_picture = tally.received / tally.frames;
    assert!((3..=6).contains(&per_picture), "{table}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_of_vp8_is_carried_whole_and_its_delay_told() {
    replay("vp8", Engines::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_of_h264_is_carried_whole_and_its_delay_told() {
    replay("h264", Engines::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_go_from_each_webrtc_to_the_other() {
    let (publish, watch) = (Engine::WebrtcRs, Engine::Str0m);
    replay("vp8", Engines { publish, watch }).await;
    let (publish, watch) = (watch, publish);
    replay("h264", Engines { publish, watch }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_of_layers_get_the_best_there_is_and_their_switches_are_counted() {
    let server = TestServer::start().await;
    let scenario = Scenario::parse(
        "name = 'layers'\nseed = 6\nramp = '100ms'\nduration = '9s'\n\
         streams = { viewers = 3, layers = 3, layer_pause = '4s', bitrate_kbps = 800 }\n\
         thresholds = { failed_joins = 0, media_lost = 0 }",
    );
    let target = Target {
        url: server.base.clone(),
        secret: None,
        server_pid: None,
        threads: 1,
        endpoints: None,
        engines: Engines::default(),
    };
    let scenario = scenario.expect("a scenario");
    let report = run::run(&scenario, &target, |_| {}).await.expect("a run");
    let table = report.table();
    assert_eq!(report.violations(), Vec::<String>::new(), "{table}");
    let tally = &report.media.as_ref().expect("media").tally;
    // The top layer goes after four seconds and is back after eight: down and up again, whatever layer they began with.
    assert!(tally.layer_switches >= 2 * 3, "{table}");
    assert_eq!((tally.strays, tally.duplicated), (0, 0), "{table}");
    let document = report.document();
    let switches = document.series.column("media_layer_switches");
    let values = &switches.expect("a column").values;
    let sum: f64 = values.iter().flatten().sum();
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let counted = tally.layer_switches as f64;
    assert!((sum - counted).abs() < 1e-6, "{table}");
    server.stop().await;
}
