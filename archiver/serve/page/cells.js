// What is alive on the page: each cell knows its signal and is painted when that has a new value, not more often
// than the screen is drawn.

import { h } from "./dom.js";
import { spark } from "./draw.js";
import { SEVERITY, age, isNumber, newest, site, text } from "./model.js";

const cells = new Map();  // number -> what paints
const sparks = new Map();  // number -> elements
const ages = [];
let waiting = new Set();
let always = [];  // painted whatever has changed

export function forget() {
  cells.clear();
  sparks.clear();
  ages.length = 0;
  always = [];
}

export function paint(numbers) {
  if (!waiting.size) requestAnimationFrame(flush);
  for (const number of numbers) if (cells.has(number)) waiting.add(number);
  waiting.add(-1);
}

function flush() {
  const numbers = waiting;
  waiting = new Set();
  for (const number of numbers) for (const draw of cells.get(number) || []) draw();
  for (const draw of always) draw();
}

export function onChange(signal, draw) {
  cells.set(signal.id, [...(cells.get(signal.id) || []), draw]);
  draw();
}

export function onAny(draw) {
  always.push(draw);
  draw();
}

function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function link(signal, words) {
  return h("a", { href: `#/pv/${encodeURIComponent(signal.pv)}`, title: `${signal.pv}\n${signal.doc || ""}` }, words);
}

// The value with its unit; its alarm as a colour and as a word.
export function valueOf(signal, { word = true } = {}) {
  const shown = h("span", { class: "number" }), unit = signal.unit ? h("span", { class: "unit" }, ` ${signal.unit}`) : null;
  const alarm = h("span", { class: "alarm" });
  const cell = h("span", { class: isNumber(signal) ? "value numeric" : "value" }, h("span", { class: "reading" }, shown, unit), word ? [" ", alarm] : null);
  onChange(signal, () => {
    const now = newest.get(signal.id);
    const severity = now ? now[2] : 4;
    say(shown, signal.direction === "command" ? "" : text(signal, now?.[1]));
    cell.dataset.severity = severity;
    say(alarm, severity ? [SEVERITY[severity], severity < 3 ? now?.[3] : ""].filter((part) => part && part !== "STATE").join(" ") : "");
    cell.title = `${signal.pv}${now?.[3] ? `\n${now[3]}` : ""}`;
  });
  return cell;
}

export function ageOf(signal) {
  const cell = h("span", { class: "age" });
  const draw = () => say(cell, age(newest.get(signal.id)?.[4]));
  ages.push(draw);
  draw();
  return cell;
}

export function sparkOf(signal) {
  if (!isNumber(signal)) return null;
  const place = h("span", { class: "sparkline" });
  sparks.set(signal.id, [...(sparks.get(signal.id) || []), place]);
  return place;
}

export async function fetchSparks(names) {
  for (const name of names) {
    const answer = await fetch(`live/sparks?device=${encodeURIComponent(name)}`).catch(() => null);
    if (!answer?.ok) continue;
    const told = await answer.json();
    for (const [number, points] of Object.entries(told.sparks)) {
      for (const place of sparks.get(Number(number)) || []) place.replaceChildren(spark(points, told.now, told.every, 120));
    }
  }
}

setInterval(() => { if (!document.hidden) for (const draw of ages) draw(); }, 1000);

// 2026-01-31 12:00:00, whatever the browser's language: day and month cannot be taken for each other.
export const clock = (ms) => new Date(ms).toLocaleString("sv", { dateStyle: "short", timeStyle: "medium" });
export const serverNow = () => Date.now() + site.ahead;
