// The name and mark of each status: a word and a shape, never a colour alone.

import { el, svg } from "./dom.js";
import { shortAddress } from "./format.js";

/** The worst first. */
export const STATUSES = ["critical", "warning", "unknown", "ok"];
const WORDS = { critical: "Critical", warning: "Warning", unknown: "Unknown", ok: "OK" };

/** One of STATUSES; any other value is unknown. */
export const known = (status) => (STATUSES.includes(status) ? status : "unknown");
export const word = (status) => WORDS[known(status)];

/** The worst of some statuses; ok if there are none. */
export function worst(statuses) {
  const all = [...statuses].map(known);
  return STATUSES.find((status) => all.includes(status)) ?? "ok";
}

// Outline and inner strokes in a box of 16 x 16: octagon, triangle, circle, circle.
const SHAPES = {
  critical: ["M5 1h6l4 4v6l-4 4H5l-4-4V5z", "M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4"],
  warning: ["M8 1.2 15.6 14.6H.4z", "M8 6v4M8 12.4v.1"],
  unknown: ["M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z",
    "M5.9 6.3a2.1 2.1 0 1 1 3 1.9c-.6.3-.9.6-.9 1.3M8 11.9v.1"],
  ok: ["M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z", "M4.8 8.3 7 10.6l4.3-4.8"],
};

/** The two paths of a mark, to be placed in a drawing. */
export function markPaths(status) {
  const [outline, inner] = SHAPES[known(status)];
  return [
    svg("path", { class: "mark-shape", d: outline }),
    svg("path", { class: "mark-inner", d: inner }),
  ];
}

/** A mark beside a word with the same meaning; with `label`, it has a text alternative. */
export function mark(status, label = null) {
  return svg("svg", {
    class: `mark ${known(status)}`, viewBox: "0 0 16 16", width: 16, height: 16,
    role: label ? "img" : null, "aria-label": label, "aria-hidden": label ? null : "true",
  }, markPaths(status));
}

/** Mark and word. */
export function badge(status, text = word(status)) {
  return el("span", { class: `badge ${known(status)}` }, mark(status), el("span", {}, text));
}

/** The page's icon in the browser's tab, as a data URL: the mark with fixed colours. */
export function iconUrl(status) {
  const [outline, inner] = SHAPES[known(status)];
  const colour = { critical: "#c2261d", warning: "#b27400", unknown: "#69707d", ok: "#1d7a45" };
  return `data:image/svg+xml,${encodeURIComponent(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">`
    + `<path d="${outline}" fill="${colour[known(status)]}"/>`
    + `<path d="${inner}" fill="none" stroke="#fff" stroke-width="1.6" stroke-linecap="round"/>`
    + "</svg>",
  )}`;
}

/** "GPU 2", or its address if its index is unknown. */
export function gpuName(gpu) {
  return Number.isInteger(gpu?.index) ? `GPU ${gpu.index}` : `GPU ${shortAddress(gpu?.address)}`;
}

/** A verdict's subject in words: a GPU by its address, the rig, or a collective. */
export function subjectName(rig, subject) {
  const gpu = rig.gpus.find(({ address }) => address === subject);
  if (gpu) return gpuName(gpu);
  return subject === "rig" ? "Rig" : subject;
}

export function verdictsOf(rig, subject) {
  return rig.verdicts.filter((verdict) => verdict.subject === subject);
}

/**
 * A GPU's status. Unknown verdicts of a GPU that answers count as ok: at idle its speed is unknown.
 */
export function gpuStatus(rig, gpu) {
  const statuses = verdictsOf(rig, gpu.address).map((verdict) => known(verdict.status));
  return worst(gpu.up ? statuses.filter((status) => status !== "unknown")
    : [...statuses, "unknown"]);
}

/** The number of verdicts of each status. */
export function tally(rig) {
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  for (const verdict of rig.verdicts) counts[known(verdict.status)] += 1;
  return counts;
}
