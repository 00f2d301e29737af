// The first page: what is wrong, then a tile a device.

import { link, onAny, onChange, sparkOf, valueOf } from "./cells.js";
import { h } from "./dom.js";
import { essentials } from "./layout.js";
import { SEVERITY, alarms, devices, find, isProgram, newest, severity, value, worst } from "./model.js";

const MOST = 12;

export function overview(main) {
  const boxes = [...devices.values()].filter((device) => !isProgram(device));
  const programs = [...devices.values()].filter(isProgram);
  main.append(
    h("h1", { class: "hidden" }, "Overview"),
    alarmList(),
    h("div", { class: "tiles" }, boxes.map(tile)),
    programs.length ? h("section", { class: "programs" }, h("h2", {}, "Programs"), h("div", { class: "tiles small" }, programs.map(program))) : null,
  );
  return { sparks: boxes.map((device) => device.name) };
}

export function stateOf(device) {
  const chip = h("span", { class: "chip" });
  const draw = () => {
    const online = find(device, "ONLINE"), now = value(online);
    const lost = !device.connected || (now && now[2] === 4);
    const words = lost ? "No IOC" : now ? (now[1] === 1 ? "Online" : "Lost") : "Not yet";
    if (chip.textContent !== words) chip.textContent = words;
    chip.dataset.severity = lost ? 4 : now?.[1] === 1 ? 0 : 2;
  };
  onAny(draw);
  return chip;
}

export function simulated(device) {
  return device.simulated ? h("span", { class: "chip sim" }, "simulated") : null;
}

export function errorOf(device) {
  const error = find(device, "ERROR");
  if (!error) return null;
  const place = h("p", { class: "error" });
  onChange(error, () => {
    const told = newest.get(error.id)?.[1] || "";
    place.textContent = told;
    place.hidden = !told;
  });
  return place;
}

function tile(device) {
  const box = h("article", { class: "tile" },
    h("h2", {}, h("a", { href: `#/${device.name}` }, device.name), " ", h("small", {}, device.kind)),
    h("p", { class: "chips" }, stateOf(device), simulated(device)),
    errorOf(device),
    h("dl", {}, essentials(device, 8).map((signal) => h("div", {}, h("dt", {}, link(signal, signal.name)), h("dd", {}, valueOf(signal), sparkOf(signal))))));
  onAny(() => { box.dataset.severity = worst(device); });
  return box;
}

function program(device) {
  const told = ["HEARTBEAT", "CA_CLNT_CNT", "RECEIVED", "RATE", "SYS_CPU_LOAD", "IOC_CPU_LOAD"].map((name) => find(device, name)).filter(Boolean).slice(0, 3);
  return h("article", { class: "tile" }, h("h3", {}, h("a", { href: `#/${device.name}` }, device.name)),
    h("dl", {}, told.map((signal) => h("div", {}, h("dt", {}, link(signal, signal.name)), h("dd", {}, valueOf(signal))))));
}

function alarmList() {
  const list = h("ul", {}), title = h("h2", { id: "alarms" });
  const section = h("section", { class: "alarms", "aria-labelledby": "alarms" }, title, list);
  let last = "";
  onAny(() => {
    const lost = [...devices.values()].filter((device) => !isProgram(device) && (!device.connected || severity(find(device, "ONLINE")) >= 2));
    const gone = new Set(lost);
    const found = alarms().filter((each) => !gone.has(each.signal.device));
    const certain = found.filter((each) => each.severity < 3);
    const unsure = new Map();
    for (const each of found) if (each.severity >= 3) unsure.set(each.signal.device, (unsure.get(each.signal.device) || 0) + 1);
    const state = JSON.stringify([lost.map((device) => device.name), certain.map((each) => [each.signal.id, each.severity, each.status]), [...unsure.values()]]);
    if (state === last) return;
    last = state;
    title.textContent = lost.length + certain.length ? `Alarms: ${lost.length + certain.length}` : "No alarms";
    const rows = [
      ...lost.map((device) => h("li", { "data-severity": 2 }, h("b", {}, "LOST "), h("a", { href: `#/${device.name}` }, device.name))),
      ...certain.slice(0, MOST).map((each) => h("li", { "data-severity": each.severity },
        h("b", {}, `${SEVERITY[each.severity]} `), link(each.signal, each.signal.pv), each.status && each.status !== "STATE" ? ` ${each.status}` : "")),
      certain.length > MOST ? h("li", {}, `and ${certain.length - MOST} more`) : null,
      ...[...unsure].map(([device, count]) => h("li", { "data-severity": 3 }, h("b", {}, "INVALID "), h("a", { href: `#/${device.name}` }, `${count} of ${device.name}`))),
    ];
    list.replaceChildren(...rows.filter(Boolean));
  });
  return section;
}

