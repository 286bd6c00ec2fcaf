//! Headless Chromium, where there is one: `TQ_CHROMIUM` names it, else it is looked for on the path.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a page left when it was opened.
pub(crate) struct Opened {
    /// What the script of [`CHECK`] found.
    pub(crate) found: Value,
    /// Lines of the console.
    pub(crate) console: Vec<String>,
    /// What was asked of the network, the browser's own requests left out.
    pub(crate) requests: Vec<String>,
    pub(crate) screenshot: image::RgbImage,
}

pub(crate) struct Browser(PathBuf);

/// Hosts that Chromium asks by itself, whatever page is open.
const OWN_HOSTS: [&str; 3] = ["google.com", "googleapis.com", "gvt1.com"];

/// Finds text that does not fit where it stands, tables that have to be scrolled to the side, resources, and the colours in use; leaves it all in the title.
const CHECK: &str = r#"<script>addEventListener('load', () => {
  const clipped = [], name = e => e.tagName + ' ' + e.textContent.trim().slice(0, 60);
  if (document.documentElement.scrollWidth > innerWidth) clipped.push('the page: ' + document.documentElement.scrollWidth);
  for (const e of document.querySelectorAll('h1,h2,h3,p,li,dt,dd,td,th,figcaption,figure,summary,span,.card,.finding,.probe'))
    if (e.clientWidth && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 2)) clipped.push(name(e));
  for (const t of document.querySelectorAll('svg text')) {
    const rect = t.parentElement.querySelector('rect'), box = t.getBBox(), size = t.ownerSVGElement.viewBox.baseVal;
    const frame = t.closest('.node') && rect ? rect.getBBox() : size;
    if (box.x < frame.x || box.x + box.width > frame.x + frame.width || box.y < frame.y || box.y + box.height > frame.y + frame.height)
      clipped.push(name(t));
  }
  const sorted = [];
  for (const table of document.querySelectorAll('table.sortable')) for (let i = 0; i < table.tHead.rows[0].cells.length; i++) {
    const th = table.tHead.rows[0].cells[i], values = () => [...table.tBodies[0].rows].map(r => r.cells[i].dataset.v);
    for (const up of [true, false]) {
      th.querySelector('button').click();
      const v = values().filter(x => x !== undefined && x !== '').map(Number);
      const right = v.every((x, k) => !k || (up ? v[k - 1] <= x : v[k - 1] >= x));
      sorted.push(right && th.getAttribute('aria-sort') === (up ? 'ascending' : 'descending'));
    }
  }
  const style = getComputedStyle(document.body);
  document.title = JSON.stringify({
    clipped, sorted,
    cut: [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.scrollWidth),
    resources: performance.getEntriesByType('resource').map(e => e.name),
    images: [...document.images].map(i => i.naturalWidth), ground: style.backgroundColor, ink: style.color,
  });
});</script>"#;

impl Browser {
    /// The browser, or a line that says that it is not there.
    pub(crate) fn find() -> Option<Self> {
        if let Some(path) = std::env::var_os("TQ_CHROMIUM") {
            return Some(Self(path.into()));
        }
        let names = ["chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::env::split_paths(&path).flat_map(|folder| names.map(|n| folder.join(n)));
        let found = all.into_iter().find(|p| p.is_file());
        if found.is_none() {
            println!("SKIPPED: no Chromium on the path, and TQ_CHROMIUM is not set");
        }
        found.map(Self)
    }

    /// Opens a page of `folder`, with a script at its end that checks it.
    pub(crate) fn open(&self, folder: &Path, page: &str, dark: bool, width: u32) -> Opened {
        let html = std::fs::read_to_string(folder.join(page)).unwrap();
        let checked = folder.join(format!("checked-{page}"));
        std::fs::write(&checked, html.replace("</body>", &format!("{CHECK}</body>"))).unwrap();
        let (picture, net) = (folder.join("page.png"), folder.join("net.json"));
        let output = Command::new(&self.0)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-extensions",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--dump-dom"])
            .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
            .arg(format!("--window-size={width},2400"))
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg(format!("--log-net-log={}", net.display()))
            .arg(format!("--screenshot={}", picture.display()))
            .arg(format!("file://{}", checked.display()))
            .output()
            .unwrap();
        let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let title = dom.split_once("<title>").and_then(|(_, t)| t.split_once("</title>"));
        let title = title.unwrap_or_else(|| panic!("no page: {log}")).0;
        let title = title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let found = serde_json::from_str(&title).unwrap_or_else(|e| panic!("{e}: {title}\n{log}"));
        let log_of_net = std::fs::read_to_string(&net).unwrap();
        let urls = log_of_net.split("\"url\":\"").skip(1).filter_map(|u| u.split('"').next());
        let is_own = |url: &&str| {
            let host = url.split('/').nth(2).unwrap_or_default();
            !OWN_HOSTS.iter().any(|own| host == *own || host.ends_with(&format!(".{own}")))
        };
        Opened {
            found,
            console: log.lines().filter(|l| l.contains("CONSOLE")).map(str::to_owned).collect(),
            requests: urls
                .filter(|u| u.starts_with("http") || u.starts_with("ws"))
                .filter(is_own)
                .map(str::to_owned)
                .collect(),
            screenshot: image::open(&picture).unwrap().to_rgb8(),
        }
    }
}
