// One PV: what it is now, what it is by its declaration, what it was. Of PVs that only the archive knows, the last.

import { ageOf, clock, link, serverNow, valueOf } from "./cells.js";
import { h } from "./dom.js";
import { curve } from "./draw.js";
import { SEVERITY, byName, isArray, number, text } from "./model.js";

const SPANS = [["10 min", 600], ["1 h", 3600], ["6 h", 21600], ["1 d", 86400], ["7 d", 604800]];
const POINTS = 600;

export function pvView(main, name) {
  const signal = byName.get(name);
  const place = h("div", { class: "curveplace", "aria-live": "off" }), told = h("p", { class: "readout", role: "status" });
  let seconds = 3600, runs = 0, stopped = false;
  const buttons = SPANS.map(([words, span]) => h("button", { type: "button", "aria-pressed": String(span === seconds), onclick: () => choose(span) }, words));
  const choose = (span) => {
    seconds = span;
    buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(SPANS[each][1] === span)));
    draw();
  };
  const draw = async () => {
    if (document.hidden) return;
    const run = (runs += 1), end = serverNow(), begin = end - seconds * 1000;
    const words = `start=${Math.round(begin)}000000&end=${Math.round(end)}000000&count=${POINTS}`;
    const answer = await fetch(`archive/1/samples/${encodeURIComponent(name)}?${words}`).catch(() => null);
    const samples = answer ? await answer.json().catch(() => null) : null;
    if (run !== runs || stopped) return;
    if (!answer?.ok) place.replaceChildren(h("p", { class: "quiet" }, samples?.error ? `No plot: ${samples.error}` : "No plot: the server does not answer."));
    else show(samples, begin, end);
  };
  const show = (samples, begin, end) => {
    const texts = samples.filter((sample) => sample.type === "string" && sample.severity.hasValue);
    if (texts.length) { place.replaceChildren(history(texts)); return; }
    const { lines, summary } = runsOf(samples, begin, end, signal);
    const limits = Object.entries(signal?.alarms || {}).filter(([key]) => key !== "hysteresis");
    const read = (point) => { told.textContent = `${clock(point.x)}: ${text(signal || { precision: 6 }, point.y)} ${signal?.unit || ""}`; };
    place.replaceChildren(lines.length ? curve(lines, { time: true, begin, end, unit: signal?.unit, limits, title: `${name}: ${summary}`, read }, Math.max(280, place.clientWidth))
      : h("p", { class: "quiet" }, "Nothing is recorded in this time."));
    told.textContent = summary;
  };
  main.append(
    h("div", { class: "title" }, h("h1", { class: "pv" }, name), signal ? h("a", { href: `#/${signal.device.name}` }, `all of ${signal.device.name}`) : null),
    signal && !isArray(signal) ? h("p", { class: "big" }, valueOf(signal), " ", h("span", { class: "quiet" }, "age ", ageOf(signal))) : "",
    signal ? h("p", {}, signal.doc || "") : h("p", { class: "quiet" }, "No device of this site serves it now; the archive may know it."),
    h("section", { class: "panel wide" }, h("h2", {}, "Recorded"), h("p", { class: "spans", role: "group", "aria-label": "Time shown" }, buttons), place, told),
    signal ? declaration(signal) : "",
  );
  setTimeout(draw, 0);
  const timer = setInterval(draw, 30000);
  return { sparks: [], stop: () => { stopped = true; clearInterval(timer); } };
}

// Runs of points between which nothing is known. A single value holds until the next; bins that are missing among
// dense ones are a gap.
function runsOf(samples, begin, end, signal) {
  const lines = [];
  let run = [], last = null;
  const close = () => { if (run.length) lines.push(run); run = []; };
  const steps = samples.length > 1 && samples[0].type === "minMaxDouble" ? samples.slice(1).map((sample, each) => sample.time - samples[each].time).sort((a, b) => a - b) : [];
  const usual = steps[Math.floor(steps.length / 2)] || Infinity;
  for (const sample of samples) {
    const at = Math.max(sample.time / 1e6, begin), given = Number(sample.value[0]);
    const known = sample.severity.hasValue && Number.isFinite(given) && sample.severity.level !== "INVALID";
    if (sample.type === "minMaxDouble") {
      if (last && sample.time - last.time > 3 * usual) close();
      run.push({ x: at, y: given, low: sample.minimum, high: sample.maximum });
    } else {
      if (run.length) run.push({ x: at, y: run.at(-1).y });
      if (known) run.push({ x: at, y: given });
      else close();
    }
    last = sample;
  }
  if (run.length && last && last.type !== "minMaxDouble") run.push({ x: end, y: run.at(-1).y });
  close();
  const all = lines.flat();
  if (!all.length) return { lines, summary: "nothing recorded" };
  const write = (given) => (signal ? text(signal, given) : number(given, 6)), unit = signal?.unit ? ` ${signal.unit}` : "";
  const low = Math.min(...all.map((point) => point.low ?? point.y)), high = Math.max(...all.map((point) => point.high ?? point.y));
  return { lines, summary: `from ${write(low)} to ${write(high)}${unit}, last ${write(all.at(-1).y)}${unit}${lines.length > 1 ? `, ${lines.length - 1} gaps` : ""}` };
}

function history(samples) {
  return h("table", { class: "list" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Since"), h("th", { scope: "col" }, "Text"))),
    h("tbody", {}, samples.slice(-50).reverse().map((sample) => h("tr", {}, h("td", { class: "age" }, clock(sample.time / 1e6)), h("td", {}, sample.value[0] || "(empty)")))));
}

function declaration(signal) {
  const range = signal.limits ? `${signal.limits[0]} to ${signal.limits[1]} ${signal.unit || ""}` : null;
  const alarms = signal.alarms ? Object.entries(signal.alarms).map(([key, given]) => `${key} ${given}`).join(", ") : null;
  const states = signal.states?.map((word, each) => `${each} = ${word}${signal.state_severities?.[each] ? ` (${SEVERITY[signal.state_severities[each]]})` : ""}`).join(", ");
  const rows = [["Device", link({ ...signal, pv: signal.pv }, signal.device.name)], ["Kind", `${signal.direction || "readback"}, ${signal.kind || "float"}${isArray(signal) ? `, up to ${signal.count} values` : ""}`],
    ["Limits", range], ["Alarm limits", alarms], ["States", states], ["Recorded", signal.row ? `as a column of ${signal.row}` : signal.archive === "monitor" ? "every change" : "no"], ["In a terminal", h("code", {}, `caget ${signal.pv}`)]];
  return h("section", {}, h("h2", {}, "What it is"), h("dl", { class: "facts" }, rows.filter(([, told]) => told).map(([name, told]) => h("div", {}, h("dt", {}, name), h("dd", {}, told)))));
}

export async function findView(main, words) {
  const wanted = words.toUpperCase().split(/\s+/).filter(Boolean);
  const fits = (given) => wanted.every((word) => given.toUpperCase().includes(word));
  const live = [...byName.values()].filter((signal) => fits(`${signal.pv} ${signal.doc || ""} ${signal.group || ""}`));
  const found = h("table", { class: "list" }, h("tbody", {}, live.slice(0, 200).map((signal) => h("tr", {},
    h("th", { scope: "row" }, link(signal, signal.pv), h("small", {}, signal.doc || "")), h("td", {}, isArray(signal) ? "array" : valueOf(signal))))));
  const archived = h("ul", { class: "archived" });
  main.append(h("h1", {}, `PVs with ${words}`), h("p", { class: "quiet", role: "status" }, `${live.length} served now${live.length > 200 ? ", the first 200 shown" : ""}`), h("div", { class: "scroll" }, found), archived);
  const answer = await fetch("archive/1/channels-by-pattern/*").catch(() => null);
  const names = answer?.ok ? await answer.json() : [];
  archived.append(...names.filter((name) => !byName.has(name) && fits(name)).slice(0, 100).map((name) => h("li", {}, h("a", { href: `#/pv/${encodeURIComponent(name)}` }, name), " (archive)")));
}
