// The table of trials, of which the server sorts, filters and gives a page; and one trial, beside it.

import { askToStop } from "/static/control.js";
import { choose, count, el, facts, replace, statusName, unlessSame } from "/static/dom.js";
import { drawFigures, purge } from "/static/figures.js";
import { get, isAnswer } from "/static/net.js";

const ROWS = 50;
const PATIENCE_MS = 250; // behind the last letter of a filter

export function trialsTab(body, id, told, base) {
  const wanted = { sort: "", desc: false, filter: "", status: "", offset: 0 };
  const filter = el("input", { type: "search", placeholder: "loss < 0.3 and optimizer = adam, or a word", "aria-label": "filter", spellcheck: "false", oninput: filtered });
  const status = el("select", { "aria-label": "status", onchange: () => ask({ status: status.value, offset: 0 }) });
  const found = el("span", { class: "soft", role: "status" });
  const wrong = el("p", { class: "bad", role: "alert", hidden: true });
  const head = el("thead"), rows = el("tbody");
  const table = el("table", { class: "rows" }, head, rows);
  const pages = el("div", { class: "tools pages" });
  const trial = new OneTrial(id, base, () => { location.hash = `${base}/trials`; });
  let tag = "", round = 0, timer = 0, closed = false;
  body.append(el("div", { class: "tools" }, filter, status, found), wrong, el("div", { class: "wide" }, table), pages);

  function filtered() {
    clearTimeout(timer);
    timer = setTimeout(() => ask({ filter: filter.value, offset: 0 }), PATIENCE_MS);
  }

  async function ask(change = {}) {
    Object.assign(wanted, change);
    if (Object.keys(change).length) tag = "";
    const mine = ++round;
    try {
      const params = { experiment: id, limit: ROWS, ...wanted, desc: wanted.desc ? 1 : 0 };
      const answer = await get("/api/trials", params, tag);
      if (closed || mine !== round || answer.data === undefined) return;
      tag = answer.tag;
      wrong.hidden = true;
      show(answer.data);
    } catch (error) {
      if (closed || mine !== round || !isAnswer(error)) return;
      wrong.textContent = error.message;
      wrong.hidden = false;
    }
  }

  function show(data) {
    const states = Object.entries(told.counts);
    unlessSame(status, states, () => [el("option", { value: "" }, "all trials"),
      states.map(([name, n]) => el("option", { value: name }, `${statusName(name)} (${count(n)})`))]);
    status.value = wanted.status;
    found.textContent = data.found === data.trials ? `${count(data.trials)} trials` : `${count(data.found)} of ${count(data.trials)} trials`;
    unlessSame(head, [data.columns, wanted.sort, wanted.desc], () => el("tr", {}, data.columns.map(titleCell)));
    while (rows.children.length > data.rows.length) rows.lastChild.remove();
    while (rows.children.length < data.rows.length) rows.append(el("tr", { onclick: open }));
    data.rows.forEach((row, k) => {
      rows.children[k].dataset.trial = row.trial;
      unlessSame(rows.children[k], [row, data.columns], () => cells(row, data.columns));
    });
    const last = Math.min(data.offset + ROWS, data.found);
    unlessSame(pages, [data.offset, data.found], () => data.found > ROWS ? [
      el("button", { disabled: data.offset === 0, onclick: () => ask({ offset: 0 }) }, "First"),
      el("button", { disabled: data.offset === 0, onclick: () => ask({ offset: Math.max(0, data.offset - ROWS) }) }, "Back"),
      el("span", {}, `${count(data.offset + 1)} to ${count(last)} of ${count(data.found)}`),
      el("button", { disabled: last >= data.found, onclick: () => ask({ offset: data.offset + ROWS }) }, "Next"),
      el("button", { disabled: last >= data.found, onclick: () => ask({ offset: ROWS * Math.floor((data.found - 1) / ROWS) }) }, "Last"),
    ] : []);
  }

  function titleCell({ name, title, kind }) {
    const sorted = wanted.sort === name;
    const way = sorted ? (wanted.desc ? "descending" : "ascending") : undefined;
    const press = () => ask(sorted ? { desc: !wanted.desc, offset: 0 } : { sort: name, desc: false, offset: 0 });
    return el("th", { class: kind, "aria-sort": way, scope: "col" },
      el("button", { onclick: press, title: name }, title, el("span", { class: "way" }, sorted ? (wanted.desc ? " \u2193" : " \u2191") : "")));
  }

  function open(event) {
    if (!event.target.closest("a")) location.hash = `${base}/trials/${event.currentTarget.dataset.trial}`;
  }

  function cells(row, columns) {
    return row.cells.map((text, k) => {
      const { kind, name } = columns[k];
      if (name === "trial_id") return el("td", {}, el("a", { href: `${base}/trials/${row.trial}` }, text));
      if (kind === "status") return el("td", {}, el("span", { class: `dot ${statusName(text)}` }), statusName(text));
      return el("td", { class: kind, title: text.length > 40 ? text : undefined }, text);
    });
  }

  return {
    changed(now) {
      told = now;
      ask();
      trial.changed(now);
    },
    go([number], query) {
      const chosen = query.get("status");
      if (chosen !== null) ask({ status: chosen, offset: 0 }); else if (!tag) ask();
      if (number) trial.open(number); else trial.close();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      trial.close();
    },
  };
}

// ---- one trial

class OneTrial {
  constructor(id, base, left) {
    this.id = id;
    this.base = base;
    this.number = "";
    this.words = el("div");
    this.figures = el("div", { class: "figures small" });
    this.box = el("aside", { class: "trial", "aria-label": "one trial", tabindex: "-1" },
      el("button", { class: "leave", onclick: left, "aria-label": "close" }, "\u00d7"), this.words, this.figures);
    this.leave = (event) => { if (event.key === "Escape" && !document.querySelector("dialog[open]")) left(); };
  }

  open(number) {
    if (this.number === number) return;
    if (!this.number) {
      document.body.append(this.box);
      document.addEventListener("keydown", this.leave);
    }
    this.number = number;
    this.version = "";
    purge(this.figures);
    replace(this.figures);
    this.words.shown = undefined;
    replace(this.words, el("p", { class: "soft" }, "One moment ..."));
    this.box.focus();
    this.load();
  }

  close() {
    if (!this.number) return;
    this.number = "";
    document.removeEventListener("keydown", this.leave);
    purge(this.figures);
    this.box.remove();
  }

  changed(told) {
    if (this.number && told.version !== this.version) this.load();
  }

  async load() {
    const number = this.number, params = { experiment: this.id, trial: number };
    try {
      const { data } = await get("/api/trial", params);
      if (this.number !== number) return;
      const before = this.told;
      this.version = data.version;
      this.told = data;
      unlessSame(this.words, { ...data, version: "" }, () => this.drawn(data));
      if (before && before.trial === data.trial && before.iteration === data.iteration && this.figures.children.length) return;
      const { data: curves } = await get("/api/trial_figures", params);
      if (this.number === number) await drawFigures(this.figures, curves.figures, { titles: true });
    } catch (error) {
      if (isAnswer(error) && this.number === number) replace(this.words, el("p", { class: "soft" }, error.message));
    }
  }

  drawn(data) {
    const stopped = data.stopped ? ", told to stop by the scheduler or a stop criterion" : "";
    const parts = [
      el("h2", {}, data.trial_id),
      el("p", {}, el("span", { class: `dot ${statusName(data.status)}` }), `${statusName(data.status)} at step ${count(data.iteration)}${stopped}`,
        data.failures ? `; it failed ${data.failures === 1 ? "once" : `${data.failures} times`}` : ""),
    ];
    if (data.can_stop) parts.push(el("p", {}, el("button", { class: "stop", onclick: () => this.stop(data) }, "Stop this trial ...")));
    if (data.reason) parts.push(el("details", { open: true }, el("summary", {}, el("b", {}, data.reason)), el("pre", {}, data.traceback)));
    parts.push(el("h3", { class: "with" }, "Sampled", el("button", { onclick: (event) => copy(event.target, data.config) }, "Copy the config")),
      data.sampled.length ? facts(data.sampled, "config") : el("p", { class: "soft" }, "nothing"));
    parts.push(el("h3", {}, "Last report"), data.metrics.length ? facts(data.metrics, "config") : el("p", { class: "soft" }, "none yet"));
    if (data.checkpoint) parts.push(el("p", { class: "soft" }, `Its newest checkpoint is ${data.checkpoint}.`));
    if (data.given.length) parts.push(el("details", {}, el("summary", {}, "The same for all trials"), facts(data.given, "config")));
    if (data.lineage.length) parts.push(el("details", {}, el("summary", {}, "What the scheduler changed"), el("ul", {}, data.lineage.map((one) => el("li", {}, one)))));
    return parts;
  }

  async stop(data) {
    const how = await choose(`Stop ${data.trial_id}?`, ["It ends as if its scheduler had stopped it; its results are kept."],
      [["", "Cancel"], ["report", "At its next report"], ["now", "Without waiting for it", "bad"]]);
    if (how === "report" || how === "now") await askToStop({ experiment: this.id, trial: data.trial, at_once: how === "now" });
  }
}

// As JSON, which is Python, too, but for true, false and null.
async function copy(button, config) {
  try {
    await navigator.clipboard.writeText(JSON.stringify(config, null, 2));
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser does not let us";
  }
}
