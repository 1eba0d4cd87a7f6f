// Pictures: fetched when they come near the window, drawn by plotly, brought up to date while the run goes on.

import { el, replace } from "/static/dom.js";
import { get, isAnswer } from "/static/net.js";

const NARROW = window.matchMedia("(max-width: 620px)");
const DARK = window.matchMedia("(prefers-color-scheme: dark)");
const COARSE = window.matchMedia("(pointer: coarse)");
const NEAR = "500px";
const REST_S = 4; // at least between two drawings of a picture of a run that goes on
const SHARE = 10; // drawing takes at most one part in so many of the time

let library = null;

// plotly comes with the first picture: the words of a page do not wait for its four megabytes.
function plotly() {
  library ||= new Promise((resolve, reject) => {
    const script = el("script", { src: "/static/plotly.js" });
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      library = null;
      reject(new TypeError("the library that draws pictures could not be loaded"));
    });
    document.head.append(script);
  });
  return library;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function painted(layout) {
  const paint = { color: colour("--ink"), card: colour("--card"), line: colour("--line") };
  layout.font = { ...layout.font, color: paint.color };
  layout.hoverlabel = { ...layout.hoverlabel, font: { color: paint.color }, bgcolor: paint.card, bordercolor: paint.line };
  for (const one of layout.annotations || []) {
    if (one.name === "label") one.bgcolor = colour("--label");
  }
}

function fitted({ data, layout }) {
  if (NARROW.matches) {
    const shown = data.filter((trace) => trace.showlegend).length, more = 19 * Math.max(0, shown - 2);
    layout.height += more;
    layout.margin = { ...layout.margin, b: layout.margin.b + more, l: 44, r: 8 };
    for (const trace of data) {
      const bar = trace.colorbar || (trace.marker || {}).colorbar;
      if (bar) Object.assign(bar, { title: { text: "" }, thickness: 8 });
    }
  }
  if (COARSE.matches) layout.dragmode = false;
  painted(layout);
}

const OPTIONS = {
  responsive: true, displaylogo: false, showTips: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d"],
};

// Draw figures of the server below each other in `place`; those that are there are brought up to date.
export async function drawFigures(place, figures, { titles = false, broad = false } = {}) {
  const Plotly = await plotly();
  while (place.children.length > figures.length) {
    Plotly.purge(place.lastChild.querySelector(".plot"));
    place.lastChild.remove();
  }
  while (place.children.length < figures.length) {
    place.append(el("figure", { class: broad ? "broad" : "" }, el("h4"), el("div", { class: "plot" })));
  }
  await Promise.all(figures.map(({ title, figure }, k) => {
    const [head, plot] = place.children[k].children;
    head.textContent = title;
    head.hidden = !titles;
    fitted(figure);
    return Plotly.react(plot, figure.data, figure.layout, { ...OPTIONS, displayModeBar: COARSE.matches ? false : "hover" });
  }));
}

export function purge(place) {
  for (const plot of place.querySelectorAll(".js-plotly-plot")) window.Plotly.purge(plot);
}

DARK.addEventListener("change", () => {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    painted(plot.layout);
    window.Plotly.redraw(plot);
  }
});

// ---- the tab with all pictures

export function picturesTab(body, id, told) {
  const pictures = told.pictures.map((entry) => new Picture(id, entry, listMissing));
  const metric = el("select", { "aria-label": "metric", onchange: again }), mode = el("select", { "aria-label": "mode", onchange: again });
  const tools = el("div", { class: "tools", hidden: true }, el("label", {}, "by ", metric), el("label", {}, mode));
  const missing = el("details", { hidden: true });
  const watch = new IntersectionObserver((seen) => {
    for (const one of seen) pictures.find((picture) => picture.section === one.target).see(one.isIntersecting);
  }, { rootMargin: NEAR });
  body.append(tools, el("div", { class: "pictures" }, pictures.map((picture) => picture.section)), missing);
  pictures.forEach((picture) => watch.observe(picture.section));
  changed(told);

  function changed(now) {
    const names = now.metrics, known = [...metric.options].map((option) => option.value);
    if (names.join("\n") !== known.join("\n")) {
      const before = metric.value || now.metric || "";
      replace(metric, names.map((name) => el("option", { value: name }, name)));
      replace(mode, ["max", "min"].map((way) => el("option", { value: way }, way === "max" ? "the larger the better" : "the smaller the better")));
      metric.value = names.includes(before) ? before : names[0] || "";
      mode.value = now.mode || "min";
    }
    tools.hidden = names.length < 2 && Boolean(now.metric);
    const own = metric.value === now.metric && mode.value === now.mode;
    const goal = own || !metric.value ? {} : { metric: metric.value, mode: mode.value };
    pictures.forEach((picture) => picture.changed(now, goal));
  }

  function again() {
    changed(told);
  }

  function listMissing() {
    const lines = pictures.filter((picture) => picture.why).map((picture) => el("li", {}, `${picture.entry.title}: ${picture.why}`));
    missing.hidden = !lines.length;
    replace(missing, el("summary", {}, "Pictures that are not here, and why"), el("ul", {}, lines));
  }

  return {
    changed(now) {
      told = now;
      changed(now);
    },
    close() {
      watch.disconnect();
      pictures.forEach((picture) => picture.close());
    },
  };
}

class Picture {
  constructor(id, entry, listMissing) {
    this.id = id;
    this.entry = entry;
    this.listMissing = listMissing;
    this.why = "";
    this.place = el("div", { class: `figures${entry.apart ? "" : " one"}` });
    this.note = el("p", { class: "soft note" });
    this.section = el("section", { class: `picture waiting${entry.half ? " half" : ""}`, id: `picture-${entry.name}` },
      el("h3", {}, entry.title), el("p", { class: "soft" }, entry.words), this.place, this.note);
    this.near = false;
    this.wanted = ""; // what there is to draw
    this.drawn = ""; // what is drawn
    this.busy = false;
    this.next = 0; // not before, in milliseconds
    this.timer = 0;
  }

  changed(told, goal) {
    const asked = JSON.stringify(goal);
    if (asked !== JSON.stringify(this.goal || {})) this.next = 0;
    this.goal = goal;
    this.wanted = `${told.version} ${asked}`;
    this.draw();
  }

  see(near) {
    this.near = near;
    this.draw();
  }

  async draw() {
    if (!this.near || this.busy || this.drawn === this.wanted || this.closed) return;
    const early = this.next - performance.now();
    if (early > 0) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.draw(), early);
      return;
    }
    this.busy = true;
    const began = performance.now();
    let drawn = this.wanted;
    try {
      const { data } = await get("/api/picture", { experiment: this.id, name: this.entry.name, ...this.goal });
      if (this.closed) return;
      this.say(data.missing || "");
      await drawFigures(this.place, data.figures, { titles: this.entry.apart && data.figures.length > 1, broad: this.entry.broad });
      this.place.classList.toggle("one", !this.entry.apart || data.figures.length === 1);
      this.note.textContent = [...new Set(data.figures.map((figure) => figure.note).filter(Boolean))].join(" ");
      this.section.classList.remove("waiting");
    } catch (error) {
      if (this.closed) return;
      if (isAnswer(error)) this.say(error.message); else drawn = ""; // what is there stays, and is asked for again
    } finally {
      this.busy = false;
    }
    this.drawn = drawn;
    const took = performance.now() - began;
    this.next = performance.now() + Math.max(1000 * REST_S, SHARE * took);
    this.draw();
  }

  say(why) {
    if (why === this.why) return;
    this.why = why;
    this.section.classList.toggle("missing", Boolean(why));
    if (why) {
      purge(this.place);
      replace(this.place);
    }
    this.listMissing();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    purge(this.place);
  }
}
