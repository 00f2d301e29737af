// What the server has told: devices, their signals, the newest value of each. And how a value is written.

export const SEVERITY = ["", "MINOR", "MAJOR", "INVALID", "LOST"];

export const site = { name: "", prefix: "", ahead: 0 };  // ahead: ms that the server's clock is before ours
export const devices = new Map();  // name -> device
export const byNumber = new Map();  // number -> signal
export const byName = new Map();  // PV -> signal
export const newest = new Map();  // number -> [number, value, severity, status, ms]

export function learn(device) {
  for (const signal of devices.get(device.name)?.signals || []) {
    byNumber.delete(signal.id);
    byName.delete(signal.pv);
  }
  for (const signal of device.signals) {
    signal.pv = device.prefix + signal.name;
    signal.device = device;
    if (signal.unit === "1") signal.unit = "";  // a ratio
    signal.word = signal.name.slice(signal.name.lastIndexOf(":") + 1);
    byNumber.set(signal.id, signal);
    byName.set(signal.pv, signal);
  }
  devices.set(device.name, device);
  const ordered = [...devices].sort(([, one], [, other]) => one.place - other.place);
  devices.clear();
  for (const [name, each] of ordered) devices.set(name, each);  // as in the site file, whenever they came
}

export const find = (device, name) => byName.get(device.prefix + name);
export const value = (signal) => (signal ? newest.get(signal.id) : undefined);
export const severity = (signal) => value(signal)?.[2] ?? 4;
export const isProgram = (device) => !find(device, "ONLINE");
export const isNumber = (signal) => !["enum", "str", "text"].includes(signal.kind || "float");
export const isArray = (signal) => (signal.count || 1) > 1;

export function text(signal, given) {
  if (given === null || given === undefined) return "–";
  if (signal.kind === "enum") return signal.states[given] ?? String(given);
  if (typeof given === "string") return given;
  return signal.kind === "int" ? String(given) : number(given, signal.precision ?? 3);
}

export function number(given, precision) {
  if (Math.abs(given) >= 1e9) return given.toExponential(3);
  return precision > 6 ? String(Number(given.toPrecision(4))) : given.toFixed(precision).replace(/^-(0\.?0*)$/, "$1");
}

const UNITS = [["y", 31557600], ["d", 86400], ["h", 3600], ["min", 60]];
export function age(ms) {
  if (!ms) return "never";
  const seconds = Math.max(0, (Date.now() + site.ahead - ms) / 1000);
  for (const [unit, length] of UNITS) if (seconds >= length * (unit === "min" ? 1 : 2)) return `${Math.floor(seconds / length)} ${unit}`;
  return seconds < 10 ? `${seconds.toFixed(0)} s` : `${Math.floor(seconds / 5) * 5} s`;
}

export function alarms() {
  const found = [];
  for (const signal of byNumber.values()) {
    const now = newest.get(signal.id);
    if (now && now[2] > 0 && signal.device.connected) found.push({ signal, severity: now[2], status: now[3] });
  }
  return found.sort((one, other) => rank(other.severity) - rank(one.severity));
}

const rank = (given) => [0, 1, 3, 2, 2][given];

export function worst(device) {
  if (!device.connected) return 4;
  let found = 0;
  for (const signal of device.signals) {
    const given = newest.get(signal.id)?.[2] ?? 0;
    if (given < 3 && given > found) found = given;
  }
  const online = find(device, "ONLINE");
  return online && severity(online) >= 3 ? severity(online) : found;
}
