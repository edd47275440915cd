use super::*;
use crate::measure::record;

fn told(thread: usize, seconds: u64, delivered: u64) -> Interval {
    let mut recorder = Recorder {
        delivered,
        ..Recorder::default()
    };
    for _ in 0..delivered {
        record(&mut recorder.delivery, Duration::from_millis(5));
    }
    Interval {
        thread,
        seconds,
        ready: 3,
        recorder,
    }
}

fn reading(seconds: u64) -> Reading {
    let usage = Usage {
        cpu: Duration::from_millis(500 * seconds),
        resident_bytes: 10 << 20,
        threads: 4,
    };
    Reading {
        server: Some(usage),
        own: usage,
        media: None,
        at: Duration::from_secs(seconds),
    }
}

fn values(series: &Series, name: &str) -> Vec<Option<f64>> {
    series.column(name).expect("a column").values.clone()
}

#[test]
fn a_second_has_its_row_when_every_thread_has_told_it() {
    let mut collector = Collector::new(2, reading(0));
    collector.take(told(0, 1, 10), || reading(1));
    assert_eq!(collector.series.rows(), 0);
    collector.take(told(0, 2, 1), || reading(2));
    collector.take(told(1, 1, 5), || reading(1));
    assert_eq!(values(&collector.series, "delivered"), [Some(15.0)]);
    assert_eq!(values(&collector.series, "ready"), [Some(6.0)]);
    assert_eq!(values(&collector.series, "server_cpu"), [Some(50.0)]);
    assert_eq!(
        values(&collector.series, "server_resident_mib"),
        [Some(10.0)]
    );
    collector.finish(reading(2));
    assert_eq!(
        values(&collector.series, "delivered"),
        [Some(15.0), Some(1.0)]
    );
    assert_eq!(collector.total.delivered, 16);
}

#[test]
fn a_second_without_a_delivery_has_no_latency() {
    let mut collector = Collector::new(1, reading(0));
    collector.take(told(0, 1, 0), || reading(1));
    collector.take(told(0, 2, 2), || reading(2));
    let latency = values(&collector.series, "delivery_p99_ms");
    assert_eq!(latency[0], None);
    let second = latency[1].expect("two deliveries");
    assert!((4.9..5.2).contains(&second), "{second}");
}

#[test]
fn a_thread_that_stood_still_leaves_empty_rows_and_nothing_is_lost() {
    let mut collector = Collector::new(1, reading(0));
    collector.take(told(0, 1, 2), || reading(1));
    collector.take(told(0, 4, 9), || reading(4));
    assert_eq!(
        values(&collector.series, "delivered"),
        [Some(2.0), Some(0.0), Some(0.0), Some(9.0)]
    );
}

#[test]
fn a_long_run_gets_longer_rows_and_keeps_peaks() {
    let mut series = Series::default();
    for row in 0..ROWS_MAX * 3 {
        let peak = if row == 77 { 900.0 } else { 1.0 };
        series.push(&[
            cell("rate", None, "rate", "/s", Some(4.0)),
            cell("late", None, "late", "ms", Some(peak)).largest(),
        ]);
    }
    assert!(series.rows() < ROWS_MAX, "{}", series.rows());
    assert!(series.step_s > 1);
    let rate = series.column("rate").expect("a column");
    assert!(rate.values.iter().all(|value| *value == Some(4.0)));
    let late = series.column("late").expect("a column");
    assert!(late.values.contains(&Some(900.0)));
}

#[test]
fn the_collector_of_a_long_run_counts_each_second_once() {
    let mut collector = Collector::new(1, reading(0));
    let seconds = ROWS_MAX as u64 * 2;
    for second in 1..=seconds {
        collector.take(told(0, second, 3), || reading(second));
    }
    let series = &collector.series;
    assert!(series.step_s > 1);
    let rates = values(series, "delivered");
    assert!(rates.iter().all(|rate| *rate == Some(3.0)), "{rates:?}");
    assert!(collector.open.is_empty());
}

#[test]
fn a_column_that_comes_later_has_no_values_before() {
    let mut series = Series::default();
    series.push(&[cell("one", None, "one", "", Some(1.0))]);
    series.push(&[cell("two", None, "two", "", Some(2.0))]);
    assert_eq!(values(&series, "one"), [Some(1.0), None]);
    assert_eq!(values(&series, "two"), [None, Some(2.0)]);
}

#[test]
fn media_of_a_reading_is_in_the_row_and_not_in_the_next() {
    let mut collector = Collector::new(1, reading(0));
    let mut with_media = reading(1);
    let mut tally = Tally {
        received: 50,
        ..Tally::default()
    };
    record(&mut tally.freezes, Duration::from_millis(300));
    with_media.media = Some((7, tally));
    collector.take(told(0, 1, 0), || with_media);
    let mut without = reading(2);
    without.media = Some((7, Tally::default()));
    collector.take(told(0, 2, 0), || without);
    let series = &collector.series;
    assert_eq!(values(series, "media_received"), [Some(50.0), Some(0.0)]);
    assert_eq!(values(series, "media_freezes"), [Some(1.0), Some(0.0)]);
    assert_eq!(values(series, "media_watching"), [Some(7.0), Some(7.0)]);
}
