// One experiment: its head, which is always there, and one of its tabs below.

import {
  agoText, choose, count, countsBar, dateText, el, facts, paceText, plural, replace, statusName, unlessSame,
} from "/static/dom.js";
import { askToStop } from "/static/control.js";
import { picturesTab } from "/static/figures.js";
import { follow, get, isAnswer } from "/static/net.js";
import { trialsTab } from "/static/trials.js";

const TABS = [["", "Pictures"], ["trials", "Trials"], ["failures", "Failures"], ["search", "The search"]];

export function experimentView(view, id, rest, query) {
  const base = `#/e/${encodeURIComponent(id)}`;
  const head = new Head(base, stopRun);
  const links = new Map(TABS.map(([name, title]) => [name, el("a", { href: name ? `${base}/${name}` : base }, title)]));
  const tabs = el("nav", { class: "tabs", "aria-label": "parts" }, [...links.values()]);
  const body = el("div", { class: "tab" });
  let told = null, tab = null, tabName = null, path = rest, asked = query;
  view.append(head.place, tabs, body);

  function show(answer) {
    told = answer;
    document.title = `${told.name} - fasttune`;
    head.show(told);
    links.get("trials").textContent = `Trials ${count(told.trials)}`;
    const failed = told.counts.ERROR || 0;
    links.get("failures").textContent = failed ? `Failures ${count(failed)}` : "Failures";
    if (tab) tab.changed(told); else openTab();
    return told.state === "running" ? 1 : 3;
  }

  function openTab() {
    const name = links.has(path[0]) ? path[0] : "";
    for (const [known, link] of links) {
      if (known === name) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    if (tab && tabName === name) {
      if (tab.go) tab.go(path.slice(1), asked);
      return;
    }
    if (tab) tab.close();
    body.replaceChildren();
    tabName = name;
    const made = { "": picturesTab, trials: trialsTab, failures: failuresTab, search: searchTab }[name];
    tab = made(body, id, told, base);
    if (tab.go) tab.go(path.slice(1), asked);
  }

  async function stopRun() {
    const how = await choose("Stop the run?", [
      "Trials that run can be left as they are: going on with the experiment goes on with them. Or they are over for good.",
      "All results are kept either way.",
    ], [["", "Cancel"], ["leave", "Stop, leave them to be resumed"], ["end", "Stop and end them", "bad"]]);
    if (how === "leave" || how === "end") await askToStop({ experiment: id, at_once: how === "end" });
  }

  function refused(error) {
    if (!told) head.refuse(error.message);
    tabs.hidden = !told;
  }

  const following = follow((tag) => get("/api/experiment", { experiment: id }, tag), (answer) => {
    tabs.hidden = false;
    return show(answer);
  }, refused);
  return {
    go(next, query) {
      path = next;
      asked = query;
      if (told) openTab();
    },
    close() {
      following.stop();
      if (tab) tab.close();
    },
  };
}

// Name and state, and the cards. Each part is drawn again when what it shows has changed.
class Head {
  constructor(base, stopRun) {
    this.base = base;
    this.stopRun = stopRun;
    this.top = el("header", { class: "top" });
    this.path = el("div", { class: "path" });
    this.cards = [bestCard, progressCard, runCard].map((draw) => ({ draw, place: el("section", { class: "card" }) }));
    this.warnings = el("div");
    this.place = el("div", {}, el("nav", { class: "crumbs" }, el("a", { href: "#/" }, "All experiments")), this.top, this.path);
  }

  show(told) {
    unlessSame(this.top, [told.name, told.state, told.control], () => [
      el("h1", {}, told.name, " ", el("span", { class: `state ${told.state}` }, told.state)),
      told.control ? el("button", { class: "stop", onclick: this.stopRun }, "Stop the run ...") : "",
    ]);
    this.path.textContent = told.path;
    for (const { draw, place } of this.cards) {
      const wanted = draw(told, this.base);
      unlessSame(place, wanted.shows, wanted.draw);
    }
    unlessSame(this.warnings, told.said, () => told.said.length
      ? el("details", { class: "warnings" }, el("summary", {}, el("b", {}, "Not all of it could be read")), told.said.map((line) => el("p", {}, line)))
      : []);
    if (!this.warnings.isConnected) this.place.append(el("div", { class: "cards" }, this.cards.map(({ place }) => place)), this.warnings);
  }

  refuse(words) {
    replace(this.top, el("h1", {}, "This cannot be shown"));
    this.path.textContent = words;
  }
}

// Each card: what it shows, and how it is drawn.

function bestCard(told, base) {
  if (told.objectives.length) return frontCard(told, base);
  const title = told.state === "running" ? "Best so far" : "Best";
  const why = told.metric ? `No trial has reported ${told.metric}${told.state === "running" ? " yet" : ""}.` : "The run was given no metric: choose one above the pictures.";
  const shows = [title, told.best, why];
  if (!told.best) return { shows, draw: () => [el("h2", {}, title), el("p", { class: "soft" }, why)] };
  const { value, words, trial, trial_id, config, failed } = told.best;
  return {
    shows,
    draw: () => [
      el("h2", {}, title), el("div", { class: "big" }, value),
      el("div", { class: "soft" }, words, ", trial ", el("a", { href: `${base}/trials/${trial}` }, trial_id), failed ? " (failed)" : ""), facts(config, "config"),
    ],
  };
}

// In the place of a best trial, where a run has several metrics.
function frontCard(told, base) {
  const title = told.state === "running" ? "Pareto front so far" : "Pareto front", front = told.front;
  const why = front ? `${front.words}.` : `No trial has reported ${told.objectives.join(" and ")}${told.state === "running" ? " yet" : ""}.`;
  if (!front || !front.size) return { shows: [title, why], draw: () => [el("h2", {}, title), el("p", { class: "soft" }, why)] };
  const rows = front.trials.map((one) => el("tr", {},
    el("td", {}, el("a", { href: `${base}/trials/${one.trial}` }, one.trial_id)), one.values.map((value) => el("td", { class: "number" }, value))));
  const head = el("tr", {}, el("th", {}, "trial"), front.spans.map(([metric]) => el("th", { class: "number" }, metric)));
  const left = front.size - front.trials.length;
  return {
    shows: [title, front],
    draw: () => [
      el("h2", {}, title), el("div", { class: "big" }, count(front.size), el("small", {}, front.size === 1 ? " trial" : " trials")),
      el("div", { class: "soft" }, `that no other one beats in ${told.objectives.join(" and ")}`, front.hypervolume === null ? "" : `, hypervolume ${front.hypervolume}`),
      el("div", { class: "wide" }, el("table", { class: "rows" }, el("thead", {}, head), el("tbody", {}, rows))),
      left > 0 ? el("p", { class: "soft" }, `and ${plural(left, "trial")} between them`) : "",
    ],
  };
}

function progressCard(told, base) {
  const of = told.asked && told.asked > told.trials ? ` of ${count(told.asked)}` : "";
  const share = told.asked && told.state === "running" ? ` (${Math.floor((100 * told.over) / told.asked)} %)` : "";
  const chips = Object.entries(told.counts).map(([status, n]) =>
    el("a", { class: `chip ${statusName(status)}`, href: `${base}/trials?status=${status}` }, `${count(n)} ${statusName(status)}`));
  const rows = [["reports", count(told.reports)], ["pace", paceText(told.rate.trials, told.rate.reports) || "not known"]];
  const words = el("small", {}, `${of} ${told.over === 1 && !of ? "trial" : "trials"} over${share}`);
  return {
    shows: [told.over, told.asked, told.trials, told.state, told.counts, told.rate, told.words, told.reports],
    draw: () => [
      el("h2", {}, "Progress"), el("div", { class: "big plain" }, count(told.over), words), countsBar(told.counts, told.asked),
      el("div", { class: "chips" }, chips), el("p", { class: "soft" }, told.words), facts(rows),
    ],
  };
}

function runCard(told) {
  const rows = [
    ["began", dateText(told.began)], [told.state === "running" ? "has taken" : "took", told.took],
    ["last heard", el("span", { title: dateText(told.heard) }, agoText(told.heard))],
    ["metric", told.objectives.join(", ") || (told.metric ? `${told.metric} (${told.mode || "no mode"})` : "none")],
    ["configs from", told.searcher || "not known"], ["scheduler", told.scheduler || "not known"],
    ["trials asked for", told.asked ? count(told.asked) : "no end"], ["seed", told.seed === null ? "none" : String(told.seed)],
  ];
  return { shows: [told.heard, told.took, told.state], draw: () => [el("h2", {}, "The run"), facts(rows)] };
}

// ---- the tabs that say what the report page says

function factsTab(body, id, draw) {
  const place = el("div", {}, el("p", { class: "soft" }, "One moment ..."));
  let version = "", closed = false;
  replace(body, place);

  async function load() {
    try {
      const { data } = await get("/api/facts", { experiment: id });
      if (!closed) unlessSame(place, data, () => draw(data));
    } catch (error) {
      if (isAnswer(error) && !closed) unlessSame(place, error.message, () => el("p", { class: "soft" }, error.message));
    }
  }

  return {
    changed(told) {
      if (told.version === version) return;
      version = told.version;
      load();
    },
    go() { if (!version) load(); },
    close() { closed = true; },
  };
}

function failuresTab(body, id, told, base) {
  return factsTab(body, id, (data) => {
    if (!data.failures.length) return el("p", { class: "soft" }, "No trial has failed.");
    const kinds = data.failures.map((kind) => el("details", {},
      el("summary", {}, el("b", {}, kind.what), " ", el("span", { class: "soft" }, kind.times === 1 ? "once" : `${count(kind.times)} times`,
        `, first in trial ${kind.trial_id}`)),
      el("p", { class: "path" }, kind.where), el("pre", {}, kind.text)));
    const rest = data.further ? el("p", { class: "soft" }, `and ${plural(data.further, "more failure")}.`) : "";
    return [el("p", { class: "soft" }, "What ended trials, the most frequent first; open one for its traceback. ",
      el("a", { href: `${base}/trials?status=ERROR` }, "All trials that failed")), kinds, rest];
  });
}

function searchTab(body, id) {
  return factsTab(body, id, (data) => {
    const space = data.searched.length
      ? el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, ["parameter", "values", ""].map((text) => el("th", {}, text)))),
        el("tbody", {}, data.searched.map(([name, words, when]) => el("tr", {}, el("td", {}, name), el("td", { class: "words" }, words), el("td", {}, when))))))
      : el("p", { class: "soft" }, "The journal does not say what was searched.");
    const saved = data.saved && data.saved.all_to_the_end
      ? el("p", {}, el("b", {}, `${Math.round(100 * (1 - data.saved.run / data.saved.all_to_the_end))} %`),
        ` of the steps that all trials to their end would take were not run: ${count(data.saved.run)} in place of ${count(data.saved.all_to_the_end)}.`)
      : el("p", { class: "soft" }, "No trial was stopped early.");
    return [el("h2", {}, "What was searched"), space, el("h2", {}, "What was asked"), facts(data.asked),
      el("h2", {}, "What it cost"), facts([...data.cost, ...data.outcomes.map(([name, n]) => [`trials ${name}`, count(n)])]),
      el("h2", {}, "What stopping early saved"), saved];
  });
}
