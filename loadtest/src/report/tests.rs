use serde_json::{Map, Value, json};

use super::*;

fn report(thresholds: Thresholds) -> Report {
    let mut recorder = Recorder {
        acked: 100,
        delivered: 1000,
        lost: 3,
        duplicated: 2,
        out_of_order: 1,
        ..Recorder::default()
    };
    recorder.delivery.saturating_record(80_000);
    recorder.ack.saturating_record(40_000);
    Report {
        name: "test".to_owned(),
        seed: 1,
        started: SystemTime::UNIX_EPOCH,
        sessions: 10,
        arrived: 8,
        arrival: Duration::from_secs(1),
        load: Duration::from_secs(10),
        recorder,
        media: None,
        series: Series::default(),
        recovered_after: Some(Duration::from_secs(5)),
        had_storm: true,
        server: Some(Server {
            resident_before: 0,
            resident_idle: 8 * 30 * 1024,
            resident_loaded: 0,
            cpu_arrival: Duration::ZERO,
            cpu_load: Duration::from_secs(1),
            threads: 4,
        }),
        generator: Generator {
            threads: 1,
            cpu: Duration::from_secs(1),
        },
        thresholds,
    }
}

/// For each threshold a limit that the report above misses, and one that it keeps.
const LIMITS: [(&str, f64, f64); 10] = [
    ("failed_sessions", 1.0, 2.0),
    ("lost", 2.0, 3.0),
    ("duplicated", 1.0, 2.0),
    ("out_of_order", 0.0, 1.0),
    ("delivery_p99_ms", 50.0, 100.0),
    ("ack_p99_ms", 20.0, 60.0),
    ("acked_per_second", 11.0, 9.0),
    ("delivered_per_second", 101.0, 99.0),
    ("server_kib_per_session", 20.0, 40.0),
    ("recovered_ms", 4000.0, 6000.0),
];

fn thresholds(name: &str, limit: f64) -> Thresholds {
    #[expect(clippy::cast_possible_truncation, reason = "small whole numbers")]
    let whole = json!({ name: limit as i64 });
    // A threshold that counts takes no fraction.
    serde_json::from_value(whole).expect("a threshold")
}

#[test]
fn every_threshold_can_fail_and_can_hold() {
    for (name, missed, kept) in LIMITS {
        let failed = report(thresholds(name, missed)).violations();
        assert_eq!(failed.len(), 1, "{name} {missed}: {failed:?}");
        assert!(failed[0].starts_with(name), "{failed:?}");
        let kept = report(thresholds(name, kept));
        assert_eq!(kept.violations(), Vec::<String>::new(), "{name}");
        assert_eq!(kept.checks().len(), 1, "{name}");
        assert!(kept.document().passed, "{name}");
    }
}

#[test]
fn no_threshold_is_without_a_check() {
    let known = serde_json::to_value(Thresholds::default()).expect("thresholds");
    let known: &Map<String, Value> = known.as_object().expect("an object");
    let tested: Vec<&str> = LIMITS.iter().map(|(name, ..)| *name).collect();
    // Those of media are tested with the media.
    let media = [
        "failed_joins",
        "media_lost",
        "media_lost_percent",
        "freezes",
        "first_keyframe_p95_ms",
        "latency_p99_ms",
    ];
    for name in known.keys() {
        let is_tested = tested.contains(&name.as_str()) || media.contains(&name.as_str());
        assert!(is_tested, "{name}");
    }
    for name in media {
        // Without streams they do not hold, as nothing was measured.
        assert_eq!(
            report(thresholds(name, 1e6)).violations().len(),
            1,
            "{name}"
        );
    }
}

#[test]
fn a_value_at_its_limit_holds() {
    let exact = thresholds("acked_per_second", 10.0);
    assert!(report(exact).violations().is_empty());
    assert!(report(thresholds("lost", 3.0)).violations().is_empty());
}

#[test]
fn the_report_reads_back_from_its_file_as_it_was() {
    let mut report = report(thresholds("lost", 2.0));
    report.recorder.failed.insert("http 503".to_owned(), 2);
    report.recorder.closed.insert(4100, 7);
    report.series.push(&[crate::series::cell(
        "delivered",
        Some("Deliveries"),
        "delivered",
        "/s",
        None,
    )]);
    report.series.push(&[crate::series::cell(
        "delivered",
        None,
        "delivered",
        "/s",
        Some(0.1 + 0.2),
    )]);
    report.series.mark(Duration::from_millis(1500), "load");
    let document = report.document();
    let text = document.text().expect("numbers");
    assert_eq!(Document::parse(&text).expect("a report"), document);
    assert!(!document.passed);
    assert_eq!(document.counts[2].by, [("4100".to_owned(), 7)]);
    assert_eq!(document.started, "1970-01-01T00:00:00Z");
}

#[test]
fn no_two_metrics_are_called_the_same() {
    let metrics = report(Thresholds::default()).metrics();
    let names: std::collections::BTreeSet<&str> =
        metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names.len(), metrics.len());
}

#[test]
fn a_file_that_is_no_report_of_this_format_is_refused_in_words() {
    let good = report(Thresholds::default()).document();
    let good = serde_json::to_value(good).expect("numbers");
    let with = |key: &str, value: Value| {
        let mut other = good.clone();
        other[key] = value;
        other.to_string()
    };
    let uneven = json!({"step_s": 1, "marks": [], "columns": [
        {"name": "a", "chart": null, "label": "a", "unit": "", "values": [1.0, 2.0]},
        {"name": "b", "chart": null, "label": "b", "unit": "", "values": [1.0]},
    ]});
    for (text, said) in [
        ("{\"form".to_owned(), "this is no report"),
        ("[1, 2]".to_owned(), "this is no report"),
        ("{}".to_owned(), "\"format\" is missing"),
        (
            with("format", json!(2)),
            "has format 2, this program reads format 1",
        ),
        (with("metrics", json!("many")), "the report is damaged"),
        (
            with("series", uneven),
            "series.columns.b: 1 values, expected 2",
        ),
    ] {
        let error = format!("{:#}", Document::parse(&text).expect_err(said));
        assert!(error.contains(said), "{error}");
    }
    let missing = Document::read(std::path::Path::new("/no/such/report.json"));
    let error = format!("{:#}", missing.expect_err("no such file"));
    assert!(error.contains("/no/such/report.json"), "{error}");
}

#[test]
fn a_distribution_tells_no_more_than_its_values_can() {
    let mut few = Recorder::default().delivery;
    for _ in 0..10 {
        few.saturating_record(5_000);
    }
    few.saturating_record(90_000);
    let distribution = Distribution::of_us("delivery", "Deliver", &few);
    assert!(
        distribution
            .percentiles
            .iter()
            .all(|(percent, _)| *percent <= 90.0 || *percent >= 100.0)
    );
    let (percent, largest) = distribution.percentiles[distribution.percentiles.len() - 1];
    assert!((percent - 100.0).abs() < f64::EPSILON);
    assert!((89.0..91.0).contains(&largest), "{largest}");
}

#[test]
fn what_was_not_measured_does_not_hold() {
    let thresholds = Thresholds {
        server_kib_per_session: Some(1000.0),
        recovered_ms: Some(100_000.0),
        ..Thresholds::default()
    };
    let mut report = report(thresholds);
    report.server = None;
    report.recovered_after = None;
    assert_eq!(report.violations().len(), 2);
}

#[test]
fn a_busy_or_late_generator_says_so() {
    let mut busy = report(Thresholds::default());
    assert_eq!(busy.bottleneck(), None);
    busy.generator.cpu = Duration::from_millis(9500);
    assert!(busy.bottleneck().is_some());
    let mut late = report(Thresholds::default());
    late.recorder.lag.saturating_record(80_000);
    assert!(late.bottleneck().is_some());
}
