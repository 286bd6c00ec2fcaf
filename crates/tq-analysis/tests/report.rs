//! The report of a small model: its facts, and a page that says them and nothing that others have put into it.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{data, model};
use tq_analysis::{
    Advice, Evidence, Finding, FindingKind, LatencyOptions, NodeKind, Report, ReportOptions, ReportStage,
};
use tq_graph::Graph;
use tq_passes::{convert, int8_qconfig, prepare_static};

fn quantized(graph: &Graph) -> Graph {
    let prepared = prepare_static(graph.clone(), int8_qconfig()).unwrap();
    for batch in data(graph).batches(Some(8)) {
        prepared.forward(&batch.unwrap()).unwrap();
    }
    convert(prepared).unwrap().graph
}

fn report(graph: &Graph) -> Report {
    let data = data(graph);
    let labels: Vec<i64> = (0..24).map(|i| i % 5).collect();
    let mut options =
        ReportOptions { layer_rows: 8, forecast_rows: 4, advice_rows: Some(8), ..ReportOptions::default() };
    options.compare.latency = Some(LatencyOptions { max_runs: 3, ..LatencyOptions::default() });
    let mut stages = Vec::new();
    let report =
        Report::new(graph, &quantized(graph), &data, Some(&labels), &options, |stage, done, total| {
            assert!(done <= total.max(8), "{stage:?} {done} {total}");
            if stages.last() != Some(&stage) {
                stages.push(stage);
            }
        });
    assert_eq!(
        stages,
        [ReportStage::Comparing, ReportStage::Layers, ReportStage::Advice, ReportStage::Forecast]
    );
    report.unwrap()
}

/// Start tags with their attributes, and text left out.
fn tags(html: &str) -> Vec<&str> {
    let body = &html[html.find("<body>").unwrap()..html.find("<script>").unwrap()];
    body.split('<').skip(1).map(|t| t.split('>').next().unwrap()).collect()
}

#[test]
fn facts_agree_with_each_other() {
    let r = report(&model());
    assert_eq!((r.comparison.n, r.layers.rows), (24, 8));
    assert_eq!(r.layers.layers.len(), 7);
    // The head's result stays in real numbers: it has a histogram and no clip.
    assert_eq!(r.histograms.len(), 7);
    assert_eq!(r.histograms.iter().filter(|h| h.clip.is_none()).count(), 1);
    let nodes = |kind| r.network.nodes.iter().filter(|n| n.kind == kind).count();
    assert_eq!(
        [NodeKind::Input, NodeKind::Integer, NodeKind::Float, NodeKind::Output].map(nodes),
        [1, 7, 0, 1]
    );
    // A chain: every node but the last leads to the next.
    let chain: Vec<(usize, usize)> = (0..8).map(|i| (i, i + 1)).collect();
    assert_eq!(r.network.edges, chain);
    assert_eq!(r.execution.integer_share(), Some(100.0));
    assert_eq!((r.weights.len(), r.certificates.len(), r.forecasts.len()), (5, 5, 2));
    for w in &r.weights {
        assert_eq!(w.channels.len(), if w.node == "head" { 5 } else { 8 }, "{w:?}");
        for c in &w.channels {
            // A scale for each channel: the largest weight is its last code.
            assert!(c.used() > 99.0 && c.min >= c.low && c.max <= c.high, "{w:?}");
        }
    }
    for c in &r.certificates {
        assert!(c.largest_accumulator < 2 * 255 * 127 * c.depth as u64 && c.wide_channels == 0, "{c:?}");
    }
}

#[test]
fn the_page_needs_nothing_beside_itself_and_says_the_figures() {
    let r = report(&model());
    let html = r.html();
    assert_eq!(html.matches("<script>").count(), 1);
    for tag in tags(&html) {
        for attribute in [" src=", " srcset=", " data=", " action=", " style=\"background", "http", " on"] {
            assert!(!tag.contains(attribute), "<{tag}>");
        }
        let links = tag.split("href=").skip(1);
        assert!(links.into_iter().all(|l| l.starts_with("\"#layer-")), "<{tag}>");
    }
    for outside in ["@import", "url(", "http://", "https://", "//cdn"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("default-src 'none'"));
    let top1 = r.comparison.quantized.accuracy.unwrap().top1;
    assert!(html.contains(&format!("<dd>{top1:.2} %</dd>")), "{top1}");
    for layer in &r.layers.layers {
        assert!(html.contains(&format!("<td class=\"name\">{}</td>", layer.node)), "{}", layer.node);
        assert!(
            html.contains(&format!("{:.1} dB", layer.introduced_db.min(129.0)))
                || layer.introduced_db > 129.0
        );
    }
    for id in ["summary", "findings", "graph", "layers", "errors", "activations", "weights", "kernels"] {
        assert!(html.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    assert!(html.contains("prefers-color-scheme:dark"));
    // Every opening tag has its end.
    for tag in [
        "section", "div", "table", "tr", "td", "th", "svg", "g", "a", "figure", "details", "ul", "li", "dl",
        "dd", "span", "text", "title",
    ] {
        let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
        let opened = html.split(&open).skip(1).filter(|rest| rest.starts_with(['>', ' '])).count();
        assert_eq!(opened, html.matches(&close).count(), "{tag}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let mut g = model();
    let hostile = "</script></title><img src=x onerror=alert(1)>'\"&\u{202e}";
    for (i, node) in g.nodes.iter_mut().enumerate() {
        node.name = format!("{i}{hostile}");
    }
    for (i, value) in g.values.iter_mut().enumerate() {
        value.name = format!("v{i}{hostile}");
    }
    let mut r = report(&g);
    r.names = (hostile.into(), hostile.into());
    for f in &mut r.layers.layers {
        f.op = hostile.into();
    }
    let found = Finding {
        kind: FindingKind::ClippedActivations,
        nodes: vec![g.nodes[0].name.clone(), "elsewhere<b>".into()],
        tensor: Some(hostile.into()),
        says: format!("{hostile} is clipped."),
        evidence: vec![Evidence { what: "values beyond", value: 12.5, unit: "%" }],
        noise: 0.01,
        share: 62.5,
        time_share: None,
        advice: hostile.into(),
    };
    let advice = Advice {
        rows: 8,
        sqnr_db: 20.0,
        findings: vec![found],
        unexplained: None,
        skipped: vec![(hostile.into(), hostile.into())],
    };
    let html = {
        r.advice = Some(advice);
        r.html()
    };
    assert!(html.contains("<h3>Clipped activations: 62.50 % of the error</h3>"));
    assert!(
        html.contains("values beyond: 12.50 %") && html.contains("<a href=\"#layer-1\">0&lt;/script&gt;")
    );
    assert!(!html.contains("<img") && !html.contains('\u{202e}'));
    assert_eq!((html.matches("</script>").count(), html.matches("<script").count()), (1, 1));
    assert!(html.contains(
        "0&lt;/script&gt;&lt;/title&gt;&lt;img src=x onerror=alert(1)&gt;&#39;&quot;&amp;\u{fffd}"
    ));
    let known = [
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "b",
        "main",
        "section",
        "dl",
        "dt",
        "dd",
        "div",
        "details",
        "summary",
        "ul",
        "li",
        "svg",
        "g",
        "path",
        "rect",
        "circle",
        "text",
        "title",
        "a",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "button",
        "figure",
        "figcaption",
        "span",
        "br",
    ];
    for tag in tags(&html) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        assert!(known.contains(&name), "<{tag}>");
    }
}

#[test]
fn the_file_is_whole_or_not_there() {
    let r = report(&model());
    let folder = std::env::temp_dir().join(format!("tq-report-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("report.html");
    r.save_html(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), r.html());
    let error = r.save_html(folder.join("no/report.html")).unwrap_err().to_string();
    assert!(error.contains("report.html"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}
