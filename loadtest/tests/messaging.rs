//! The generator against a server of this process: what it reports is what happened.

use std::net::SocketAddr;
use std::time::Duration;

use redred::config::Config;
use redred::server::{Exit, Server};
use redred_loadtest::media::stack::Engines;
use redred_loadtest::report::Report;
use redred_loadtest::run::{self, Target};
use redred_loadtest::scenario::Scenario;
use tokio::sync::mpsc;

async fn load(scenario: &str) -> Report {
    let [report] = load_again(scenario).await;
    report
}

/// The same scenario so many times over, on one server.
async fn load_again<const TIMES: usize>(scenario: &str) -> [Report; TIMES] {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut config = Config::default();
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.sfu.workers = 1;
    config.sfu.udp_port_base = 0;
    config.store.url = format!("sqlite://{}", directory.path().join("load.db").display());
    config.shutdown.grace = Duration::from_secs(1);
    let server = Server::bind(config).await.expect("a server on a free port");
    let target = Target {
        url: format!("http://{}", server.http_addr()),
        secret: None,
        server_pid: Some(std::process::id()),
        threads: 2,
        endpoints: None,
        engines: Engines::default(),
    };
    let (stop, requests) = mpsc::channel(1);
    let task = tokio::spawn(server.run(requests));
    let scenario = Scenario::parse(scenario).expect("a scenario");
    let mut reports = Vec::new();
    for _ in 0..TIMES {
        let report = run::run(&scenario, &target, |_| {}).await;
        reports.push(report.expect("a run"));
    }
    stop.send(()).await.expect("a running server");
    assert_eq!(task.await.expect("no panic"), Exit::Drained);
    reports.try_into().expect("as many reports as runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_reach_every_session_once() {
    let report = load(
        "name = 'comments'\nseed = 1\nramp = '100ms'\nduration = '2s'\n\
         audience = { stream = 'load', sessions = 20, comments_per_second = 20 }\n\
         thresholds = { failed_sessions = 0, lost = 0, duplicated = 0, out_of_order = 0 }",
    )
    .await;
    assert_eq!(
        report.violations(),
        Vec::<String>::new(),
        "{}",
        report.table()
    );
    assert_eq!(report.arrived, 20);
    assert!(report.recorder.acked >= 10, "{}", report.table());
    assert_eq!(
        report.recorder.delivered,
        report.recorder.acked * 20,
        "{}",
        report.table()
    );
    let timed = report.recorder.delivery.len();
    assert_eq!(timed, report.recorder.delivered, "{}", report.table());
    assert!(report.server_kib_per_session().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_off_comes_back_and_misses_nothing() {
    let report = load(
        "name = 'storm'\nseed = 2\nramp = '100ms'\nduration = '3s'\n\
         audience = { stream = 'load', sessions = 20, comments_per_second = 20 }\n\
         storm = { at = '1s', share = 1.0, first_delay = '500ms' }\n\
         thresholds = { failed_sessions = 0, lost = 0, out_of_order = 0, recovered_ms = 10000 }",
    )
    .await;
    assert_eq!(
        report.violations(),
        Vec::<String>::new(),
        "{}",
        report.table()
    );
    assert_eq!(report.recorder.reconnected, 20, "{}", report.table());
    assert_eq!(report.recorder.recovered, 20, "{}", report.table());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_loaded_before_delivers_the_same_seed_again() {
    let reports: [Report; 2] = load_again(
        "name = 'again'\nseed = 3\nramp = '100ms'\nduration = '1s'\n\
         audience = { stream = 'load', sessions = 5, comments_per_second = 20 }\n\
         thresholds = { failed_sessions = 0, lost = 0, duplicated = 0 }",
    )
    .await;
    for report in reports {
        let table = report.table();
        assert_eq!(report.violations(), Vec::<String>::new(), "{table}");
        assert!(report.recorder.acked >= 5, "{table}");
        assert_eq!(
            report.recorder.delivered,
            report.recorder.acked * 5,
            "{table}"
        );
    }
}
