// The page: listens to the server, and shows what the address after # asks for.

import { fetchSparks, forget, onAny, paint } from "./cells.js";
import { findView, pvView } from "./detail.js";
import { deviceView } from "./device.js";
import { h } from "./dom.js";
import { SEVERITY, byNumber, devices, isProgram, learn, newest, site, worst } from "./model.js";
import { overview } from "./overview.js";

const SPARKS_EVERY = 30000, SILENT = 8000;  // ms
const main = document.getElementById("main"), state = document.getElementById("link"), news = document.getElementById("news");
const findBox = document.getElementById("find");
let view = { sparks: [], stop: null }, source = null, heard = 0, loud = new Map();

function listen() {
  source?.close();
  source = new EventSource("live");
  heard = Date.now();
  source.addEventListener("devices", (event) => {
    const told = JSON.parse(event.data);
    site.name = told.site;
    devices.clear();
    newest.clear();
    told.devices.forEach(learn);
    document.getElementById("site").textContent = told.site;
    document.title = told.site;
  });
  source.addEventListener("values", (event) => {
    const told = JSON.parse(event.data);
    const first = newest.size === 0;
    site.ahead = told.now - Date.now();
    heard = Date.now();
    for (const each of told.values) newest.set(each[0], each);
    if (first) show();
    else paint(told.values.map((each) => each[0]));
    announce(told.values, first);
    link();
  });
  source.addEventListener("device", (event) => { learn(JSON.parse(event.data)); show(); });
  source.addEventListener("link", (event) => {
    const told = JSON.parse(event.data), device = devices.get(told.device);
    if (!device) return;
    device.connected = told.connected;
    news.textContent = `${device.name} ${told.connected ? "is served again" : "is not served any more"}`;
    paint([]);
  });
  source.onerror = () => { heard = 0; link(); };
}

function link() {
  const live = Date.now() - heard < SILENT;
  const words = live ? "live" : "no answer: values are old";
  if (state.textContent !== words) state.textContent = words;
  state.dataset.severity = live ? 0 : 2;
  document.body.classList.toggle("stale", !live);
  if (!live && source?.readyState === EventSource.CLOSED && !document.hidden) listen();
}

// New MAJOR alarms are told to screen readers, each once until it is over.
function announce(values, silent) {
  for (const [number, , severity, status] of values) {
    const signal = byNumber.get(number);
    if (!signal) continue;
    if (severity === 2 && !loud.has(number) && !silent) news.textContent = `${signal.pv} ${SEVERITY[severity]} ${status}`;
    if (severity === 2) loud.set(number, status);
    else loud.delete(number);
  }
}

function asked() {
  const words = location.hash.slice(2);
  try { return decodeURIComponent(words); } catch { return words; }  // written by hand: a % that begins nothing
}

function show() {
  const place = asked(), focused = document.activeElement === findBox;
  view.stop?.();
  forget();
  main.replaceChildren();
  navigation(place);
  if (place.startsWith("pv/")) view = pvView(main, place.slice(3));
  else if (place.startsWith("find/")) { view = { sparks: [] }; findView(main, place.slice(5)); }
  else if (devices.has(place)) view = deviceView(main, devices.get(place));
  else view = overview(main);
  if (!place.startsWith("find/")) findBox.value = "";
  fetchSparks(view.sparks);
  if (focused) findBox.focus();
}

function navigation(place) {
  const shown = [...devices.values()].filter((device) => !isProgram(device));
  document.getElementById("devices").replaceChildren(...shown.map((device) => {
    const dot = h("i", { class: "dot" });
    onAny(() => { dot.dataset.severity = worst(device); dot.title = SEVERITY[worst(device)] || "no alarm"; });
    return h("a", { href: `#/${device.name}`, "aria-current": place === device.name ? "page" : null }, dot, device.name);
  }));
}

window.addEventListener("hashchange", () => { show(); window.scrollTo(0, 0); if (document.activeElement !== findBox) main.focus({ preventScroll: true }); });
window.addEventListener("resize", () => { clearTimeout(window.again); window.again = setTimeout(() => { if (location.hash.startsWith("#/pv/")) show(); }, 300); });
document.addEventListener("visibilitychange", () => { if (document.hidden) { source?.close(); heard = 0; } else listen(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== findBox) { event.preventDefault(); findBox.focus(); findBox.select(); }
  if (event.key === "Escape") { findBox.blur(); location.hash = "#/"; }
});
findBox.addEventListener("input", () => { location.hash = findBox.value.trim() ? `#/find/${encodeURIComponent(findBox.value.trim())}` : "#/"; });
document.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); main.querySelector("a")?.focus(); });
setInterval(link, 1000);
setInterval(() => { if (!document.hidden) fetchSparks(view.sparks); }, SPARKS_EVERY);
listen();
