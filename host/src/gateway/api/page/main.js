// Keeps the page up to date: one stream of accounts, from which rates, drawing and tables are made.

import { offer } from "./devices.js";
import { draw, parts } from "./drawing.js";
import { fill, rows } from "./tables.js";
import { bytes, make, time } from "./words.js";

/** Counts of which rates are made, by the key of a box. */
function counts({ status }) {
  const all = new Map();
  for (const one of status.sources) all.set(`source ${one.name}`, one.received);
  for (const one of status.flows) {
    all.set(`flow ${one.name}`, one.messages_in);
    for (const plugin of one.plugins) all.set(`cpu ${one.name}/${plugin.name}`, plugin.cpu_s);
  }
  for (const one of status.queues) all.set(`queue ${one.name}`, one.appended);
  for (const one of status.uplinks) all.set(`uplink ${one.name}`, one.forwarded);
  return all;
}

const SAMPLES = 60;

class Rates {
  #before = null;
  #histories = new Map();

  take(view) {
    const now = { at: view.at_ms, counts: counts(view) };
    const seconds = this.#before ? (now.at - this.#before.at) / 1000 : 0;
    if (this.#before && seconds < 0.2) return;
    for (const [key, value] of now.counts) {
      const before = this.#before?.counts.get(key);
      const history = this.#histories.get(key) ?? [];
      // A count that went back is a new start.
      if (before !== undefined && value >= before) history.push((value - before) / seconds);
      this.#histories.set(key, history.slice(-SAMPLES));
    }
    for (const key of this.#histories.keys()) if (!now.counts.has(key)) this.#histories.delete(key);
    this.#before = now;
  }

  history(key) {
    return this.#histories.get(key) ?? [];
  }

  of(key) {
    return this.history(key).at(-1) ?? 0;
  }
}

const rates = new Rates();
let shown = null;

function show(view) {
  shown = view;
  rates.take(view);
  const states = new Map(view.health.parts.map((part) => [`${part.kind} ${part.name}`, part.state]));
  render(view, states);
}

/** What a part of the report is called; the server says it in the same way. */
function title({ kind, name }) {
  if (kind === "subscriptions") return `source ${name}: subscriptions`;
  if (kind === "loop") return name;
  return [kind, name].filter(Boolean).join(" ");
}

function render(view, states) {
  document.getElementById("drawing").hidden = false;
  draw(document.getElementById("canvas"), parts(view, rates, states), rates);
  fill(rows(view, rates, states));
  stand(view.health.state, view.health.state);
  const wrong = view.health.parts.filter((part) => part.state !== "ok");
  const items = wrong.map((part) => make("li", { class: part.state }, make("strong", {}, title(part)), " ", make("span", {}, part.why ?? part.state)));
  document.getElementById("wrong-list").replaceChildren(...items);
  document.getElementById("wrong").hidden = wrong.length === 0;
  const { process, store, dead_letters: letters } = view.status;
  const facts = [
    ["up", time(process.uptime_s)], ["memory", `${bytes(process.resident_bytes)} of ${bytes(process.memory_limit_bytes)}`],
    ["disk free", bytes(store.free_bytes)], ["dead letters", String(letters.kept)],
  ];
  offer(view.devices);
  if (view.devices) {
    const odd = ["silent", "offline", "mad"].filter((what) => view.devices[what] > 0);
    facts.push(["devices", [view.devices.known, ...odd.map((what) => `${view.devices[what]} ${what}`)].join(", ")]);
  }
  document.getElementById("facts").replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

/** The word beside the name, and its colour. */
function stand(words, kind) {
  const state = document.getElementById("state");
  if (state.lastElementChild.textContent !== words) state.lastElementChild.textContent = words;
  state.className = `state ${kind}`;
}

/** Whether what is shown is of now: numbers of a gateway that is gone are not to look alive. */
function fresh(isFresh) {
  document.documentElement.classList.toggle("stale", !isFresh);
  if (!isFresh) stand(`no news since ${new Date(shown.at_ms).toISOString().slice(11, 19)} UTC`, "failed");
}

const live = document.getElementById("live");
function told(text) {
  if (live.textContent !== text) live.textContent = text;
}

// A stream ends now and then, and comes back within a second or two.
const PATIENCE_MS = 5000;
let heard = performance.now();
setInterval(() => {
  if (document.hidden || performance.now() - heard < PATIENCE_MS) return;
  told("nothing comes from the gateway; trying again");
  fresh(false);
}, 1000);

let stream = null;
function listen() {
  stream = new EventSource("/api/events");
  stream.onmessage = (event) => {
    heard = performance.now();
    told("live");
    fresh(true);
    show(JSON.parse(event.data));
  };
  stream.onerror = () => {
    // A stream that was refused does not try again by itself.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

show(JSON.parse(document.getElementById("view").textContent));
listen();
document.addEventListener("visibilitychange", () => {
  // Nobody looks: the gateway need not tell.
  if (document.hidden) {
    stream.close();
    told("paused");
    return;
  }
  heard = performance.now();
  if (stream.readyState === EventSource.CLOSED) listen();
});
let width = 0;
new ResizeObserver(([entry]) => {
  const before = width;
  width = Math.round(entry.contentRect.width);
  if (!shown || width === before) return;
  render(shown, new Map(shown.health.parts.map((part) => [`${part.kind} ${part.name}`, part.state])));
  if (document.documentElement.classList.contains("stale")) fresh(false);
}).observe(document.getElementById("canvas").parentElement);
