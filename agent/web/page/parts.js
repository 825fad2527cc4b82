// Parts of several sections: rows of values, and bars.

import { el, svg } from "./dom.js";
import { isKnown } from "./format.js";

/** A row of a list of values; nothing without a value. */
export function row(name, value) {
  if (!value || value.length === 0) return null;
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

/** A value, its whole, and a bar of the share (0 to 1; null: unknown). */
export function meter(name, value, context, share) {
  return el("div", { class: "meter", "data-key": name },
    el("dt", {}, name),
    el("dd", {}, el("b", {}, value), " ",
      context && el("span", { class: "context" }, context)),
    el("dd", { class: "bar-place", "aria-hidden": "true" }, bar(share)));
}

/** The bar; the value is beside it as text. */
export function bar(share) {
  const full = isKnown(share) ? Math.min(1, Math.max(0, share)) : 0;
  const kind = !isKnown(share) ? "unknown" : full >= 0.95 ? "full" : "";
  return svg("svg", { class: `bar ${kind}`, width: "100%", height: 6, "aria-hidden": "true" },
    svg("rect", { class: "bar-all", width: "100%", height: "100%", rx: 3 }),
    svg("rect", {
      class: "bar-part", width: `${(full * 100).toFixed(1)}%`, height: "100%", rx: 3,
    }));
}

/** value / whole; null if it is unknown. */
export function ratio(value, whole) {
  return isKnown(value) && isKnown(whole) && whole > 0 ? value / whole : null;
}
