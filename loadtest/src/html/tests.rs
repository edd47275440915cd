use std::time::Duration;

use super::*;
use crate::compare::tests::document;
use crate::report::document::{Better, Counts, Distribution, Metric};
use crate::series::{Series, cell};

const NASTY: &str = "<script>alert('1')</script>\"&'</style></title>";

fn series(name: &'static str, rows: usize) -> Series {
    let mut series = Series::default();
    for row in 0..rows {
        let value = (row % 3 > 0).then(|| 10.0 + float(row as u64));
        series.push(&[
            cell(name, Some("Time to deliver"), "p99", "ms", value),
            cell("failed", Some("Failures"), "failed", "/s", Some(0.0)),
        ]);
    }
    series.mark(Duration::from_secs(2), "load");
    series
}

/// A run whose every text is hostile.
fn nasty() -> Run {
    let mut document = document(vec![Metric {
        name: NASTY.to_owned(),
        label: NASTY.to_owned(),
        unit: NASTY.to_owned(),
        value: Some(1.5),
        better: Better::Less,
    }]);
    document.series = series("delivery_p99_ms", 9);
    for column in &mut document.series.columns {
        column.chart = Some(format!("{}{NASTY}", column.name));
        column.label = NASTY.to_owned();
        column.unit = NASTY.to_owned();
    }
    document.series.marks[0].name = NASTY.to_owned();
    document.distributions.push(Distribution {
        name: NASTY.to_owned(),
        label: NASTY.to_owned(),
        unit: NASTY.to_owned(),
        count: 3,
        percentiles: vec![(0.0, 1.0), (50.0, 2.0), (100.0, 9.0)],
    });
    document.counts.push(Counts {
        name: NASTY.to_owned(),
        by: vec![(NASTY.to_owned(), 2)],
    });
    document.checks[0].name = NASTY.to_owned();
    document.bottleneck = Some(NASTY.to_owned());
    for text in [
        &mut document.name,
        &mut document.started,
        &mut document.generator,
    ] {
        NASTY.clone_into(text);
    }
    Run {
        title: NASTY.to_owned(),
        document,
    }
}

fn plain(title: &str, rows: usize) -> Run {
    let mut document = document(Vec::new());
    document.series = series("delivery_p99_ms", rows);
    Run {
        title: title.to_owned(),
        document,
    }
}

/// The page as XML: HTML differs from it here only in the elements that have no end.
fn parsed(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(at) = rest.find("<meta ") {
        let end = at + rest[at..].find('>').expect("the end of an element");
        text += &rest[..end];
        text += "/>";
        rest = &rest[end + 1..];
    }
    text + rest
}

fn with_elements(page: &str, check: impl FnOnce(&roxmltree::Document<'_>)) {
    let text = parsed(page);
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let parsed = roxmltree::Document::parse_with_options(&text, options);
    check(&parsed.unwrap_or_else(|error| panic!("{error}")));
}

fn count(document: &roxmltree::Document<'_>, name: &str) -> usize {
    let elements = document.descendants();
    elements.filter(|one| one.has_tag_name(name)).count()
}

#[test]
fn the_page_is_well_formed_and_whatever_a_report_says_stays_text() {
    for runs in [vec![nasty()], vec![nasty(), plain("other", 5), nasty()]] {
        let page = page(&runs);
        assert!(!page.contains("<script"), "{page}");
        with_elements(&page, |document| {
            assert_eq!(
                (count(document, "script"), count(document, "style")),
                (0, 1)
            );
            let texts = document.descendants().filter_map(|one| one.text());
            assert!(texts.filter(|text| text.contains("<script>")).count() >= 8);
        });
    }
}

#[test]
fn the_page_asks_for_nothing_from_anywhere() {
    let page = page(&[plain("a", 9), plain("b", 9)]);
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'") || page.contains("default-src &#39;none&#39;"));
}

#[test]
fn several_runs_share_a_chart_and_a_legend() {
    let page = page(&[plain("before", 9), plain("after", 30)]);
    with_elements(&page, |document| {
        // The failures are all zero and only named.
        assert_eq!(count(document, "figure"), 1);
        let paths = document
            .descendants()
            .filter(|one| one.has_tag_name("path"));
        let classes: Vec<&str> = paths.filter_map(|one| one.attribute("class")).collect();
        assert_eq!(
            classes,
            ["line c0 d0", "line c1 d0", "line c0 d0", "line c1 d0"]
        );
    });
    for text in ["before p99", "after p99", "Nothing to draw of: Failures."] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn runs_that_are_compared_are_laid_over_each_other_at_the_beginning_of_the_load() {
    let mut late = plain("late", 9);
    late.document.series.marks[0].at_s = 5.0;
    let charts = over_time(&[plain("early", 9), late]);
    let firsts: Vec<f64> = charts[0]
        .lines
        .iter()
        .map(|line| line.points[0].0)
        .collect();
    assert_eq!(firsts, [-1.0, -4.0]);
    assert_eq!(
        over_time(&[plain("alone", 9)])[0].lines[0].points[0]
            .0
            .to_bits(),
        1f64.to_bits()
    );
}

#[test]
fn a_long_run_is_drawn_with_few_points() {
    let page = page(&[plain("long", 3000)]);
    assert!(page.len() < 40_000, "{}", page.len());
}

#[test]
fn the_page_says_whether_the_generator_was_the_bottleneck_and_what_was_missed() {
    let mut run = plain("a", 3);
    assert!(page(std::slice::from_ref(&run)).contains("The generator was not the bottleneck."));
    run.document.bottleneck = Some("its threads were busy".to_owned());
    run.document.passed = false;
    let page = page(&[run]);
    assert!(page.contains("WAS THE BOTTLENECK"));
    assert!(page.contains("1 of 1 thresholds missed"));
}
