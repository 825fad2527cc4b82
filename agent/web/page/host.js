// The machine around the GPUs.

import { el } from "./dom.js";
import { count, gigahertz, isKnown, UNKNOWN, usedOf } from "./format.js";
import { meter, ratio, row } from "./parts.js";
import { mark } from "./status.js";

export function host(rig) {
  const { host: machine } = rig;
  const used = minus(machine.memory_size_bytes, machine.memory_available_bytes);
  return [
    el("dl", { class: "meters" },
      store("RAM", used, machine.memory_size_bytes),
      machine.swap_size_bytes === 0
        ? el("div", { class: "meter" }, el("dt", {}, "Swap"), el("dd", {}, "none"))
        : store("Swap", machine.swap_used_bytes, machine.swap_size_bytes),
      disks(machine)),
    el("dl", { class: "rows" },
      row("Load", load(machine)),
      row("CPU clock", isKnown(machine.cpu_frequency_hertz)
        && `${gigahertz(machine.cpu_frequency_hertz)} of `
          + gigahertz(machine.cpu_max_frequency_hertz)),
      row("CPU slowed down by heat", isKnown(machine.cpu_throttles)
        && [machine.cpu_throttles > 0 && mark("warning", "warning"),
          count(machine.cpu_throttles, "time")]),
      row("Harmful kernel parameters", hazards(machine.kernel_hazards)),
      row("Reboot required", machine.reboot_required === true
        ? [mark("warning", "warning"), "yes"]
        : machine.reboot_required === false ? "no" : UNKNOWN)),
  ];
}

function minus(size, free) {
  return isKnown(size) && isKnown(free) ? size - free : null;
}

function store(name, used, size) {
  return meter(name, usedOf(used, size), "used", ratio(used, size));
}

/** Folders of one file system (equal size and free space) are one disk. */
function disks(machine) {
  const found = new Map();
  for (const [folder, size] of Object.entries(machine.disk_size_bytes ?? {})) {
    const free = machine.disk_free_bytes?.[folder] ?? null;
    const key = `${size} ${free}`;
    found.set(key, { folders: [...(found.get(key)?.folders ?? []), folder], size, free });
  }
  return [...found.values()].map(({ folders, size, free }) => (
    store(`Disk ${folders.join(", ")}`, minus(size, free), size)));
}

function load(machine) {
  if (!isKnown(machine.load1)) return null;
  const cpus = isKnown(machine.cpu_count) ? ` on ${count(machine.cpu_count, "CPU")}` : "";
  return `${machine.load1.toFixed(1)}${cpus}`;
}

function hazards(parameters) {
  if (!parameters) return UNKNOWN;
  const present = Object.keys(parameters).filter((name) => parameters[name]);
  if (present.length === 0) return "none";
  return [mark("warning", "warning"), present.map((name) => [el("code", {}, name), " "])];
}
