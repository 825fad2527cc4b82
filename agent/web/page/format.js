// Numbers for people. The API has base units: bytes, seconds, hertz, ratios, transfers/s.

export const UNKNOWN = "unknown";
const KIB = 1024;
// Transfers/s of a PCIe generation, from the PCI Express base specifications 1 to 6.
const GENERATIONS = [[64e9, 6], [32e9, 5], [16e9, 4], [8e9, 3], [5e9, 2], [2.5e9, 1]];

export function isKnown(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** A number with this many decimals and a unit, or "unknown". */
export function quantity(value, unit, digits = 0) {
  if (!isKnown(value)) return UNKNOWN;
  const text = value.toFixed(digits);
  return unit ? `${text}\u00a0${unit}` : text;
}

/** Three significant digits at most: 0.985, 12.4, 310. */
function short(value) {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}

function scaled(value, base, units) {
  let power = 0;
  while (Math.abs(value) >= base && power < units.length - 1) {
    value /= base;
    power += 1;
  }
  return `${power === 0 ? Math.round(value) : short(value)}\u00a0${units[power]}`;
}

export function bytes(value) {
  return isKnown(value) ? scaled(value, KIB, ["B", "KiB", "MiB", "GiB", "TiB"]) : UNKNOWN;
}

export const gib = (value) => value / KIB ** 3;

/** Used and size, both in GiB. */
export function usedOf(used, size) {
  if (!isKnown(size)) return isKnown(used) ? bytes(used) : UNKNOWN;
  const text = isKnown(used) ? gib(used).toFixed(1) : UNKNOWN;
  return `${text} of ${gib(size).toFixed(1)}\u00a0GiB`;
}

/** Bytes/s in GB/s (10^9), the unit of PCIe and NCCL. */
export function bandwidth(value) {
  return isKnown(value) ? `${short(value / 1e9)}\u00a0GB/s` : UNKNOWN;
}

export const celsius = (value) => quantity(value, "°C");
export const watts = (value) => quantity(value, "W");
export const percent = (ratio) => quantity(isKnown(ratio) ? ratio * 100 : null, "%");
export const megahertz = (hertz) => quantity(isKnown(hertz) ? hertz / 1e6 : null, "MHz");
export const gigahertz = (hertz) => quantity(isKnown(hertz) ? hertz / 1e9 : null, "GHz", 1);
export const lanes = (width) => (isKnown(width) ? `x${width}` : "x?");

export function transfers(speed) {
  return isKnown(speed) ? `${Number((speed / 1e9).toFixed(1))}\u00a0GT/s` : UNKNOWN;
}

/** The PCIe generation of a speed in transfers/s: 8e9 -> "Gen 3". */
export function generation(speed) {
  const found = isKnown(speed) && GENERATIONS.find(([least]) => speed >= least);
  return found ? `Gen\u00a0${found[1]}` : "Gen\u00a0?";
}

export function latency(seconds) {
  return isKnown(seconds) ? scaled(seconds * 1e9, 1000, ["ns", "µs", "ms", "s"]) : UNKNOWN;
}

/** Two units at most: 5 s, 2 min 10 s, 40 min, 3 h 10 min, 2 d 4 h. */
export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}\u00a0s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 10) return pair(minutes, "min", whole % 60, "s");
  if (minutes < 60) return `${minutes}\u00a0min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, "h", minutes % 60, "min");
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(large, largeUnit, rest, restUnit) {
  const text = `${large}\u00a0${largeUnit}`;
  return rest ? `${text} ${rest}\u00a0${restUnit}` : text;
}

const two = (value) => String(value).padStart(2, "0");

/** Unix seconds in local time: 10:03:11, with the date if it is not today. */
export function clock(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  const date = new Date(seconds * 1000);
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return date.toDateString() === new Date().toDateString() ? time : `${day} ${time}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** A PCIe address without the usual domain: 08:00.0. */
export const shortAddress = (address) => String(address).replace(/^0000:/, "");
