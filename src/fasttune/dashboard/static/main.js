// Which view is shown. The address behind "#" says it, so that views can be gone back to, kept and sent:
//   #/                      the experiments
//   #/e/ID, #/e/ID/trials, #/e/ID/trials?status=ERROR, #/e/ID/trials/17, #/e/ID/failures, #/e/ID/search
//   #/compare/ID/ID/...

import { compareView } from "/static/compare.js";
import { experimentView } from "/static/experiment.js";
import { listView } from "/static/list.js";

const VIEW = document.getElementById("view");
let shown = null; // {key, close(), go(rest)}

// The token is in a cookie by now: it need not stand in the address, where others may see it.
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname + location.hash);

function route() {
  const [path, asked] = location.hash.replace(/^#\/?/, "").split("?");
  const [kind, ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
  const query = new URLSearchParams(asked || "");
  const key = kind === "e" ? `e ${rest[0]}` : kind === "compare" ? `compare ${rest.join(" ")}` : "list";
  if (shown && shown.key === key) {
    if (shown.go) shown.go(rest.slice(1), query);
    return;
  }
  if (shown) shown.close();
  VIEW.replaceChildren();
  window.scrollTo(0, 0);
  if (kind === "e" && rest.length) shown = experimentView(VIEW, rest[0], rest.slice(1), query);
  else if (kind === "compare" && rest.length) shown = compareView(VIEW, rest);
  else shown = listView(VIEW);
  shown.key = key;
}

window.addEventListener("hashchange", route);
route();
