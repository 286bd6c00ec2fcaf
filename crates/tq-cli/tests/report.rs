//! `tq report`: the page, its facts, and what a browser makes of it.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::Bench;
use common::browser::{Browser, Opened};
use serde_json::json;

const DATA: &str = "--input eval.npz --labels labels.npz --scale 0.00392156862745098";

fn with_models() -> Bench {
    let b = Bench::new().with_digits();
    b.json("quantize model.onnx -o q.onnx --calib calib.npz --scale 0.00392156862745098 --json");
    b
}

#[test]
fn a_report_is_a_page_and_the_same_facts() {
    let b = with_models();
    let r = b.json(&format!(
        "report model.onnx q.onnx {DATA} --layer-rows 16 --forecast-rows 8 -o report.html --json"
    ));
    assert_eq!(r["names"], json!(["model.onnx", "q.onnx"]));
    assert_eq!((&r["comparison"]["n"], &r["layers"]["rows"]), (&json!(400), &json!(16)));
    let rows = |i: usize| r["forecasts"][i]["rows"].as_u64().unwrap();
    assert_eq!((rows(0), rows(1)), (8, 8));
    assert!(r["comparison"]["file_bytes"].is_null() && r["comparison"]["float"]["file_bytes"].is_u64());
    for key in ["histograms", "weights", "certificates"] {
        assert!(r[key].as_array().unwrap().len() >= 5, "{key}");
    }
    let html = std::fs::read_to_string(b.path("report.html")).unwrap();
    for layer in r["layers"]["layers"].as_array().unwrap() {
        assert!(html.contains(layer["node"].as_str().unwrap()), "{layer}");
    }
    // The facts alone write nothing.
    let before = b.files();
    b.json(&format!("report model.onnx q.onnx {DATA} --layer-rows 4 --forecast-rows 4 --json"));
    assert_eq!(b.files(), before);
    // What cannot be written is told before anything is measured.
    b.fails(&format!("report model.onnx q.onnx {DATA} -o report.pdf"), &["report.pdf", ".html"]);
    b.fails(&format!("report model.onnx q.onnx {DATA} -o nowhere/report.html"), &["nowhere"]);
}

/// The mean of all pixels, and how many colours there are.
fn looks(opened: &Opened) -> (f64, usize) {
    let bytes = opened.screenshot.as_raw();
    let mean = bytes.iter().map(|b| f64::from(*b)).sum::<f64>() / bytes.len() as f64;
    let colours: std::collections::HashSet<[u8; 3]> = opened.screenshot.pixels().map(|p| p.0).collect();
    (mean, colours.len())
}

#[test]
fn a_browser_shows_all_of_it_and_asks_for_nothing() {
    let Some(browser) = Browser::find() else { return };
    let b = with_models();
    b.json(&format!(
        "layers model.onnx q.onnx {DATA} --heatmap errors.png --histograms histograms.png --weights weights.png --json"
    )
    .replace("--labels labels.npz ", ""));
    // A name that would be markup, and one that is far too long for its place.
    let long = format!("{}.onnx", "a_model_with_quite_a_long_name".repeat(5));
    std::fs::copy(b.path("q.onnx"), b.path(&long)).unwrap();
    b.json(&format!(
        "report model.onnx {long} {DATA} --layer-rows 16 --forecast-rows 8 -o report.html --json"
    ));
    for (dark, width) in [(false, 1280), (false, 1100), (true, 500)] {
        let page = browser.open(b.folder.path(), "report.html", dark, width);
        assert_eq!(page.found["clipped"], json!([]), "{width} wide");
        // Tables have all their columns in sight where a window is not of a telephone.
        assert!(width < 1000 || page.found["cut"] == json!([]), "{width} wide: {}", page.found["cut"]);
        assert_eq!((&page.found["resources"], page.requests.len()), (&json!([]), 0), "{:?}", page.requests);
        assert!(page.console.is_empty(), "{:?}", page.console);
        let sorted = page.found["sorted"].as_array().unwrap();
        assert!(sorted.len() > 30 && sorted.iter().all(|s| *s == true), "{sorted:?}");
        let ground = if dark { "rgb(16, 21, 27)" } else { "rgb(255, 255, 255)" };
        assert_eq!(page.found["ground"], ground);
        let (mean, colours) = looks(&page);
        assert!(if dark { mean < 90.0 } else { mean > 190.0 }, "{mean}");
        assert!(colours > 100, "{colours}");
    }
    b.write("pictures.html", b"<!DOCTYPE html><html><head><title>x</title></head><body><img src=errors.png><img src=histograms.png><img src=weights.png></body></html>");
    let widths = browser.open(b.folder.path(), "pictures.html", false, 1280).found["images"].clone();
    assert!(widths.as_array().unwrap().iter().all(|w| w.as_u64().unwrap() > 600), "{widths}");
}

/// What the test above relies on finds what is wrong where something is.
#[test]
fn the_browser_tells_what_is_wrong_with_a_page() {
    let Some(browser) = Browser::find() else { return };
    let b = Bench::new();
    b.write(
        "bad.html",
        br#"<!DOCTYPE html><html><head><title>x</title></head><body><img src="http://127.0.0.1:9/x.png">
        <p style="width:3em;overflow:hidden;white-space:nowrap">much more than fits</p><div style="width:5000px">wide</div>
        <svg width="40" height="20" viewBox="0 0 40 20"><text x="0" y="14">much more than fits</text></svg>
        <script>console.error('told')</script></body></html>"#,
    );
    let page = browser.open(b.folder.path(), "bad.html", true, 800);
    assert_eq!(page.found["clipped"].as_array().unwrap().len(), 3, "{}", page.found);
    assert!(page.found["resources"].to_string().contains("127.0.0.1:9"), "{}", page.found);
    assert!(page.requests.iter().any(|r| r.contains("127.0.0.1:9")), "{:?}", page.requests);
    assert!(page.console.iter().any(|l| l.contains("told")), "{:?}", page.console);
}
