// The PCIe tree as boxes (root complex, switches, GPUs) and the links between them. A root port and
// a switch's downstream port are outlets of the box above them: the ports of a switch have no link
// between them. Pure: maps a document to a tree.

import { isKnown, lanes, shortAddress } from "./format.js";
import { gpuName, gpuStatus, known, STATUSES, verdictsOf } from "./status.js";

const OUTLETS = ["root port", "downstream port"]; // their link is the one below them
const NVIDIA = "10de";
// Vendors of bridges and switches, by PCI vendor id (pci-ids.ucw.cz).
const VENDORS = {
  1022: "AMD", 8086: "Intel", "10b5": "PLX", 1000: "Broadcom", "1b21": "ASMedia",
  "12d8": "Pericom", "11f8": "Microchip",
};

/**
 * The root box. A box: {kind, key, title, lines, device, gpu, status, answers, links}; kind is
 * root, switch, bridge, gpu or device. A link: {port, box, width, maxWidth, speed, maxSpeed,
 * answers, unknown, problem, notes}; port is the outlet it leaves from, or null.
 */
export function boxes(rig) {
  const devices = new Map(rig.pcie.devices.map((device) => [device.address, device]));
  const below = new Map();
  for (const device of devices.values()) {
    const parent = devices.has(device.parent) && device.parent !== device.address
      ? device.parent : "";
    below.set(parent, [...(below.get(parent) ?? []), device]);
  }
  const context = { rig, below, problems: problems(rig), seen: new Set() };
  const root = {
    kind: "root", key: "root", title: "Root complex", lines: ["CPU"],
    device: null, gpu: null, status: "ok", answers: true, links: linksBelow(context, ""),
  };
  // GPUs that only the driver shows, and devices in an impossible loop.
  for (const device of devices.values()) {
    if (!context.seen.has(device.address)) root.links.push(link(context, null, device));
  }
  for (const gpu of rig.gpus.filter(({ address }) => !devices.has(address))) {
    root.links.push({ ...link(context, null, { address: gpu.address, kind: "endpoint" }),
      unknown: true });
  }
  return root;
}

function linksBelow(context, address) {
  const found = [];
  for (const device of context.below.get(address) ?? []) {
    if (context.seen.has(device.address)) continue;
    if (OUTLETS.includes(device.kind)) {
      context.seen.add(device.address);
      const ends = (context.below.get(device.address) ?? [])
        .filter((end) => !context.seen.has(end.address));
      found.push(...ends.map((end) => link(context, device, end)));
      if (ends.length === 0) found.push(emptyLink(context, device));
    } else {
      found.push(link(context, null, device));
    }
  }
  return found;
}

/** An outlet without a device below, as a GPU that left the bus leaves it. */
function emptyLink(context, port) {
  return {
    ...between(context, port, null),
    box: {
      kind: "device", key: `below ${port.address}`, title: "Nothing seen",
      lines: [`below ${shortAddress(port.address)}`], device: null, gpu: null, status: "unknown",
      answers: false, links: [],
    },
  };
}

function link(context, port, device) {
  context.seen.add(device.address);
  return { ...between(context, port, device), box: box(context, device) };
}

/** A link by its two ends. The lower end has the current values. */
function between(context, port, device) {
  const least = (a, b) => (isKnown(a) && isKnown(b) ? Math.min(a, b) : a ?? b ?? null);
  const width = device?.current_width ?? port?.current_width ?? null;
  return {
    port,
    width,
    maxWidth: least(port?.max_width, device?.max_width),
    speed: device?.current_speed ?? port?.current_speed ?? null,
    maxSpeed: least(port?.max_speed, device?.max_speed),
    answers: device !== null && device.answers !== false,
    unknown: !isKnown(width),
    problem: device ? context.problems.get(device.address) ?? null : null,
    notes: [port, device].filter(Boolean).flatMap(notes),
  };
}

/** Errors and changes that a device has counted, in full and abbreviated for the drawing. */
function notes(device) {
  const { aer, changes, address } = device;
  const found = [];
  const counted = (number, text, brief) => {
    if (!isKnown(number) || number <= 0) return;
    found.push({ address, text: `${number} ${text}`, brief: `${number} ${brief}` });
  };
  counted(aer?.correctable, "corrected errors", "corrected");
  counted(aer?.nonfatal, "uncorrected errors", "uncorrected");
  counted(aer?.fatal, "fatal errors", "fatal");
  // Both ends of a link count its changes: the upper end shows them.
  if (OUTLETS.includes(device.kind)) counted(changes, "link changes", "changes");
  return found;
}

function box(context, device) {
  const gpu = context.rig.gpus.find(({ address }) => address === device.address) ?? null;
  const kind = boxKind(device, gpu);
  return {
    kind,
    key: device.address,
    title: title(kind, device, gpu),
    lines: lines(context.rig, kind, device, gpu),
    device,
    gpu,
    status: gpu ? gpuStatus(context.rig, gpu) : device.answers === false ? "critical" : "ok",
    answers: device.answers !== false && (gpu === null || gpu.up),
    links: linksBelow(context, device.address),
  };
}

function boxKind(device, gpu) {
  if (gpu || (device.kind === "endpoint" && device.vendor_id === NVIDIA)) return "gpu";
  if (device.kind === "upstream port" || OUTLETS.includes(device.kind)) return "switch";
  return device.kind === "bridge" ? "bridge" : "device";
}

function title(kind, device, gpu) {
  if (kind === "gpu") return gpu ? gpuName(gpu) : "GPU";
  const vendor = VENDORS[device.vendor_id] ?? "";
  const name = { switch: "switch", bridge: "bridge", device: "device" }[kind];
  // Chipsets of AMD and Intel appear as switches below the CPU.
  const chipset = kind === "switch" && ["AMD", "Intel"].includes(vendor);
  return [vendor, chipset ? "chipset" : name].filter(Boolean).join(" ")
    .replace(/^./, (letter) => letter.toUpperCase());
}

function lines(rig, kind, device, gpu) {
  if (kind !== "gpu") {
    return [shortAddress(device.address)];
  }
  const answers = device.answers !== false && (!gpu || gpu.up);
  const path = rig.pcie.paths.find(({ address }) => address === device.address);
  const name = (gpu?.name ?? "").replace(/^NVIDIA /, "").replace(/^GeForce /, "");
  return [
    [isKnown(gpu?.index) && shortAddress(device.address), name || "unknown model"]
      .filter(Boolean).join("  "),
    answers ? path && `path ${lanes(path.width)}` : "does not answer",
  ].filter(Boolean);
}

/** Problems of links by the lower end's address, from the verdicts on the GPUs below. */
function problems(rig) {
  const devices = new Map(rig.pcie.devices.map((device) => [device.address, device]));
  const found = new Map();
  for (const path of rig.pcie.paths) {
    const ends = linkEnds(path, devices);
    for (const verdict of judged(rig, path)) {
      const status = known(verdict.status);
      if (!["warning", "critical"].includes(status)) continue;
      for (const [end, text] of faulty(verdict.check, path, ends)) {
        const worse = found.get(end);
        if (!worse || STATUSES.indexOf(status) < STATUSES.indexOf(worse.status)) {
          found.set(end, { status, check: verdict.check, text });
        }
      }
    }
  }
  return found;
}

/** The verdicts on a path; its width is compared here if the agent has not judged it. */
function judged(rig, path) {
  const verdicts = verdictsOf(rig, path.address);
  const { width, expected_width: expected } = path;
  return isKnown(width) && width < expected && !verdicts.some((v) => v.check === "pcie-width")
    ? [...verdicts, { check: "pcie-width", status: "warning" }] : verdicts;
}

/** The devices of a path that are the lower end of a link. */
function linkEnds(path, devices) {
  return path.devices.map((address) => devices.get(address))
    .filter((device) => device && !OUTLETS.includes(device.kind));
}

/** [lower end's address, text in the drawing] of the links that a verdict is about. */
function faulty(check, path, ends) {
  if (check === "pcie-width") {
    const { expected_width: expected, width } = path;
    const short = ends.filter((end) => isKnown(end.current_width)
      && end.current_width < (expected ?? Infinity) && end.current_width <= (width ?? Infinity));
    const text = isKnown(expected) ? `expected ${lanes(expected)}` : "too narrow";
    return short.map((end) => [end.address, text]);
  }
  if (check === "pcie-speed") {
    const expected = path.expected_speed;
    const slow = ends.filter((end) => isKnown(end.current_speed) && end.current_speed < expected);
    return slow.map((end) => [end.address, `expected ${expected / 1e9} GT/s`]);
  }
  return [];
}
