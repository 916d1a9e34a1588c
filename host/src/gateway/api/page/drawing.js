// The gateway as boxes and wires: sources, flows with their plugins, queues, uplinks. From left to right where there is room,
// from top to bottom on a phone.

import { count, make, rate, short, time } from "./words.js";

const GAP = 14;
const CHIP = 20;

/** What is drawn: stages from the devices to upstream, each with its boxes, and wires between boxes by their keys. */
export function parts(view, rates, states) {
  const { sources, flows, queues, uplinks } = view.status;
  const state = (kind, name) => states.get(`${kind} ${name}`) ?? "ok";
  const boxes = new Map();
  const wires = [];
  const depth = depths(flows);
  for (const source of sources) {
    const key = `source ${source.name}`;
    const words = source.connected ? rate(rates.of(key)) : source.state || "off";
    boxes.set(key, { stage: 0, title: source.name, lines: [words], spark: rates.history(key), state: state("source", source.name) });
  }
  for (const flow of flows) {
    const key = `flow ${flow.name}`;
    const waits = flow.waiting > 0 ? `, ${count(flow.waiting)} wait` : "";
    const chips = flow.plugins.map((plugin) => ({
      text: plugin.name,
      state: plugin.breaker === "open" ? "failed" : plugin.breaker === "half-open" ? "degraded" : "ok",
    }));
    boxes.set(key, {
      stage: 1 + depth.get(flow.name), title: flow.name, chips,
      lines: [flow.down ? "down" : rate(rates.of(key)) + waits], spark: rates.history(key), state: state("flow", flow.name),
    });
    for (const source of flow.from) {
      const own = flows.some((other) => other.name === source) && !sources.some((other) => other.name === source);
      if (!own) wires.push([`source ${source}`, key]);
    }
    for (const next of flow.to) {
      wires.push([key, next.includes(":") ? `queue ${next}` : `flow ${next}`]);
    }
  }
  const last = 1 + Math.max(0, ...depth.values());
  for (const queue of queues) {
    const key = `queue ${queue.name}`;
    const owed = queue.in_ram + queue.on_disk;
    const lines = [`${count(owed)} owed`];
    if (queue.oldest_age_s >= 2) lines.push(`since ${time(queue.oldest_age_s)}`);
    const full = queue.limit_bytes ? Math.min(1, queue.disk_bytes / queue.limit_bytes) : 0;
    boxes.set(key, { stage: last + 1, title: queue.name, lines, full, spark: rates.history(key), state: state("queue", queue.name) });
    const uplink = queue.name.slice(0, queue.name.lastIndexOf(":"));
    wires.push([key, `uplink ${uplinks.some((one) => one.name === uplink) ? uplink : (uplinks.find((one) => one.name.startsWith(`${uplink}:`)) ?? { name: uplink }).name}`]);
  }
  for (const uplink of uplinks) {
    const key = `uplink ${uplink.name}`;
    const words = uplink.connected ? rate(rates.of(key)) : uplink.on_fallback ? "on its fallback" : uplink.state || "off";
    boxes.set(key, { stage: last + 2, title: uplink.name, lines: [words], spark: rates.history(key), state: state("uplink", uplink.name) });
  }
  return { boxes, wires: wires.filter(([from, to]) => boxes.has(from) && boxes.has(to)), stages: last + 3 };
}

/** How many flows lie before each. */
function depths(flows) {
  const depth = new Map(flows.map((flow) => [flow.name, 0]));
  for (let round = 0; round < flows.length; round += 1) {
    for (const flow of flows) {
      for (const next of flow.to) {
        if (depth.has(next) && depth.get(next) < depth.get(flow.name) + 1 && depth.get(flow.name) + 1 < flows.length) {
          depth.set(next, depth.get(flow.name) + 1);
        }
      }
    }
  }
  return depth;
}

const height = (box) => 30 + 16 * box.lines.length + (box.chips?.length ?? 0) * (CHIP + 4) + (box.full === undefined ? 0 : 8);

/** Places for all boxes in a drawing that is `width` wide. */
function layout({ boxes, stages }, width) {
  const narrow = width < 720;
  const columns = Array.from({ length: stages }, () => []);
  for (const [key, box] of boxes) columns[box.stage].push([key, box]);
  const places = new Map();
  if (narrow) {
    let y = 4;
    const heads = [];
    for (const column of columns) {
      if (column.length > 0) {
        heads.push({ x: 34, y: y + 12, text: `${column[0][0].split(" ")[0]}s` });
        y += 20;
      }
      for (const [key, box] of column) {
        places.set(key, { x: 34, y, w: width - 38, h: height(box) });
        y += height(box) + GAP;
      }
      y += column.length > 0 ? GAP : 0;
    }
    return { places, narrow, height: y, heads };
  }
  const used = columns.filter((column) => column.length > 0);
  const between = Math.max(36, Math.min(110, width * 0.07));
  const w = Math.min(240, (width - between * (used.length - 1)) / used.length);
  const step = used.length > 1 ? (width - w) / (used.length - 1) : 0;
  const tall = (column) => column.reduce((sum, [, box]) => sum + height(box) + GAP, -GAP);
  const whole = Math.max(0, ...used.map(tall));
  const heads = [];
  used.forEach((column, index) => {
    let y = 24 + (whole - tall(column)) / 2;
    const kind = column[0][0].split(" ")[0];
    heads.push({ x: index * step, y: 12, text: `${kind}s` });
    for (const [key, box] of column) {
      places.set(key, { x: index * step, y, w, h: height(box) });
      y += height(box) + GAP;
    }
  });
  return { places, narrow, height: whole + 30, heads };
}

/** Draws it anew; the focus stays on the box it was on. */
export function draw(canvas, drawing, rates) {
  const width = Math.max(260, Math.floor(canvas.clientWidth));
  const plan = layout(drawing, width);
  const svg = make("svg:svg", {
    class: "gateway", viewBox: `-2 0 ${width + 4} ${Math.ceil(plan.height)}`, width, role: "group",
    "aria-labelledby": "drawing-title",
  });
  for (const head of plan.heads) svg.append(make("svg:text", { class: "column", x: head.x, y: head.y, "aria-hidden": "true" }, head.text));
  for (const [from, to] of drawing.wires) svg.append(wire(plan, drawing, rates, from, to));
  for (const [key, box] of drawing.boxes) svg.append(drawn(key, box, plan.places.get(key)));
  const focused = document.activeElement?.getAttribute?.("data-key");
  canvas.replaceChildren(svg);
  if (focused) canvas.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function wire({ places, narrow }, { boxes }, rates, from, to) {
  const [a, b] = [places.get(from), places.get(to)];
  let path;
  if (narrow) {
    const [y1, y2] = [a.y + a.h - 14, b.y + 14];
    const bend = Math.min(30, 6 + Math.abs(y2 - y1) / 14);
    path = `M${a.x} ${y1} C${a.x - bend} ${y1} ${b.x - bend} ${y2} ${b.x} ${y2}`;
  } else {
    const [x1, y1, x2, y2] = [a.x + a.w, a.y + a.h / 2, b.x, b.y + b.h / 2];
    const bend = Math.max(18, Math.abs(x2 - x1) / 2);
    path = `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  }
  const worst = [boxes.get(from), boxes.get(to)].map((box) => box.state);
  const cut = worst.includes("failed") ? " failed" : to.startsWith("uplink ") && worst[1] === "degraded" ? " degraded" : "";
  const moves = rates.of(from) > 0 && rates.of(to) > 0 ? " moves" : "";
  return make("svg:path", { class: `wire${cut || moves}`, d: path, "aria-hidden": "true" });
}

function drawn(key, box, { x, y, w, h }) {
  const words = [key, ...box.lines, box.state === "ok" ? "" : box.state].filter(Boolean).join(", ");
  const plugins = (box.chips ?? []).map((chip) => chip.text + (chip.state === "ok" ? "" : ` (breaker ${chip.state === "failed" ? "open" : "half-open"})`));
  const label = plugins.length > 0 ? `${words}, plugins: ${plugins.join(", ")}` : words;
  const group = make("svg:g", {
    class: `box ${box.state}`, transform: `translate(${x} ${y})`, tabindex: 0, role: "img", "aria-label": label, "data-key": key,
  }, make("svg:title", {}, label));
  group.append(make("svg:rect", { class: "frame", width: w, height: h, rx: 6 }));
  const letters = Math.floor((w - 20) / 8.3);
  group.append(make("svg:text", { class: "name", x: 10, y: 20 }, short(box.title, letters)));
  box.lines.forEach((line, index) => group.append(make("svg:text", { class: "soft", x: 10, y: 38 + index * 16 }, line)));
  const sparkWidth = Math.min(84, w / 2 - 14);
  const path = line(box.spark, sparkWidth, 16);
  if (path) group.append(make("svg:path", { class: "spark", d: path, transform: `translate(${w - sparkWidth - 10} 26)` }));
  let below = 38 + box.lines.length * 16 - 8;
  for (const chip of box.chips ?? []) {
    const own = make("svg:g", { class: `chip ${chip.state}`, transform: `translate(10 ${below})` });
    own.append(make("svg:rect", { width: w - 20, height: CHIP, rx: 4 }));
    own.append(make("svg:text", { class: "soft", x: 8, y: 14 }, short(chip.text, letters)));
    group.append(own);
    below += CHIP + 4;
  }
  if (box.full !== undefined) {
    group.append(make("svg:rect", { class: "bar", x: 10, y: h - 12, width: w - 20, height: 4, rx: 2 }));
    group.append(make("svg:rect", { class: "bar held", x: 10, y: h - 12, width: (w - 20) * box.full, height: 4, rx: 2 }));
  }
  return group;
}

/** A sparkline: the last values, the newest at the right. */
function line(values, width, height) {
  const most = Math.max(...values, 0);
  if (values.length < 2 || most <= 0) return "";
  const step = width / (values.length - 1);
  return values.map((value, index) => `${index === 0 ? "M" : "L"}${(index * step).toFixed(1)} ${(height - (value / most) * height).toFixed(1)}`).join("");
}
