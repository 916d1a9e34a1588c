// The tables, with the columns that the server renders: what it shows without JavaScript is kept up to date here.

import { bytes, count, make, rate, time } from "./words.js";

const percent = (part) => `${Math.round(part * 100)} %`;
const moment = (us) => (us > 0 ? new Date(us / 1000).toISOString().slice(0, 19).replace("T", " ") : "");

/** The rows of each table: the class of the row, then its cells. */
export function rows(view, rates, states) {
  const { status } = view;
  const state = (kind, name) => states.get(`${kind} ${name}`) ?? "ok";
  const plugins = status.flows.flatMap((flow) => flow.plugins.map((plugin) => ({ flow, plugin })));
  return {
    sources: status.sources.map((one) => [state("source", one.name), one.name, one.state, rate(rates.of(`source ${one.name}`)), count(one.received), count(one.unsettled)]),
    flows: status.flows.map((one) => [state("flow", one.name), one.name, rate(rates.of(`flow ${one.name}`)), count(one.messages_in), count(one.messages_out), count(one.filtered + one.absorbed), count(one.rejected), bytes(one.bytes_in), bytes(one.bytes_out)]),
    plugins: plugins.map(({ flow, plugin }) => [plugin.breaker === "open" ? "failed" : plugin.breaker === "half-open" ? "degraded" : "ok", `${flow.name}/${plugin.name}`, plugin.digest.slice(0, 12) + (plugin.candidate ? ` → ${plugin.candidate.digest.slice(0, 12)} (${plugin.candidate.state})` : ""), plugin.breaker, percent(rates.of(`cpu ${flow.name}/${plugin.name}`)), bytes(plugin.memory_bytes), plugin.limit ? `${percent(plugin.limit_used)} of ${plugin.limit}` : ""]),
    queues: status.queues.map((one) => [state("queue", one.name), one.name, count(one.in_ram), count(one.on_disk), bytes(one.disk_bytes), one.limit_bytes ? bytes(one.limit_bytes) : "none", one.full_in_s === null || one.full_in_s === undefined ? "" : time(one.full_in_s), one.oldest_age_s ? time(one.oldest_age_s) : ""]),
    uplinks: status.uplinks.map((one) => [state("uplink", one.name), one.name, one.state, rate(rates.of(`uplink ${one.name}`)), count(one.forwarded), count(one.inflight), count(one.refused)]),
    letters: view.letters.map((one) => ["ok", moment(one.parked_us), one.reason, one.at, bytes(one.bytes)]),
    ledger: view.ledger.map((one) => ["ok", one.reason, one.queue, count(one.count), moment(one.first_us), moment(one.last_us)]),
    events: view.events.map((one) => ["ok", one.at.slice(0, 19).replace("T", " "), [one.flow, one.plugin].filter(Boolean).join("/"), one.what, one.why ?? ""]),
  };
}

/** Puts the rows where the server's stand. */
export function fill(all) {
  for (const [name, list] of Object.entries(all)) {
    const table = document.getElementById(name);
    if (!table) continue;
    const numbers = Array.from(table.querySelectorAll("thead th"), (head) => head.className);
    const body = list.map(([state, ...cells]) => make("tr", { class: state }, ...cells.map((cell, index) => make("td", { class: numbers[index] }, cell))));
    table.tBodies[0].replaceChildren(...body);
    table.closest("section").hidden = list.length === 0;
  }
}
