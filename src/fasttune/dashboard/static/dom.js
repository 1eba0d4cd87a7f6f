// Elements, and numbers in words. Whatever comes from an experiment becomes text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

// el("td", {class: "number", onclick: f}, "text", [more, elements]): undefined, null and false are left out.
export function el(tag, given = {}, ...inside) {
  return filled(document.createElement(tag), given, inside);
}

export function svg(tag, given = {}, ...inside) {
  return filled(document.createElementNS(SVG, tag), given, inside);
}

function filled(made, given, inside) {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...inside.flat(3).filter((one) => one !== undefined && one !== null && one !== false).map(asNode));
  return made;
}

function asNode(one) {
  return one instanceof Node ? one : document.createTextNode(String(one));
}

export function replace(place, ...inside) {
  place.replaceChildren(...inside.flat(3).filter((one) => one !== undefined && one !== null && one !== false).map(asNode));
}

// Draw a part of the page again only when what it shows has changed: what is focused or selected in it stays so.
export function unlessSame(place, shown, draw) {
  const told = JSON.stringify(shown);
  if (place.shown === told) return;
  place.shown = told;
  replace(place, draw());
}

export function count(n) {
  return n === null || n === undefined ? "" : n.toLocaleString("en-US");
}

export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

// "12 trials and 340 reports a second": both at the unit that suits the first.
export function paceText(trials, reports) {
  const [unit, factor] = trials >= 1 || !trials ? ["second", 1] : trials * 60 >= 1 ? ["minute", 60] : ["hour", 3600];
  const said = [[trials, "trials"], [reports, "reports"]].filter(([rate]) => rate)
    .map(([rate, what]) => `${count(Number((rate * factor).toPrecision(3)))} ${what}`);
  return said.length ? `${said.join(" and ")} a ${unit}` : "";
}

export function spanText(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} hours`;
  return `${Math.round(seconds / 86400)} days`;
}

export function agoText(unix) {
  const seconds = Date.now() / 1000 - unix;
  return seconds < 5 ? "just now" : `${spanText(seconds)} ago`;
}

export function dateText(unix) {
  return new Date(unix * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

const KINDS = { TERMINATED: "finished", ERROR: "failed", RUNNING: "running", PAUSED: "paused", PENDING: "waiting",
  INTERRUPTED: "interrupted" };

export function statusName(status) {
  return KINDS[status] || status;
}

// How many trials are of each status, as one bar; the rest of it is what was asked for and has not been suggested yet.
export function countsBar(counts, asked) {
  const known = Object.values(counts).reduce((sum, n) => sum + n, 0);
  const bar = el("div", { class: "bar", role: "img", "aria-label": countsText(counts) });
  for (const [status, n] of Object.entries(counts)) bar.append(part(statusName(status), n));
  if (asked && asked > known) bar.append(part("ahead", asked - known));
  return bar;
}

function part(kind, n) {
  const made = el("span", { class: `part ${kind}`, title: `${count(n)} ${kind === "ahead" ? "not suggested yet" : kind}` });
  made.style.flexGrow = String(n);
  return made;
}

export function countsText(counts) {
  return Object.entries(counts).map(([status, n]) => `${count(n)} ${statusName(status)}`).join(", ");
}

// A small staircase; points go from 0 to 1 on both axes.
export function sparkline(points, words) {
  if (!points || points.length < 2) return el("span", { class: "spark" });
  const width = 120, height = 28, edge = 2;
  let path = "";
  points.forEach(([x, y], k) => {
    const across = edge + x * (width - 2 * edge), up = height - edge - y * (height - 2 * edge);
    path += k === 0 ? `M${across} ${up}` : `H${across}V${up}`;
  });
  const drawn = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
  drawn.append(svg("title", {}, words), svg("path", { d: path }));
  return drawn;
}

export function facts(rows, kind = "") {
  return el("dl", { class: kind }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

// A question with buttons; the answer is the value of the one that was pressed, "" for none.
export function choose(title, words, buttons) {
  const dialog = el("dialog", { class: "question", "aria-label": title });
  dialog.append(
    el("h3", {}, title), ...words.map((line) => el("p", {}, line)),
    el("form", { method: "dialog" }, buttons.map(([value, text, kind]) => el("button", { value, class: kind }, text))),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => { resolve(dialog.returnValue); dialog.remove(); });
  });
}
