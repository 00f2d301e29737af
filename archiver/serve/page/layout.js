// How a device's signals lie on the page, from its catalogue alone: tables of groups, channels side by side,
// phasors (NAME:MAG with NAME:ANG), curves (an array with NAME:TIME of the same length).

import { find, isArray } from "./model.js";

const hold = (map, key, item) => map.set(key, [...(map.get(key) || []), item]);
const head = (signal) => signal.name.slice(0, signal.name.length - signal.word.length - 1);
const isEcho = (signal) => signal.name.endsWith("_RBV");
export const isReading = (signal) => (signal.direction || "readback") === "readback";
const isRecorded = (signal) => Boolean(signal.row) || signal.archive === "monitor";

export function phasors(device) {
  return device.signals.filter((signal) => signal.word === "MAG")
    .map((magnitude) => ({ name: head(magnitude), magnitude, angle: find(device, `${head(magnitude)}:ANG`) }))
    .filter((each) => each.angle);
}

export function curves(device) {
  return device.signals.filter((y) => isArray(y) && y.word !== "TIME").flatMap((y) => {
    const x = find(device, `${head(y)}:TIME`);
    return x && x.count === y.count ? [{ x, y }] : [];
  });
}

// The values that tell most of a device at a glance: measured, with a unit, of these what is recorded if anything is;
// of channels each in turn.
export function essentials(device, most) {
  const order = new Map();
  const measured = device.signals.filter((signal) => isReading(signal) && signal.unit && !isArray(signal)
    && (signal.kind || "float") === "float" && !isEcho(signal) && signal.group !== "Device");
  const recorded = measured.filter(isRecorded);
  for (const signal of recorded.length ? recorded : measured) hold(order, signal.word, signal);
  return [...order.values()].flat().slice(0, most);
}

export function tables(device) {
  const groups = new Map();
  for (const signal of device.signals) if (!isArray(signal)) hold(groups, signal.group || "Signals", signal);
  const channels = channelGroups(groups);
  const result = [];
  let told = false;
  for (const [title, signals] of groups) {
    if (title === "Device") continue;
    if (channels.has(title)) {
      if (!told) result.push(...sideBySide(channels));
      told = true;
    } else result.push(matrix(title, signals) || { title, list: signals });
  }
  if (groups.has("Device")) result.push({ title: "Device", list: groups.get("Device"), folded: true });
  return result;
}

// Groups of one channel each (all names begin with the same word) that have most of their words in common.
function channelGroups(groups) {
  const found = new Map();
  for (const [title, signals] of groups) {
    const first = signals[0].name.split(":")[0];
    if (signals.length > 2 && signals.every((signal) => signal.name.startsWith(`${first}:`))) {
      found.set(title, new Map(signals.map((signal) => [signal.name.slice(first.length + 1), signal])));
    }
  }
  const sizes = [...found.values()];
  const like = (words) => sizes.filter((other) => [...words.keys()].filter((word) => other.has(word)).length > words.size / 2).length;
  for (const [title, words] of [...found]) if (like(words) < 2) found.delete(title);
  return found.size > 1 ? found : new Map();
}

function sideBySide(channels) {
  const columns = [...channels.keys()];
  const words = [...new Set([...channels.values()].flatMap((each) => [...each.keys()]))];
  const rows = words.map((word) => ({ name: word, cells: [...channels.values()].map((each) => each.get(word)) }));
  const any = (row) => row.cells.find(Boolean);
  const level = (row) => {
    const signal = any(row);
    if (isEcho(signal) || signal.direction === "command") return 9;
    if (isReading(signal)) return isRecorded(signal) ? (signal.unit ? 0 : 1) : 9;
    return 2;
  };
  rows.sort((one, other) => level(one) - level(other));
  const main = rows.filter((row) => level(row) < 9);
  const rest = rows.filter((row) => level(row) === 9);
  return [{ title: "Channels", columns, rows: main }, ...(rest.length ? [{ title: "Channels, all else", columns, rows: rest, folded: true }] : [])];
}

// A group whose names are A:X A:Y B:X B:Y ...: one row for A, one for B.
function matrix(title, signals) {
  const rows = new Map();
  for (const signal of signals) hold(rows, head(signal), signal);
  const columns = [...new Set(signals.map((signal) => signal.word))];
  if (rows.size < 2 || columns.length < 2 || columns.length > 3) return null;
  if (![...rows].every(([name, each]) => name && each.length === columns.length)) return null;
  return { title, columns, rows: [...rows].map(([name, each]) => ({ name, cells: columns.map((word) => each.find((signal) => signal.word === word)) })) };
}
