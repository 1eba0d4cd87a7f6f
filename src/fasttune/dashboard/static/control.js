// Asking runs to stop.

import { el } from "/static/dom.js";
import { post } from "/static/net.js";

const SAID_MS = 6000;

// Ask for a stop, and say what came of it.
export async function askToStop(request) {
  let words;
  try {
    words = `${(await post("/api/stop", request)).said}.`;
  } catch (error) {
    words = error.message;
  }
  const said = el("div", { class: "said", role: "status" }, words);
  document.body.append(said);
  setTimeout(() => said.remove(), SAID_MS);
}
