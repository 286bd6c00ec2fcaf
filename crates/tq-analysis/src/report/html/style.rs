//! What is the same on every page: the style and the one script, which sorts tables.

pub(super) const CSS: &str = r#"*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
header,main{max-width:76rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.5rem}
h1{font-size:1.75rem;margin:0;line-height:1.25}
h2{font-size:1.3rem;margin:0 0 .25rem;line-height:1.3}
h3{font-size:1rem;margin:1.25rem 0 .5rem}
p{margin:.25rem 0 .75rem}
b,td.name,.finding,figcaption,.card{overflow-wrap:anywhere}
a{color:var(--accent)}
section{margin:2.25rem 0}
.says,.note,.sub{color:var(--muted)}
.says{max-width:60rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:.75rem;margin:0;padding:0}
.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem}
.card dt{color:var(--muted);font-size:.9rem}
.card dd{margin:0;font-size:1.5rem;line-height:1.35;font-variant-numeric:tabular-nums}
.card dd.sub{font-size:.9rem;line-height:1.45}
.good{color:var(--good)}
.bad{color:var(--beyond)}
.scroll{overflow:auto;border:1px solid var(--line);border-radius:.5rem;background:var(--card)}
.tall{max-height:44rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
td{white-space:nowrap}
td.name,td.text{white-space:normal}
th{position:sticky;top:0;background:var(--card);z-index:1;font-weight:600;vertical-align:bottom}
th:nth-child(2),td.name{text-align:left;min-width:17rem}
td.text,th.text{text-align:left;min-width:8rem}
tr:last-child td{border-bottom:0}
tr:target td{background:var(--bg);outline:2px solid var(--accent);outline-offset:-2px}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;margin:0;cursor:pointer;text-align:inherit}
th button:hover{color:var(--accent)}
th[aria-sort=ascending] button::after{content:" \25B2"}
th[aria-sort=descending] button::after{content:" \25BC"}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
svg{display:block}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;fill:var(--fg)}
svg .muted{fill:var(--muted)}
svg .axis{stroke:var(--line);stroke-width:1;fill:none}
svg .edge{stroke:var(--muted);stroke-width:1.25;fill:none}
svg .own{stroke:var(--own)}svg .inherited{stroke:var(--inherited)}svg .total{stroke:var(--total)}
svg .curve{fill:none;stroke-width:2;stroke-linejoin:round}
svg .curve.inherited{stroke-dasharray:7 4}svg .curve.total{stroke-dasharray:2 3}
svg circle.own{fill:var(--own)}svg circle.inherited{fill:var(--inherited)}svg circle.total{fill:var(--total)}
svg .bar{fill:var(--bar)}svg .beyond{fill:var(--beyond)}svg .under{fill:var(--limit)}
svg .limit{stroke:var(--limit);stroke-width:1.5;fill:none}
svg a:hover rect,svg a:focus rect{stroke:var(--accent);stroke-width:3}
.node.port rect{fill:var(--bg);stroke:var(--muted)}
.node.plain rect{fill:var(--bg);stroke:var(--muted)}
.node.float rect{stroke:var(--muted);stroke-width:1.5;stroke-dasharray:5 3}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;align-items:center;margin:.25rem 0 .75rem;color:var(--muted);font-size:.9rem;padding:0;list-style:none}
.legend svg{display:inline-block;vertical-align:middle;margin-right:.4rem}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .75rem}
figcaption{font-size:.9rem;line-height:1.35}
figure svg{width:100%;height:auto;margin:.4rem 0 .15rem}
.ends{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;font-size:.8rem;color:var(--muted);font-variant-numeric:tabular-nums}
.ends span{white-space:nowrap}
.finding{background:var(--card);border:1px solid var(--line);border-left:.3rem solid var(--beyond);border-radius:.5rem;padding:.75rem 1rem;margin:0 0 .75rem}
.finding h3{margin:0 0 .25rem}
.finding p{margin:.25rem 0}
details{margin-top:.75rem}
summary{cursor:pointer;color:var(--accent);margin-bottom:.75rem}
ul.reasons{margin:.25rem 0;padding-left:1.25rem}
@media (max-width:80rem){th,td{padding:.35rem .4rem}th:nth-child(2),td.name{min-width:9rem}td.text,th.text{min-width:5.5rem}td.text{overflow-wrap:break-word}}
@media print{.scroll{overflow:visible;max-height:none}th{position:static}}
"#;

pub(super) const SCRIPT: &str = r#"for (const table of document.querySelectorAll('table.sortable')) {
  table.tHead.addEventListener('click', event => {
    const button = event.target.closest('button');
    if (!button) return;
    const th = button.parentElement, column = th.cellIndex;
    const up = th.getAttribute('aria-sort') !== 'ascending';
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    th.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = row => {
      const cell = row.cells[column], value = cell.dataset.v;
      if (value === undefined) return cell.textContent;
      return value === '' ? null : Number(value);
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      const by = typeof x === 'string' ? x.localeCompare(y) : x - y;
      return up ? by : -by;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  });
}
"#;
