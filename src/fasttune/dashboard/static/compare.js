// Several experiments in one picture, and side by side.

import { count, el, replace, sparkline, unlessSame } from "/static/dom.js";
import { drawFigures, purge } from "/static/figures.js";
import { follow, get } from "/static/net.js";

export function compareView(view, ids) {
  document.title = "Comparison - fasttune";
  let over = "time";
  const choice = el("select", { "aria-label": "horizontal axis", onchange: () => { over = choice.value; following.now(); } },
    el("option", { value: "time" }, "over time"), el("option", { value: "trials" }, "over trials"));
  const note = el("p", { class: "soft" }), place = el("div", { class: "figures one" }), table = el("div", { class: "wide" });
  view.append(el("nav", { class: "crumbs" }, el("a", { href: "#/" }, "All experiments")), el("h1", {}, "Comparison"),
    el("p", { class: "soft" }, "The best value so far of each experiment. One that is lower or higher sooner found good trials with less."),
    el("div", { class: "tools" }, choice), place, note, table);

  function show(data) {
    drawFigures(place, data.figures, { titles: data.figures.length > 1 });
    note.textContent = data.missing || [...new Set(data.figures.map((one) => one.note).filter(Boolean))].join(" ");
    unlessSame(table, data.experiments, () => sideBySide(data.experiments, ids));
    return data.experiments.some((one) => one.state === "running") ? 3 : 5;
  }

  const following = follow((tag) => get("/api/comparison", { experiment: ids, over }, tag), show,
    (error) => replace(table, el("p", {}, error.message)));
  return {
    close() {
      following.stop();
      purge(place);
    },
  };
}

function sideBySide(several, ids) {
  const names = [...new Set(several.flatMap((one) => (one.best ? one.best.config.map(([name]) => name) : [])))].sort();
  const config = (one, name) => (one.best ? (one.best.config.find(([known]) => known === name) || [])[1] : undefined) ?? "";
  const rows = [
    ["state", (one) => el("span", { class: `state ${one.state}` }, one.state)],
    ["best", (one) => (one.best ? el("b", {}, one.best.value) : "")],
    ["of what", (one) => (one.best ? one.best.words : one.front ? one.front.words : one.metric || "no metric")],
    ["got better", (one) => sparkline(one.line, `best ${one.metric} so far`)],
    ["trials", (one) => count(one.trials)], ["reports", (one) => count(one.reports)], ["took", (one) => one.took],
    ["configs from", (one) => one.searcher], ["scheduler", (one) => one.scheduler], ["seed", (one) => (one.seed === null ? "" : String(one.seed))],
    ...names.map((name) => [`best ${name}`, (one) => config(one, name)]),
  ];
  return el("table", { class: "sides" },
    el("thead", {}, el("tr", {}, el("th"), several.map((one, k) => el("th", { scope: "col" }, el("a", { href: `#/e/${encodeURIComponent(ids[k])}` }, one.folder))))),
    el("tbody", {}, rows.map(([name, cell]) => el("tr", {}, el("th", { scope: "row" }, name), several.map((one) => el("td", {}, cell(one)))))));
}
