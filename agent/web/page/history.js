// The last hour as small plots: a row for each quantity, a plot for each GPU, one scale a row.

import { el, svg } from "./dom.js";
import { clock, duration, gib, isKnown, lanes, shortAddress } from "./format.js";
import { gpuName } from "./status.js";

const WIDTH = 240; // of a plot's coordinates; the page scales them
const HEIGHT = 52;

/**
 * key: the series of the API; from: API's unit to the one shown; low and high: the scale's ends
 * (high, from the rig's data; the plot's largest value if that is higher); reference: a line.
 */
const QUANTITIES = [
  {
    key: "temperature_celsius", title: "Temperature", unit: "°C", low: 20,
    high: (gpu) => gpu?.reading?.temperature_limits_celsius?.slowdown,
  },
  {
    key: "power_watts", title: "Power", unit: "W", low: 0,
    high: (gpu) => gpu?.reading?.power_limit_watts,
    reference: (gpu) => gpu?.reading?.power_limit_watts, referenceName: "limit",
  },
  {
    key: "memory_used_bytes", title: "Memory used", unit: "GiB", low: 0, digits: 1, from: gib,
    high: (gpu) => gpu?.reading?.memory_size_bytes,
  },
  {
    key: "utilization_ratio", title: "Utilisation", unit: "%", low: 0, from: (v) => v * 100,
    high: () => 1,
  },
  {
    key: "path_width", title: "PCIe path width", unit: "lanes", low: 0, step: true, text: lanes,
    high: (gpu, path) => path?.expected_width,
    reference: (gpu, path) => path?.expected_width, referenceName: "expected",
  },
];

/**
 * moment: the index of the selected time; null: the last.
 */
export function history(rig, answer, failure, moment = null) {
  if (!answer) {
    return el("p", { class: "note" }, failure
      ? `The agent has no history: ${failure}.` : "Waiting for the history.");
  }
  const values = Object.values(answer.series).flatMap((series) => Object.values(series));
  if (!values.some((list) => list.some(isKnown))) {
    return el("p", { class: "note" }, "No history yet: the agent stores a value every "
      + `${duration(answer.interval_seconds)} from its start on.`);
  }
  return [
    failure && el("p", { class: "note" }, `The history is not up to date: ${failure}.`),
    choice(answer, moment),
    QUANTITIES.map((quantity) => quantityRow(rig, answer, quantity, moment)),
    el("p", { class: "span" }, `${clock(answer.times[0])} to ${clock(answer.times.at(-1))}, `
      + `a value every ${duration(answer.interval_seconds)}. `
      + "Shaded areas are times without a value."),
  ];
}

/** Select a moment: all plots show their value at that time. Pointing at a plot does the same. */
function choice({ times }, moment) {
  const text = moment === null ? "now" : clock(times[moment]);
  return el("label", { class: "moment-choice" }, "Values of ",
    el("input", {
      type: "range", min: 0, max: times.length - 1, value: times.length - 1,
      "aria-valuetext": text,
    }), el("output", {}, text));
}

/**
 * Let the reader choose a moment in `place`: by the range input, or by pointing at a plot.
 * chosen(index) gets an index below size(), or null for now.
 */
export function chooseMoment(place, size, chosen) {
  place.addEventListener("input", ({ target }) => {
    const index = Number(target.value);
    chosen(index >= size() - 1 ? null : index);
  });
  place.addEventListener("pointermove", ({ target, clientX, pointerType }) => {
    const plot = pointerType === "mouse" ? target.closest?.(".plot svg") : null;
    if (!plot) return;
    const { left, width } = plot.getBoundingClientRect();
    const index = Math.round(((clientX - left) / width) * (size() - 1));
    chosen(index >= size() - 1 ? null : Math.max(0, index));
  });
  place.addEventListener("pointerleave", ({ pointerType }) => {
    if (pointerType === "mouse") chosen(null);
  });
}

function quantityRow(rig, answer, quantity, moment) {
  const series = answer.series[quantity.key] ?? {};
  const addresses = [...new Set([
    ...rig.gpus.map(({ address }) => address), ...Object.keys(series).sort(),
  ])];
  const convert = quantity.from ?? ((value) => value);
  const plots = addresses.map((address) => {
    const gpu = rig.gpus.find((each) => each.address === address);
    const path = rig.pcie.paths.find((each) => each.address === address);
    const own = (value) => (isKnown(value) ? convert(value) : null);
    return {
      address,
      name: gpu ? gpuName(gpu) : `GPU ${shortAddress(address)}`,
      values: (series[address] ?? []).map(own),
      high: own(quantity.high(gpu, path)),
      reference: own(quantity.reference?.(gpu, path)),
    };
  });
  const known = plots.flatMap(({ values, high }) => [...values, high]).filter(isKnown);
  const low = Math.min(quantity.low, ...known.map(Math.floor));
  const high = Math.max(low + 1, ...known.map(Math.ceil));
  const show = quantity.text ?? ((value) => value.toFixed(quantity.digits ?? 0));
  return el("div", { class: "quantity", "data-key": quantity.key },
    el("h3", {}, quantity.title, " ",
      el("span", { class: "scale" },
        `${show(low)} to ${show(high)}${quantity.text ? "" : `\u00a0${quantity.unit}`}`)),
    el("div", { class: "plots", "data-count": plots.length }, plots.map((plot) => (
      figure(plot, quantity, answer, { low, high, show }, moment)))));
}

function figure(plot, quantity, answer, scale, moment) {
  const known = plot.values.filter(isKnown);
  const unit = quantity.text ? "" : `\u00a0${quantity.unit}`;
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const value = plot.values[moment ?? answer.times.length - 1];
  const text = isKnown(value) ? `${scale.show(value)}${unit}` : "no value";
  const range = known.length
    ? `lowest ${scale.show(least)}, highest ${scale.show(most)}` : "no values";
  const missing = answer.times.length - known.length;
  return el("figure", { class: "plot", "data-key": plot.address },
    el("figcaption", {},
      el("span", { class: "name" }, plot.name), el("b", {}, text)),
    svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${quantity.title} of ${plot.name}: ${moment === null ? "now" : `at ${clock(answer.times[moment])}`} ${text}, `
        + `${range}${unit}`
        + (missing ? `, ${duration(missing * answer.interval_seconds)} without a value` : ""),
    }, drawing(plot, quantity, answer, scale, moment)),
    el("p", { class: "range" }, known.length
      ? [el("span", {}, `min ${scale.show(least)}`), el("span", {}, `max ${scale.show(most)}`),
        isKnown(plot.reference) && quantity.referenceName === "expected"
          && el("span", {}, `expected ${scale.show(plot.reference)}`)]
      : el("span", {}, "no values")));
}

function drawing(plot, quantity, answer, { low, high }, moment) {
  const { times, interval_seconds: interval } = answer;
  const [first, last] = [times[0], times.at(-1)];
  const x = (time) => round(((time - first) / Math.max(interval, last - first)) * WIDTH);
  const y = (value) => round(HEIGHT - 2 - ((value - low) / (high - low)) * (HEIGHT - 4));
  const { runs, gaps } = split(plot.values, times, interval);
  return [
    gaps.map(([from, to]) => svg("rect", {
      class: "gap", x: x(from), y: 0, width: Math.max(1, x(to) - x(from)), height: HEIGHT,
    })),
    svg("path", { class: "base", d: `M0 ${HEIGHT - 1}H${WIDTH}` }),
    isKnown(plot.reference) && svg("path", {
      class: "reference", d: `M0 ${y(plot.reference)}H${WIDTH}`,
    }),
    runs.map((run) => svg("path", { class: "line", d: run.map(([time, value], index) => {
      if (index === 0) return `M${x(time)} ${y(value)}h0`;
      return quantity.step ? `H${x(time)}V${y(value)}` : `L${x(time)} ${y(value)}`;
    }).join("") })),
    moment !== null && svg("path", { class: "moment", d: `M${x(times[moment])} 0V${HEIGHT}` }),
  ];
}

const round = (value) => Math.round(value * 10) / 10;

/** Runs of values as [time, value], and the gaps [from, to] between them. */
function split(values, times, interval) {
  const runs = [];
  let before = null;
  times.forEach((time, index) => {
    const value = values[index];
    if (!isKnown(value)) return;
    if (before === null || time - before > 1.5 * interval) runs.push([]);
    runs.at(-1).push([time, value]);
    before = time;
  });
  const gaps = [];
  let end = times[0];
  for (const run of runs) {
    if (run[0][0] - end > 1.5 * interval || (end === times[0] && run[0][0] > end)) {
      gaps.push([end, run[0][0]]);
    }
    end = run.at(-1)[0];
  }
  if (times.at(-1) > end || runs.length === 0) gaps.push([end, times.at(-1)]);
  return { runs, gaps };
}
