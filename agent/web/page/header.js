// The head of the page: the rig, its status, and the age of the data. And the foot.

import { age } from "./connection.js";
import { el } from "./dom.js";
import { bytes, clock, count, duration, isKnown, latency, UNKNOWN, watts } from "./format.js";
import { badge, mark, STATUSES, tally, word } from "./status.js";

const COUNTED = {
  critical: (number) => `${number} critical`,
  warning: (number) => count(number, "warning"),
  unknown: (number) => `${number} unknown`,
  ok: (number) => `${number} ok`,
};

/** If stale, no current status is shown. */
export function header(rig, stale) {
  const counts = tally(rig);
  return [
    el("div", { class: "head" },
      el("h1", {}, rig.host.name || "Rig"),
      el("p", { class: "overall" },
        stale
          ? badge("unknown", `Not known now; was ${word(rig.status).toLowerCase()}`)
          : badge(rig.status)),
      el("ul", { class: "tally", "aria-label": "Verdicts by status" },
        STATUSES.filter((status) => counts[status] > 0).map((status) => (
          el("li", {}, mark(status), COUNTED[status](counts[status]))))),
      el("p", { class: "age" }, "Sampled ",
        el("time", { datetime: new Date(rig.sampled_at * 1000).toISOString() },
          `${duration(age(rig))} ago`)),
    ),
    el("dl", { class: "facts" }, facts(rig).map(([name, value]) => (
      el("div", {}, el("dt", {}, name), el("dd", {}, value))))),
  ];
}

function facts(rig) {
  const { driver, host } = rig;
  return [
    ["Board", host.board || UNKNOWN],
    ["CPU", host.cpu || UNKNOWN],
    ["GPUs", answering(rig)],
    ["GPU power", power(rig)],
    ["Driver", driver.driver_version || `${driver.state}${driver.detail ? `: ${driver.detail}` : ""}`],
    ["CUDA, at most", driver.cuda_version || UNKNOWN],
    ["Kernel", host.kernel || UNKNOWN],
    ["Up for", isKnown(host.booted_at) ? duration(rig.sampled_at - host.booted_at) : UNKNOWN],
  ];
}

function answering(rig) {
  const up = rig.gpus.filter((gpu) => gpu.up).length;
  const expected = rig.expectations.gpus;
  const found = `${up} of ${rig.gpus.length} answer`;
  return isKnown(expected) && expected !== rig.gpus.length
    ? `${found}, ${expected} expected` : found;
}

/** The sum over the GPUs that answer; a limit only if each of them has one. */
function power(rig) {
  const readings = rig.gpus.map((gpu) => gpu.reading).filter((reading) => reading !== null);
  const sum = (field) => {
    const values = readings.map((reading) => reading[field]);
    return values.length && values.every(isKnown) ? values.reduce((a, b) => a + b) : null;
  };
  const [drawn, limit] = [sum("power_watts"), sum("power_limit_watts")];
  if (drawn === null) return UNKNOWN;
  return limit === null ? watts(drawn) : `${Math.round(drawn)} of ${watts(limit)}`;
}

export function footer(rig) {
  const { agent } = rig;
  const total = (values) => Object.values(values).reduce((sum, value) => sum + value, 0);
  return [
    el("p", {}, [
      `Agent ${agent.version}`,
      `since ${clock(agent.started_at)}`,
      `a sample every ${duration(agent.interval_seconds)}`,
      `the last took ${latency(total(agent.duration_seconds))}`,
      `${bytes(total(agent.resident_bytes))} of RAM`,
      `GPU reader replaced ${count(agent.reader_restarts, "time")}`,
    ].join(" · ")),
    el("p", {},
      el("a", { href: "metrics" }, "Metrics"), " · ",
      el("a", { href: "api/v1/rig" }, "Rig as JSON"), " · ",
      el("a", { href: "api/v1/history" }, "History as JSON"), " · ",
      el("a", { href: "page/openapi.yaml" }, "API description")),
  ];
}
