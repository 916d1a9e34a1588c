// Numbers and times as people read them. All that comes from outside becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with text or children; `name` may begin with `svg:`. */
export function make(name, attributes = {}, ...children) {
  const element = name.startsWith("svg:")
    ? document.createElementNS(SVG, name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== "") element.setAttribute(key, String(value));
  }
  for (const child of children) {
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const count = (number) => Math.round(number).toLocaleString("en");

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 || number >= 100 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}

export function time(seconds) {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = steps.findIndex(([length]) => seconds >= length);
  if (at < 0) return "0 s";
  const [length, unit] = steps[at];
  const whole = Math.floor(seconds / length);
  const next = steps[at + 1];
  const rest = next ? Math.floor((seconds % length) / next[0]) : 0;
  return rest > 0 ? `${whole} ${unit} ${rest} ${next[1]}` : `${whole} ${unit}`;
}

export function rate(number) {
  if (!Number.isFinite(number) || number <= 0) return "0/s";
  return number < 9.95 ? `${number.toFixed(1)}/s` : `${count(number)}/s`;
}

/** The end of a long name tells more than its middle. */
export function short(text, most) {
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  const end = Math.floor((most - 1) / 3);
  return `${letters.slice(0, most - 1 - end).join("")}…${letters.slice(-end).join("")}`;
}
