// One device: phasors and curves where it has them, then every signal, group by group.

import { ageOf, link, onAny, sparkOf, valueOf } from "./cells.js";
import { h } from "./dom.js";
import { curve, phasorDiagram } from "./draw.js";
import { curves, phasors, tables } from "./layout.js";
import { find, newest, value } from "./model.js";
import { errorOf, simulated, stateOf } from "./overview.js";

const CURVE_EVERY = 1000;  // ms

export function deviceView(main, device) {
  const told = ["IDN", "AGE", "HEARTBEAT"].map((name) => find(device, name)).filter(Boolean);
  const arms = phasors(device), arrays = curves(device);
  main.append(
    h("div", { class: "title" }, h("h1", {}, device.name, " ", h("small", {}, device.kind)), find(device, "ONLINE") ? stateOf(device) : null, simulated(device)),
    errorOf(device) || "",
    h("p", { class: "about" }, told.map((signal) => h("span", {}, h("span", { class: "quiet" }, `${signal.name} `), valueOf(signal, { word: false }), " "))),
  );
  const drawings = h("div", { class: "drawings" });
  const stop = arrays.map((each) => curvePanel(drawings, each));
  if (drawings.children.length) main.append(drawings);
  const all = tables(device), isWide = (table) => table.rows && table.columns.length > 3;
  main.append(...all.filter(isWide).map(section),
    h("div", { class: "groups" }, arms.length ? phasorPanel(arms) : null, all.filter((table) => !isWide(table)).map(section)));
  return { sparks: [device.name], stop: () => stop.forEach((each) => each()) };
}

function section(table) {
  const body = table.list ? list(table) : grid(table);
  const framed = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": table.title }, body);
  if (table.folded) return h("details", {}, h("summary", {}, h("h2", {}, table.title)), framed);
  return h("section", {}, h("h2", {}, table.title), framed);
}

function list(table) {
  return h("table", { class: "list" },
    h("thead", {}, h("tr", {}, ["Signal", "Value", "Last hour", "Age"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, table.list.map((signal) => h("tr", {},
      h("th", { scope: "row" }, link(signal, signal.name), h("small", {}, signal.doc || "")),
      h("td", {}, valueOf(signal)), h("td", {}, sparkOf(signal)), h("td", {}, ageOf(signal))))));
}

function grid(table) {
  return h("table", { class: "grid" },
    h("thead", {}, h("tr", {}, h("td", {}), table.columns.map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, table.rows.map((row) => h("tr", {},
      h("th", { scope: "row", title: row.cells.find(Boolean)?.doc || "" }, row.name),
      row.cells.map((signal) => h("td", {}, signal ? h("a", { class: "plain", href: `#/pv/${encodeURIComponent(signal.pv)}` }, valueOf(signal)) : null,
        signal && !table.folded && signal.unit && (signal.direction || "readback") === "readback" ? sparkOf(signal) : null))))));
}

function phasorPanel(arms) {
  const place = h("div", {}), words = h("figcaption", {}, "Phasors: length by unit, angle from the right, counter-clockwise");
  let last = "";
  onAny(() => {
    const drawn = arms.map((each) => ({ name: each.name, magnitude: value(each.magnitude)?.[1], unit: each.magnitude.unit || "",
      degrees: value(each.angle)?.[1] * (each.angle.unit === "rad" ? 180 / Math.PI : 1), good: (value(each.magnitude)?.[2] ?? 4) < 3 }))
      .filter((each) => each.good && Number.isFinite(each.magnitude) && Number.isFinite(each.degrees));
    const state = drawn.map((each) => `${each.magnitude.toPrecision(3)} ${each.degrees.toFixed(1)}`).join();
    if (state === last) return;
    last = state;
    place.replaceChildren(drawn.length ? phasorDiagram(drawn) : h("p", { class: "quiet" }, "No phasors are known at the moment."));
  });
  return h("figure", { class: "panel" }, place, words);
}

function curvePanel(drawings, { x, y }) {
  const place = h("div", { class: "curveplace" }), box = h("figure", { class: "panel wide" }, h("figcaption", {}, link(y, y.name), ` ${y.doc || ""}`), place);
  drawings.append(box);
  let stopped = false;
  const draw = async () => {
    const shown = find(y.device, `${y.name.split(":")[0]}:ON_RBV`);
    box.hidden = shown ? newest.get(shown.id)?.[1] === 0 : false;
    if (document.hidden || box.hidden) return;
    const words = new URLSearchParams([["x", x.pv], ["y", y.pv]]);
    const answer = await fetch(`live/curve?${words}`).catch(() => null);
    if (stopped || !answer?.ok) return;
    const told = await answer.json();
    box.dataset.severity = told.severity ?? 4;
    if (!told.x.length) { place.replaceChildren(h("p", { class: "quiet" }, "No curve yet.")); return; }
    const run = told.x.map((at, each) => ({ x: at, y: told.y[each] }));
    const title = `${y.pv}: ${run.length} points from ${Math.min(...told.y).toPrecision(3)} to ${Math.max(...told.y).toPrecision(3)} ${y.unit || ""}`;
    place.replaceChildren(curve([run], { unit: y.unit, xUnit: x.unit, title }, Math.max(280, place.clientWidth)));
  };
  setTimeout(draw, 0);
  const timer = setInterval(draw, CURVE_EVERY);
  return () => { stopped = true; clearInterval(timer); };
}

