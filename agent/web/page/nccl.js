// The latest result of each collective. With explicit roles, screen readers still see a table when
// a narrow screen stacks the cells.

import { now } from "./connection.js";
import { el } from "./dom.js";
import { bandwidth, bytes, clock, count, duration, isKnown, latency, percent } from "./format.js";
import { bar, ratio } from "./parts.js";
import { mark, verdictsOf, word, worst } from "./status.js";

export function nccl(rig) {
  const { results, ignored } = rig.nccl;
  return [
    results.length === 0
      ? el("p", { class: "note" }, "No result yet: ",
        el("code", {}, `fab validate -H ${rig.host.name}`), " measures.")
      : el("table", { role: "table" },
        el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
          ["Collective", "Bus bandwidth", "Wrong values", "Measured"].map((name) => (
            el("th", { role: "columnheader" }, name))))),
        el("tbody", { role: "rowgroup" }, results.map((result) => line(rig, result)))),
    ignored.length > 0 && el("p", { class: "note" }, mark("warning", "warning"),
      `${count(ignored.length, "result file")} could not be read: `,
      ignored.map(({ file, reason }) => `${file} (${reason})`).join(", ")),
  ];
}

/** A cell; a narrow screen shows the column's name beside it. */
function cell(name, ...content) {
  return el("td", { role: "cell", "data-column": name }, content);
}

function line(rig, result) {
  const subject = [result.collective, result.backend, result.ranks].join(" ");
  const status = worst(verdictsOf(rig, subject).map((verdict) => verdict.status));
  const { bus_bandwidth: measured, expected_bus_bandwidth: expected } = result;
  const share = ratio(measured, expected);
  return el("tr", { role: "row", "data-key": subject },
    el("th", { role: "rowheader" }, mark(status, word(status)), " ", result.collective,
      el("small", {}, `${result.backend}, ${count(result.ranks, "rank")}, `
        + `${bytes(result.size_bytes)}`)),
    cell("Bus bandwidth", el("b", {}, bandwidth(measured)),
      share !== null && ` ${percent(share)} of ${bandwidth(expected)} expected`, bar(share),
      el("small", {}, result.expected_from && `expected from ${result.expected_from}`)),
    cell("Wrong values", result.wrong_values > 0 && mark("critical", "critical"),
      isKnown(result.wrong_values) ? el("b", {}, String(result.wrong_values)) : "not checked"),
    cell("Measured", `${duration(now() - result.finished_at)} ago`,
      el("small", {}, clock(result.finished_at),
        isKnown(result.latency_seconds) && `, latency ${latency(result.latency_seconds)}`,
        result.nccl_version && `, NCCL ${result.nccl_version}`)));
}
