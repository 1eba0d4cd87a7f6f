// The experiments of the folder.

import { agoText, count, countsBar, countsText, dateText, el, paceText, plural, replace, sparkline, unlessSame } from "/static/dom.js";
import { follow, get } from "/static/net.js";

const MOST_COMPARED = 8;
const AGING_MS = 30000; // between two looks at how long ago things were

export function listView(view) {
  document.title = "fasttune";
  const place = el("div", { class: "path" });
  const search = el("input", { type: "search", placeholder: "Find by name", "aria-label": "Find by name", oninput: arrange });
  const compare = el("button", { class: "main", onclick: openComparison, disabled: true }, "Compare");
  const summary = el("span", { class: "soft" });
  const rows = el("div", { class: "experiments" });
  const empty = el("p", { class: "soft", hidden: true });
  const lines = new Map(); // id -> {line, told}
  const chosen = new Set();
  let order = [];
  view.append(el("header", { class: "top" }, el("h1", {}, "Experiments"), place),
    el("div", { class: "tools" }, search, compare, summary), rows, empty);

  function show(told) {
    if (told.alone && told.experiments.length) {
      location.replace(`#/e/${encodeURIComponent(told.experiments[0].id)}`);
      return 5;
    }
    place.textContent = told.folder;
    order = told.experiments.map((one) => one.id);
    for (const id of [...lines.keys()]) {
      if (!order.includes(id)) {
        lines.get(id).line.remove();
        lines.delete(id);
        chosen.delete(id);
      }
    }
    for (const one of told.experiments) {
      if (!lines.has(one.id)) lines.set(one.id, newLine());
      const known = lines.get(one.id);
      known.told = one;
      unlessSame(known.who, [one.folder, one.state], () => who(one));
      unlessSame(known.how, one, () => how(one));
    }
    const states = told.experiments.map((one) => one.state);
    const running = states.filter((state) => state === "running").length;
    summary.textContent = plural(order.length, "experiment") + (running ? `, ${running} running` : "");
    empty.textContent = `There is no experiment in ${told.folder} yet. One that begins appears here.`;
    empty.hidden = order.length > 0;
    arrange();
    return states.includes("reading") ? 0.2 : running ? 1 : 3;
  }

  function arrange() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fit = order.filter((id) => {
      const told = lines.get(id).told;
      const text = `${told.folder} ${told.name} ${told.state} ${told.metric || ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const wanted = fit.map((id) => lines.get(id).line);
    const there = [...rows.children];
    if (wanted.length !== there.length || wanted.some((line, k) => line !== there[k])) replace(rows, wanted);
    compare.disabled = chosen.size < 2;
    compare.textContent = chosen.size >= 2 ? `Compare ${chosen.size}` : "Compare";
    compare.title = chosen.size >= 2 ? "" : `Choose from 2 to ${MOST_COMPARED} experiments by their boxes`;
  }

  // What is pressed and what changes every second are apart: a box keeps the focus while its run goes on.
  function newLine() {
    const made = { who: el("div", { class: "part-of-line" }), how: el("div", { class: "part-of-line" }) };
    made.line = el("section", { class: "experiment" }, made.who, made.how);
    return made;
  }

  function who(one) {
    const readable = isReadable(one);
    const box = el("input", {
      type: "checkbox", "aria-label": `compare ${one.folder}`, disabled: !readable, onchange: (event) => choose(one.id, event.target),
    });
    box.checked = chosen.has(one.id);
    const name = readable ? el("a", { href: `#/e/${encodeURIComponent(one.id)}` }, one.folder) : el("b", {}, one.folder);
    return [box, el("div", { class: "name" }, name, " ", el("span", { class: `state ${one.state}` }, one.state))];
  }

  function how(one) {
    if (!isReadable(one)) return el("div", { class: "why soft" }, one.state === "reading" ? "is being read ..." : one.why);
    return [bestOf(one), sparkline(one.line, `best ${one.metric} so far`), trialsOf(one), timesOf(one)];
  }

  function choose(id, box) {
    if (box.checked && chosen.size >= MOST_COMPARED) box.checked = false;
    if (box.checked) chosen.add(id); else chosen.delete(id);
    arrange();
  }

  function openComparison() {
    location.hash = `#/compare/${order.filter((id) => chosen.has(id)).map(encodeURIComponent).join("/")}`;
  }

  const following = follow((tag) => get("/api/experiments", {}, tag), show, (error) => replace(rows, el("p", {}, error.message)));
  const aging = setInterval(() => {
    for (const known of lines.values()) replace(known.how, how(known.told));
  }, AGING_MS);
  return {
    close() {
      clearInterval(aging);
      following.stop();
    },
  };
}

function isReadable(one) {
  return one.state !== "unreadable" && one.state !== "reading";
}

function bestOf(one) {
  if (one.front && one.front.size) {
    return el("div", { class: "best" }, el("b", {}, count(one.front.size)), el("span", { class: "soft" }, `on the front of ${one.objectives.join(", ")}`));
  }
  if (one.objectives.length) return el("div", { class: "best soft" }, one.front ? one.front.words : `no ${one.objectives.join(", ")} yet`);
  if (!one.best) return el("div", { class: "best soft" }, one.metric ? `no ${one.metric} yet` : "no metric");
  return el("div", { class: "best" }, el("b", {}, one.best.value), el("span", { class: "soft" }, one.best.words));
}

function trialsOf(one) {
  const asked = one.asked && one.asked > one.trials ? ` of ${count(one.asked)}` : "";
  return el("div", { class: "trials", title: countsText(one.counts) }, countsBar(one.counts, one.asked),
    el("span", { class: "soft" }, `${count(one.over)}${asked} ${one.over === 1 && !asked ? "trial" : "trials"} over`,
      one.counts.ERROR ? el("span", { class: "bad" }, `, ${count(one.counts.ERROR)} failed`) : ""));
}

function timesOf(one) {
  const said = one.state === "running" ? one.left || paceText(one.rate.trials) : `took ${one.took}`;
  return el("div", { class: "times" }, el("span", { title: dateText(one.heard) }, agoText(one.heard)),
    el("span", { class: "soft" }, said));
}
