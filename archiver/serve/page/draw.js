// Drawings, as SVG: sparkline, phasor diagram, curve with axes.

import { svg } from "./dom.js";

const WIDE = 120, HIGH = 26;

// points: [second, least, greatest], or [second, null] where nothing is known from then on
export function spark(points, now, every, count) {
  const known = points.filter((point) => point[1] !== null);
  if (!known.length) return svg("svg", { class: "spark", "aria-hidden": "true" });
  const end = now / 1000, begin = Math.max(end - every * count, Math.min(known[0][0], end - every * 10));  // what there is of the hour
  const low = Math.min(...known.map((point) => point[1])), high = Math.max(...known.map((point) => point[2]));
  const x = (second) => (Math.max(0, (second - begin) / (end - begin)) * WIDE).toFixed(1);
  const y = (given) => (high > low ? HIGH - 3 - ((given - low) / (high - low)) * (HIGH - 6) : HIGH / 2).toFixed(1);
  let line = "", band = "", pen = false;
  points.forEach((point, place) => {
    if (point[1] === null) { pen = false; return; }
    const middle = y((point[1] + point[2]) / 2), from = x(point[0]), next = points[place + 1];
    const to = x(next ? (next[1] === null ? next[0] : Math.max(point[0], next[0] - every)) : end);
    line += `${pen ? "L" : "M"}${from} ${middle}H${to}`;
    if (point[2] > point[1]) band += `M${from} ${y(point[2])}h${(WIDE * every / (end - begin)).toFixed(1)}V${y(point[1])}H${from}Z`;
    pen = true;
  });
  return svg("svg", { class: "spark", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "band", d: band }), svg("path", { class: "line", d: line }));
}

const SIZE = 300, MIDDLE = SIZE / 2, RADII = [112, 74, 48];

// phasors: {name, magnitude, unit, degrees}; each unit has a scale and a circle of its own
export function phasorDiagram(phasors) {
  const units = [...new Set(phasors.map((each) => each.unit))];
  const most = new Map(units.map((unit) => [unit, Math.max(...phasors.filter((each) => each.unit === unit).map((each) => each.magnitude), 1e-300)]));
  const radius = (unit) => RADII[Math.min(units.indexOf(unit), RADII.length - 1)];
  const labels = [];
  const arms = phasors.map((each, place) => {
    const turn = (each.degrees * Math.PI) / 180, reach = radius(each.unit) * (each.magnitude / most.get(each.unit));
    const x = MIDDLE + reach * Math.cos(turn), y = MIDDLE - reach * Math.sin(turn);
    const near = labels.find((label) => Math.hypot(label.x - x, label.y - y) < 12);  // one lies on the other
    if (near) near.names.push(each.name);
    else labels.push({ x, y, names: [each.name], along: reach + 11, turn });
    return [
      svg("line", { class: `arm hue${place % 8}`, x1: MIDDLE, y1: MIDDLE, x2: x, y2: y, "stroke-dasharray": units.indexOf(each.unit) ? "7 3" : null }),
      svg("circle", { class: `tip hue${place % 8}`, cx: x, cy: y, r: 4 }),
    ];
  });
  const side = (cosine) => (Math.abs(cosine) < 0.35 ? "middle" : cosine > 0 ? "start" : "end");
  const names = labels.map((label) => svg("text", { class: "label", "text-anchor": side(Math.cos(label.turn)), x: MIDDLE + label.along * Math.cos(label.turn), y: MIDDLE - label.along * Math.sin(label.turn) }, label.names.join(" ")));
  const rings = units.flatMap((unit) => [svg("circle", { class: "ring", cx: MIDDLE, cy: MIDDLE, r: radius(unit) }),
    svg("text", { class: "tick", x: MIDDLE + 3, y: MIDDLE + radius(unit) - 4 }, `${Number(most.get(unit).toPrecision(3))} ${unit}`)]);
  const spokes = [0, 30, 60, 90, 120, 150].map((angle) => {
    const turn = (angle * Math.PI) / 180, x = RADII[0] * Math.cos(turn), y = RADII[0] * Math.sin(turn);
    return svg("line", { class: "ring", x1: MIDDLE - x, y1: MIDDLE + y, x2: MIDDLE + x, y2: MIDDLE - y });
  });
  const words = phasors.map((each) => `${each.name} ${Number(each.magnitude.toPrecision(4))} ${each.unit} at ${each.degrees.toFixed(1)} degrees`);
  return svg("svg", { class: "phasors", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": `Phasor diagram: ${words.join(", ")}` }, spokes, rings, arms, names);
}

function ticks(low, high, wanted) {
  const span = high - low || Math.abs(high) || 1, raw = span / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((each) => each * power >= raw) * power;
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-6; at += 1) found.push(at * step);
  return { found, decimals: Math.max(0, Math.min(9, -Math.floor(Math.log10(step) + 1e-9))), step };
}

const SI = [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"]];
const CLOCK = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

function timeTicks(begin, end, wanted) {
  const step = (CLOCK.find((each) => each >= (end - begin) / 1000 / wanted) || 604800) * 1000;
  const shift = new Date(begin).getTimezoneOffset() * 60000;
  const found = [];
  for (let at = Math.ceil((begin - shift) / step) * step + shift; at <= end; at += step) found.push(at);
  const form = step < 86400000 ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : { month: "short", day: "numeric" };
  return found.map((at) => [at, new Date(at).toLocaleString([], form)]);
}

// runs: lists of {x, y, low, high}; between two runs nothing is known. options: time, begin, end, unit, xUnit, limits, title
export function curve(runs, options, width) {
  const high = width < 500 ? 220 : 280, left = 58, right = 10, top = 10, bottom = 26;
  const points = runs.flat();
  const xs = points.map((point) => point.x), ys = points.flatMap((point) => [point.low ?? point.y, point.high ?? point.y]);
  const begin = options.begin ?? Math.min(...xs), end = options.end ?? Math.max(...xs);
  let least = Math.min(...ys), most = Math.max(...ys);
  if (!points.length) { least = 0; most = 1; }
  const room = (most - least) * 0.06 || Math.abs(most) * 0.01 || 1;
  least -= room; most += room;
  const x = (given) => left + ((given - begin) / (end - begin || 1)) * (width - left - right);
  const y = (given) => top + ((most - given) / (most - least)) * (high - top - bottom);
  const vertical = ticks(least, most, 5);
  const [scale, letter] = options.time ? [1, ""] : SI.find(([each]) => Math.max(Math.abs(begin), Math.abs(end)) >= each) || SI[0];
  const across = options.time ? timeTicks(begin, end, width / 110) : ticks(begin / scale, end / scale, width / 110).found.map((at) => [at * scale, Number(at.toPrecision(6)) + (at === 0 ? "" : "")]);
  const grid = [
    ...vertical.found.map((at) => [svg("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }),
      svg("text", { class: "tick", x: left - 6, y: y(at) + 4, "text-anchor": "end" }, Math.abs(at) >= 1e6 ? at.toExponential(2) : at.toFixed(vertical.decimals))]),
    ...across.map(([at, words]) => [svg("line", { class: "grid", x1: x(at), x2: x(at), y1: top, y2: high - bottom }),
      svg("text", { class: "tick", x: x(at), y: high - 8, "text-anchor": "middle" }, String(words))]),
    svg("text", { class: "tick", x: 4, y: 12 }, options.unit || ""),
    options.time ? null : svg("text", { class: "tick", x: width - right, y: high - bottom - 5, "text-anchor": "end" }, `${letter}${options.xUnit || ""}`),
  ];
  const limits = (options.limits || []).filter(([, at]) => at >= least && at <= most)
    .map(([name, at]) => [svg("line", { class: `limit ${name}`, x1: left, x2: width - right, y1: y(at), y2: y(at) }), svg("text", { class: "tick", x: width - right - 4, y: y(at) - 4, "text-anchor": "end" }, name)]);
  const drawn = runs.map((run) => {
    const line = run.map((point, place) => `${place ? "L" : "M"}${x(point.x).toFixed(1)} ${y(point.y).toFixed(1)}`).join("");
    const band = run.some((point) => point.high > point.low)
      ? svg("path", { class: "band", d: `M${run.map((point) => `${x(point.x).toFixed(1)} ${y(point.high).toFixed(1)}`).join("L")}L${[...run].reverse().map((point) => `${x(point.x).toFixed(1)} ${y(point.low).toFixed(1)}`).join("L")}Z` }) : null;
    return [band, run.length > 1 ? svg("path", { class: "curve", d: line }) : svg("circle", { class: "tip hue0", cx: x(run[0].x), cy: y(run[0].y), r: 2.5 })];
  });
  const cross = svg("line", { class: "cross", y1: top, y2: high - bottom, x1: -9, x2: -9 });
  const drawing = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${high}`, width, height: high, role: "img", "aria-label": options.title, tabindex: options.read ? 0 : null }, grid, limits, drawn, cross);
  if (options.read) readable(drawing, cross, points, x, options.read);
  return drawing;
}

// The value under the pointer, or that the arrow keys have reached, is told to `read`.
function readable(drawing, cross, points, x, read) {
  let place = points.length - 1;
  const show = () => {
    if (!points.length) return;
    for (const end of ["x1", "x2"]) cross.setAttribute(end, x(points[place].x));
    read(points[place]);
  };
  drawing.addEventListener("pointermove", (event) => {
    const at = event.offsetX * (drawing.viewBox.baseVal.width / drawing.clientWidth);
    points.forEach((point, each) => { if (Math.abs(x(point.x) - at) < Math.abs(x(points[place].x) - at)) place = each; });
    show();
  });
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (!step) return;
    event.preventDefault();
    place = Math.max(0, Math.min(points.length - 1, place + step));
    show();
  });
}

