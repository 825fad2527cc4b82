// A tile for each GPU.

import { el } from "./dom.js";
import {
  bandwidth, bytes, celsius, clock, count, duration, generation, isKnown, lanes, megahertz,
  percent, transfers, UNKNOWN, usedOf, watts,
} from "./format.js";
import { meter, ratio, row } from "./parts.js";
import { badge, gpuName, gpuStatus, mark, subjectName, verdictsOf, word } from "./status.js";

// Reasons for lower clocks, by their names in the API. Idle is not shown.
const HOLDS = {
  sw_power_cap: "the power limit",
  hw_slowdown: "the hardware's own protection",
  sw_thermal: "heat (driver)",
  hw_thermal: "heat (hardware)",
  hw_power_brake: "the power brake: power supply or connectors",
  sync_boost: "another GPU of its group",
  applications_clocks: "clocks that were set",
  display_clocks: "the display's clocks",
};
// nvmlDeviceGpuRecoveryAction_t of nvml.h; 0 is none.
const RECOVERY = { 1: "reset the GPU", 2: "reboot", 3: "end peer traffic", 4: "drain and reset" };
const ALARMING = ["hw_slowdown", "sw_thermal", "hw_thermal", "hw_power_brake"];

export function gpus(rig) {
  if (rig.gpus.length === 0) {
    return el("p", { class: "note" }, "Neither the PCIe bus nor the driver shows a GPU.");
  }
  return el("ul", { class: "tiles" }, rig.gpus.map((gpu) => tile(rig, gpu)));
}

function tile(rig, gpu) {
  const path = rig.pcie.paths.find(({ address }) => address === gpu.address);
  const verdicts = verdictsOf(rig, gpu.address);
  const status = gpuStatus(rig, gpu);
  const wrong = verdicts.filter((verdict) => verdict.status !== "ok");
  return el("li", { class: `card tile ${status}`, "data-key": gpu.address },
    el("h3", {},
      el("span", { class: "title" }, gpuName(gpu)), " ",
      el("span", { class: "address" }, gpu.address), badge(status, word(status))),
    el("p", { class: "model" }, gpu.name || "unknown model"),
    gpu.up && gpu.reading ? values(gpu.reading) : silent(gpu),
    el("dl", { class: "rows" }, row("PCIe path", pathText(path)), xidRow(rig, gpu)),
    wrong.length > 0 && el("p", { class: "flags" }, wrong.map((verdict) => (
      el("a", { href: "#verdicts" }, 
        mark(verdict.status, word(verdict.status)), verdict.title)))),
    gpu.reading && more(rig, gpu));
}

function silent(gpu) {
  return el("div", { class: "silent" },
    el("p", {}, el("b", {}, "Does not answer.")),
    gpu.problem && el("p", {}, gpu.problem),
    el("p", {}, isKnown(gpu.read_at)
      ? `It answered last at ${clock(gpu.read_at)}.`
      : "It has not answered since the agent started."));
}

function values(reading) {
  const [limit, limitName] = heatLimit(reading.temperature_limits_celsius);
  const held = Object.keys(HOLDS).filter((name) => reading.clocks_events?.[name]);
  return [
    el("dl", { class: "meters" },
      meter("Temperature", celsius(reading.temperature_celsius),
        limit === null ? "" : `${limitName} ${celsius(limit)}`,
        ratio(reading.temperature_celsius, limit)),
      isKnown(reading.memory_temperature_celsius)
        && meter("Memory temperature", celsius(reading.memory_temperature_celsius), "", null),
      meter("Power", watts(reading.power_watts), powerLimit(reading),
        ratio(reading.power_watts, reading.power_limit_watts)),
      meter("Memory", usedOf(reading.memory_used_bytes, reading.memory_size_bytes), "",
        ratio(reading.memory_used_bytes, reading.memory_size_bytes)),
      meter("Utilisation", percent(reading.utilization_ratio),
        isKnown(reading.memory_utilization_ratio)
          ? `memory ${percent(reading.memory_utilization_ratio)}` : "",
        reading.utilization_ratio)),
    el("dl", { class: "rows" },
      row("Clocks", clocks(reading)),
      row("Held down by", held.length
        ? [held.some((name) => ALARMING.includes(name)) && mark("warning", "warning"),
          held.map((name) => HOLDS[name]).join(", ")]
        : reading.clocks_events?.gpu_idle ? "nothing; idle" : reading.clocks_events && "nothing"),
      row("Fans", fans(reading.fan_speed_ratio))),
  ];
}

function heatLimit(limits) {
  if (isKnown(limits?.slowdown)) return [limits.slowdown, "slows down at"];
  if (isKnown(limits?.max_operating)) return [limits.max_operating, "at most"];
  return isKnown(limits?.shutdown) ? [limits.shutdown, "shuts down at"] : [null, ""];
}

function powerLimit(reading) {
  const { power_limit_watts: limit, power_default_limit_watts: usual } = reading;
  if (!isKnown(limit)) return "";
  return isKnown(usual) && usual !== limit
    ? `limit ${watts(limit)} (default ${watts(usual)})` : `limit ${watts(limit)}`;
}

function clocks({ clocks_hertz: clocks, max_clocks_hertz: most, performance_state: state }) {
  const one = (name) => (isKnown(most?.[name]) && isKnown(clocks[name])
    ? `${Math.round(clocks[name] / 1e6)} of ${megahertz(most[name])}` : megahertz(clocks[name]));
  const parts = [];
  if (isKnown(clocks?.sm)) parts.push(`SM ${one("sm")}`);
  if (isKnown(clocks?.memory)) parts.push(`memory ${one("memory")}`);
  if (isKnown(state)) parts.push(`P${state}`);
  return parts.join(", ");
}

function fans(speeds) {
  const known = Object.values(speeds ?? {}).filter(isKnown);
  if (known.length === 0) return "";
  return [...new Set(known)].length === 1
    ? `${percent(known[0])}${known.length > 1 ? ` (${known.length} fans)` : ""}`
    : known.map(percent).join(", ");
}

function pathText(path) {
  if (!path) return UNKNOWN;
  if (!isKnown(path.width)) {
    return ["unknown now", isKnown(path.bandwidth) && `; could carry ${bandwidth(path.bandwidth)}`];
  }
  const narrow = isKnown(path.expected_width) && path.width < path.expected_width;
  return [
    el("b", {}, lanes(path.width)), ` at ${transfers(path.speed)} (${generation(path.speed)})`,
    isKnown(path.bandwidth) && `, can carry ${bandwidth(path.bandwidth)}`,
    narrow && el("span", { class: "narrow" }, ` expected ${lanes(path.expected_width)}`),
  ];
}

function xidRow(rig, gpu) {
  const seen = rig.xids.filter((xid) => xid.address === gpu.address && xid.count > 0);
  return row("Xids", seen.length === 0 ? "none since the agent started" : seen.map((xid) => (
    el("span", { class: "xid" }, mark(xid.status, word(xid.status)),
      `${xid.xid} ${xid.name}, ${count(xid.count, "time")}, last ${clock(xid.last_at)}`))));
}

function more(rig, gpu) {
  const { reading } = gpu;
  const yes = (value, on, off) => (value === true ? on : value === false ? off : null);
  const listed = (values, text) => Object.entries(values ?? {})
    .filter(([, value]) => isKnown(value)).map(([name, value]) => text(name, value)).join(", ");
  return el("details", { class: "fold", "data-key": "more" },
    el("summary", {}, "More of it"),
    el("dl", { class: "rows" },
      row("UUID", gpu.uuid),
      row("VBIOS", reading.vbios_version),
      row("BAR1 window", isKnown(reading.bar1_size_bytes) && bytes(reading.bar1_size_bytes)),
      row("Persistence mode", yes(reading.persistence_mode, "on", "off")),
      row("Programs", listed(reading.processes, (name, number) => `${number} ${name}`)),
      row("Clocks lowered for", listed(reading.throttled_seconds,
        (name, seconds) => `${duration(seconds)} by ${HOLDS[name] ?? name}`)),
      row("Own link", isKnown(reading.pcie_width)
        && `${lanes(reading.pcie_width)}, Gen ${reading.pcie_generation ?? "?"} of `
          + `${reading.pcie_max_generation ?? "?"}`),
      row("PCIe replays", isKnown(reading.pcie_replays) && String(reading.pcie_replays)),
      row("PCIe errors", listed(reading.pcie_errors, (name, number) => `${number} ${name}`)),
      row("ECC errors", listed(reading.ecc_errors, (name, number) => `${number} ${name}`)),
      row("Remapped rows", listed(reading.remapped_rows, (name, number) => `${number} ${name}`)),
      row("Row remap", [yes(reading.row_remap_pending, "pending", null),
        yes(reading.row_remap_failed, "failed", null)].filter(Boolean).join(", ")),
      row("Energy", isKnown(reading.energy_joules)
        && `${(reading.energy_joules / 3.6e6).toFixed(2)}\u00a0kWh since the driver was loaded`),
      row("Recovery required by the driver", RECOVERY[reading.recovery_action]),
      row("Direct peer access", peers(rig, reading.peer_access))));
}

/** access: by the peer's PCIe address. */
function peers(rig, access) {
  return Object.entries(access ?? {})
    .map(([peer, can]) => `${subjectName(rig, peer)}: ${can ? "yes" : "no"}`).join(", ");
}
