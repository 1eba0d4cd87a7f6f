"""What is the same in every report page: its styles, and the script that draws the pictures. Nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence


def policy(scripts: Sequence[str]) -> str:
    """What the page allows itself: nothing may be fetched or sent, and these scripts may run, no others. plotly.js makes styles
    while it runs, and a blob to save a picture."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
        "form-action 'none'; base-uri 'none'"
    )


STYLES = """
:root { color-scheme: light dark; --ground: #ffffff; --card: #f6f7f9; --ink: #1f2328; --soft: #5b6470; --line: #d9dde3;
  --accent: #b9531a; --good: #1f7a4f; --bad: #b3261e; --label: rgba(255,255,255,0.75); }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --card: #1d2127; --ink: #e6e8eb; --soft: #a2abb6;
  --line: #343a43; --accent: #f0a36b; --good: #63c394; --bad: #ff8a80; --label: rgba(20,23,27,0.75); } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 6px; padding-top: 10px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 26px 0 2px; }
p { margin: 4px 0 10px; max-width: 78ch; }
.soft, figcaption { color: var(--soft); }
.failed { color: var(--bad); }
.path { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; color: var(--soft); }
.state { display: inline-block; font-size: 13px; padding: 1px 10px; border-radius: 10px; border: 1px solid currentColor; }
.state.finished { color: var(--good); } .state.unfinished { color: var(--bad); } .state.running { color: var(--accent); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 14px; margin: 18px 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; min-width: 0; }
.card h2 { border: 0; padding: 0; margin: 0 0 8px; font-size: 15px; color: var(--soft); font-weight: 600; }
.big { font-size: 30px; font-weight: 650; line-height: 1.15; color: var(--accent); overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: fit-content(60%) minmax(0, 1fr); gap: 2px 14px; margin: 8px 0 0; }
dl.config { font-family: ui-monospace, monospace; font-size: 13px; }
dt { color: var(--soft); overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 13.5px; margin: 8px 0; }
th { text-align: left; color: var(--soft); font-weight: 600; } th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; } td.words { white-space: normal; min-width: 16em; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); gap: 10px 18px; }
.figures.one { grid-template-columns: minmax(0, 1fr); }
figure { margin: 6px 0; min-width: 0; overflow-x: auto; } .broad .drawing { min-width: 780px; }
 figcaption { font-size: 13px; } .drawing { width: 100%; }
figure h4 { margin: 0 0 2px; font-size: 13.5px; font-weight: 600; overflow-wrap: anywhere; }
details { margin: 6px 0; border: 1px solid var(--line); border-radius: 8px; padding: 6px 12px; background: var(--card); }
summary { cursor: pointer; overflow-wrap: anywhere; } summary b { color: var(--bad); font-weight: 600; }
.modebar-btn path { fill: var(--soft) !important; }
pre { overflow-x: auto; font-size: 12.5px; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
details pre { border: 0; padding: 4px 0; }
nav { margin: 14px 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px; } a { color: inherit; }
@media (max-width: 620px) { main { padding: 16px 12px 40px; } h1 { font-size: 21px; } .big { font-size: 25px; } }
@media print { nav { display: none; } }
"""

# Each picture is drawn when it comes near the window: a page of twenty shows its words at once.
SCRIPT = """
(function () {
  "use strict";
  var narrow = window.matchMedia("(max-width: 620px)"), dark = window.matchMedia("(prefers-color-scheme: dark)");
  var coarse = window.matchMedia("(pointer: coarse)");
  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function painted(layout) {
    var change = { "font.color": colour("--ink"), "hoverlabel.font.color": colour("--ink"),
      "hoverlabel.bgcolor": colour("--card"), "hoverlabel.bordercolor": colour("--line") };
    (layout.annotations || []).forEach(function (one, k) {
      if (one.name === "label") { change["annotations[" + k + "].bgcolor"] = colour("--label"); }
    });
    return change;
  }
  function fitted(figure) {
    var layout = figure.layout, shown = figure.data.filter(function (trace) { return trace.showlegend; }).length;
    if (narrow.matches) {
      var more = 19 * Math.max(0, shown - 2);
      layout.height += more;
      layout.margin.b += more;
      layout.margin.l = 44;
      layout.margin.r = 8;
      figure.data.forEach(function (trace) {
        var bar = trace.colorbar || (trace.marker || {}).colorbar;
        if (bar) { bar.title = { text: "" }; bar.thickness = 8; }
      });
    }
    if (coarse.matches) { layout.dragmode = false; }
    return figure;
  }
  function draw(place) {
    var figure = fitted(JSON.parse(document.getElementById(place.dataset.figure).textContent));
    place.style.minHeight = "";
    var options = { responsive: true, displaylogo: false, showTips: false, displayModeBar: coarse.matches ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d"] };
    Plotly.newPlot(place, figure.data, figure.layout, options).then(function () {
      place.dataset.drawn = "yes";
      return Plotly.relayout(place, painted(place.layout));
    });
  }
  var places = Array.prototype.slice.call(document.querySelectorAll(".drawing"));
  if ("IntersectionObserver" in window) {
    var watch = new IntersectionObserver(function (seen) {
      seen.forEach(function (one) { if (one.isIntersecting) { watch.unobserve(one.target); draw(one.target); } });
    }, { rootMargin: "600px" });
    places.forEach(function (place) { watch.observe(place); });
  } else { places.forEach(draw); }
  dark.addEventListener("change", function () {
    places.forEach(function (place) { if (place.dataset.drawn) { Plotly.relayout(place, painted(place.layout)); } });
  });
  window.addEventListener("beforeprint", function () { places.forEach(function (p) { if (!p.dataset.drawn) { draw(p); } }); });
})();
"""
