// Questions to the server, and following what changes.

const NOTICE = document.getElementById("notice");

// The answer to a GET: {data, tag}; with the tag of an earlier one `data` is undefined when nothing has changed.
// Throws a Refusal when the server says why not, a TypeError when it cannot be reached.
export async function get(path, params = {}, tag = "") {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== "" && one !== undefined && one !== null) query.append(name, String(one));
    }
  }
  const asked = query.size ? `${path}?${query}` : path;
  const answer = await fetch(asked, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
  if (answer.status === 304) return { tag };
  return { data: await told(answer), tag: answer.headers.get("etag") || "" };
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return told(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), cache: "no-store" }));
}

export class Refusal extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function told(answer) {
  const text = await answer.text();
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Refusal(answer.status, text.trim() || `the server answered with ${answer.status}`);
  }
  if (!answer.ok) throw new Refusal(answer.status, data.error || `the server answered with ${answer.status}`);
  return data;
}

// Whether there is an answer to an error: the server has said something. Else it has ended, was started again, or the connection
// is gone, which is said above the page.
export function isAnswer(error) {
  if (!(error instanceof Refusal || error instanceof TypeError)) throw error;
  return error instanceof Refusal && error.status !== 401;
}

export function notice(words) {
  NOTICE.textContent = words;
  NOTICE.hidden = !words;
}

// Ask again and again, and show what has changed. `ask(tag)` is a `get`, `show(data)` says in how many seconds to ask again;
// `refused(error)` shows why there is no answer. Nothing is asked while nobody sees the page. Gives {stop, now}.
export function follow(ask, show, refused) {
  let tag = "", pause = 1, timer = 0, stopped = false, round = 0;

  async function look() {
    clearTimeout(timer);
    const mine = ++round;
    try {
      const answer = await ask(tag);
      if (stopped || mine !== round) return;
      notice("");
      if (answer.data !== undefined) {
        tag = answer.tag;
        pause = show(answer.data) || 5;
      }
    } catch (error) {
      if (stopped || mine !== round) return;
      tag = "";
      pause = 3;
      if (isAnswer(error)) {
        notice("");
        refused(error);
      } else if (error instanceof Refusal) {
        notice("This dashboard was started again: open the address that it has printed.");
      } else {
        notice("The dashboard does not answer: it has ended, or the connection is gone. What is shown is from before.");
      }
    }
    if (!document.hidden) timer = setTimeout(look, 1000 * pause);
  }

  const seen = () => { if (!document.hidden) look(); };
  document.addEventListener("visibilitychange", seen);
  look();
  return {
    now() { tag = ""; look(); },
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
