// The register of devices, for whoever shows a token: which devices there are is not for everybody who may see the page. What is
// odd comes first, as `tidegate devices` has it; the token stays in this page, and goes with it.

import { count, make, rate, time } from "./words.js";

const MOST = 200;
const EVERY_MS = 10000;

const section = document.getElementById("devices");
const form = section.querySelector("form");
const words = document.getElementById("devices-words");
const table = document.getElementById("devices-table");
const { token: field, which, part, show } = form.elements;

let token = "";
let turn = 0;
let timer = 0;

/** The section is there where the gateway has a register. */
export function offer(counts) {
  section.hidden = !counts;
}

function query() {
  const asked = { most: MOST };
  if (which.value === "mad") asked.mad = true;
  else if (which.value) asked.state = which.value;
  if (part.value) asked.name = part.value;
  return asked;
}

async function ask() {
  clearTimeout(timer);
  const own = ++turn;
  if (!token || document.hidden) return;
  try {
    const answer = await fetch("/v1/devices", {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(query()),
      cache: "no-store",
      signal: AbortSignal.timeout(EVERY_MS),
    });
    const found = answer.ok ? await answer.json() : await answer.text();
    // Somebody has asked for something else meanwhile.
    if (own !== turn) return;
    if (!answer.ok) {
      forget(found.trim() || `the gateway answers ${answer.status}`);
      return;
    }
    list(found);
  } catch {
    if (own !== turn) return;
    tell("no answer; trying again");
  }
  timer = setTimeout(ask, EVERY_MS);
}

/** A token that is not taken is not shown again: a few wrong ones, and whoever asks has to wait. */
function forget(why) {
  clearTimeout(timer);
  turn += 1;
  token = "";
  field.value = "";
  field.disabled = false;
  show.textContent = "Show";
  if (document.activeElement === show) field.focus();
  table.tBodies[0].replaceChildren();
  table.closest(".scroll").hidden = true;
  tell(why);
}

function tell(text) {
  if (words.textContent !== text) words.textContent = text;
}

function list({ devices, more, forgotten }) {
  table.tBodies[0].replaceChildren(...devices.map(row));
  table.closest(".scroll").hidden = devices.length === 0;
  const others = [
    more > 0 ? `${count(more)} more: look for a part of the name, or ask tidegate devices` : "",
    forgotten > 0 ? `${count(forgotten)} made room for others since the start` : "",
  ];
  tell([devices.length === 0 ? "none" : `${count(devices.length)} shown`, ...others].filter(Boolean).join("; "));
}

const moment = (text) => (text ? text.slice(0, 19).replace("T", " ") : "");

function row(one) {
  const isOdd = one.is_mad || one.is_quarantined;
  const state = [one.state, one.is_mad ? "mad" : "", one.is_quarantined ? "in quarantine" : ""].filter(Boolean).join(", ");
  const silence = one.silent_s === null ? "" : time(one.silent_s);
  const texts = [one.device, state, one.source, moment(one.first), moment(one.last)];
  const numbers = [silence, count(one.messages), rate(one.rate)];
  return make("tr", { class: isOdd ? "failed" : one.state === "online" ? "ok" : "degraded" },
    ...texts.map((text) => make("td", {}, text)), ...numbers.map((text) => make("td", { class: "n" }, text)));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (token) {
    forget("");
    return;
  }
  token = field.value.trim();
  if (!token) {
    tell("a token of scope read is wanted: [admin.access] in the config names them");
    return;
  }
  // What is on the screen is not the token any more.
  field.value = "";
  field.disabled = true;
  show.textContent = "Hide";
  show.focus();
  tell("asking");
  ask();
});
which.addEventListener("change", ask);
part.addEventListener("change", ask);
document.addEventListener("visibilitychange", ask);
