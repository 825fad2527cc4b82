// The PCIe tree as a drawing and as text.

import { el, svg } from "./dom.js";
import { count, generation, isKnown, lanes, shortAddress, transfers } from "./format.js";
import { badge, known, markPaths, subjectName, word } from "./status.js";
import { layout } from "./tree-layout.js";
import { boxes } from "./tree.js";

const THICKNESS = { 1: 1.75, 2: 3, 4: 4.5, 8: 7, 12: 8.5, 16: 10, 32: 12 }; // px by lanes
const AROUND = 32; // padding and border of the drawing
const TEXT = 13;
const SMALL = 11.5;
const LEADING = 16; // from one line to the next
// Checks of links: their verdicts are listed below the drawing.
const ABOUT_LINKS = ["pcie-width", "pcie-speed", "gpu-answers"];

/** The drawing for `available` px, the problems of its links, and the tree as text. */
export function tree(rig, available) {
  const root = boxes(rig);
  if (root.links.length === 0) {
    return el("p", { class: "note" }, "No GPU is seen on the PCIe bus.");
  }
  const plan = layout(root, Math.max(240, available - AROUND));
  return [
    el("div", { class: "drawing", role: "group", "aria-labelledby": "tree-title" },
      svg("svg", {
        class: `tree ${plan.kind}`, role: "img", "aria-label": summary(rig),
        width: plan.width, height: plan.height, viewBox: `0 0 ${plan.width} ${plan.height}`,
      },
      plan.trunks.map(({ x, from, to }) => svg("path", { class: "trunk", d: `M${x} ${from}V${to}` })),
      plan.links.map(drawLink),
      plan.boxes.map((placed) => drawBox(placed, plan.kind)),
      plan.links.map((placed) => drawLabel(placed, plan.kind)))),
    legend(),
    reasons(rig),
    el("details", { class: "fold", "data-key": "text" },
      el("summary", {}, "The tree as text"),
      el("ul", { class: "text-tree" }, boxAsText(root, null))),
  ];
}

function summary(rig) {
  const wrong = wrongLinks(rig);
  return `PCIe tree with ${count(rig.gpus.length, "GPU")}. ${
    wrong.length === 0 ? "All links are as expected."
      : wrong.map((verdict) => sentence(rig, verdict)).join(" ")} The tree as text follows.`;
}

function wrongLinks(rig) {
  return rig.verdicts.filter(({ check, status }) => (
    ABOUT_LINKS.includes(check) && ["warning", "critical"].includes(known(status))));
}

function sentence(rig, { subject, title, reading, expectation }) {
  return `${subjectName(rig, subject)}, ${title}: ${reading}, expected: ${expectation}.`;
}

function reasons(rig) {
  const wrong = wrongLinks(rig);
  if (wrong.length === 0) return null;
  return el("ul", { class: "reasons" }, wrong.map((verdict) => (
    el("li", {}, badge(verdict.status, word(verdict.status)), " ", sentence(rig, verdict), " ",
      el("span", { class: "where" }, where(rig, verdict))))));
}

/** The name of the link, and whether its ends support more. */
function where(rig, { check, subject }) {
  if (check !== "pcie-width") return "";
  const found = [];
  (function walk(box) {
    for (const link of box.links) {
      if (link.problem?.check === check && contains(link.box, subject)) found.push(link);
      walk(link.box);
    }
  })(boxes(rig));
  return found.map((link) => {
    const from = link.port ? shortAddress(link.port.address) : "the root complex";
    const could = isKnown(link.maxWidth) && link.maxWidth > link.width
      ? `both ends could carry ${lanes(link.maxWidth)}` : "its ends can carry no more";
    return `The link from ${from} to ${shortAddress(link.box.key)}: ${could}.`;
  }).join(" ");
}

function contains(box, address) {
  return box.key === address || box.links.some((link) => contains(link.box, address));
}

function lineClass(link) {
  if (link.problem) return `link problem ${link.problem.status}`;
  if (!link.answers) return "link broken";
  return link.unknown ? "link unmeasured" : "link";
}

function drawLink({ link, from, to, y }) {
  return svg("g", { class: lineClass(link) },
    svg("path", { d: `M${from} ${y}H${to}`, "stroke-width": THICKNESS[link.width] ?? 1.75 }));
}

/** The labels of a link: lanes and generation above, problems and counts below. */
function drawLabel({ link, label }, kind) {
  const counted = link.notes.map(({ brief }) => brief);
  const from = kind === "tall" && link.port ? [`from ${shortAddress(link.port.address)}`] : [];
  const notes = [link.problem?.text, ...(link.answers ? counted : ["no answer"]), ...from];
  const shift = link.problem ? 19 : 0;
  const gap = (THICKNESS[link.width] ?? 2) / 2;
  const [above, below] = kind === "wide"
    ? [label.y - gap - 7, label.y + gap + 15] : [label.y - 1, label.y + 14];
  return svg("g", { class: `link-label ${link.problem?.status ?? ""}` },
    link.problem && svg("svg", {
      class: `mark ${link.problem.status}`, x: label.x - 2, y: above - 12, width: 16, height: 16,
      viewBox: "0 0 16 16",
    }, markPaths(link.problem.status)),
    line(label.x + shift, above, speedText(link), label.width - shift, TEXT,
      link.problem ? "fault" : "lanes"),
    line(label.x, below, notes.filter(Boolean).join(" · "), label.width, SMALL,
      link.problem ? "fault" : "small"),
    kind === "wide" && link.port && svg("text", {
      x: label.x - 20, y: label.y + 4, class: "small port", "font-size": SMALL,
    }, shortAddress(link.port.address)));
}

function speedText(link) {
  if (link.unknown) return "width unknown";
  const more = isKnown(link.maxWidth) && link.maxWidth > link.width
    ? ` of ${lanes(link.maxWidth)}` : "";
  const slow = isKnown(link.maxSpeed) && link.speed < link.maxSpeed
    ? ` of ${generation(link.maxSpeed).replace(/\D+/, "")}` : "";
  return `${lanes(link.width)}${more} · ${generation(link.speed)}${slow}`;
}

function drawBox({ box, x, y, width, height }, kind) {
  const flawed = box.kind === "gpu" && box.status !== "ok";
  const text = 13 + LEADING * box.lines.length; // height of title and lines
  // Boxes of a wide tree have their outlets at the right: the title is above the first.
  const hasOutlets = kind === "wide" && box.links.length > 0;
  const base = y + (hasOutlets ? 19 : (height - text) / 2 + 10); // of the title
  const state = box.answers ? box.status : `${box.status} silent`;
  return svg("g", { class: `box ${box.kind} ${state}` },
    svg("title", {}, [box.title, ...box.lines].join(", ")),
    svg("rect", { x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1, rx: 5 }),
    line(x + 12, base, box.title, width - (flawed ? 40 : 24), TEXT, "name"),
    box.lines.map((text, index) => (
      line(x + 12, base + LEADING * (index + 1), text, width - 24, SMALL, "small"))),
    flawed && svg("svg", {
      class: `mark ${box.status}`, x: x + width - 26, y: y + 9, width: 16, height: 16,
      viewBox: "0 0 16 16", role: "img", "aria-label": word(box.status),
    }, markPaths(box.status)));
}

const BOLD = ["name", "fault"];
const ruler = document.createElement("canvas").getContext("2d");

/** A line of text, cut to fit; the tree as text has it in full. */
function line(x, y, text, width, size, kind) {
  if (!text) return null;
  const family = getComputedStyle(document.body).fontFamily;
  ruler.font = `${BOLD.includes(kind) ? 650 : 400} ${size}px ${family}`;
  const fits = (candidate) => ruler.measureText(candidate).width <= width;
  let shown = text;
  for (let length = text.length - 1; !fits(shown) && length > 0; length -= 1) {
    shown = `${text.slice(0, length).trimEnd()}…`;
  }
  return svg("text", { x, y, class: kind, "font-size": size }, shown);
}

function legend() {
  const sample = (kind, width, text) => el("li", {},
    svg("svg", { class: "tree", width: 36, height: 12, "aria-hidden": "true" },
      svg("g", { class: `link ${kind}` },
        svg("path", { d: "M0 6H36", "stroke-width": THICKNESS[width] }))), text);
  return el("ul", { class: "legend", "aria-label": "Legend" },
    [1, 4, 8, 16].map((width) => sample("", width, `x${width}`)),
    sample("problem critical", 4, "not as expected"),
    sample("broken", 1, "no answer"),
    el("li", {}, "Gen 1 of 3: now, of what both ends can; low at idle"));
}

function boxAsText(box, link) {
  return el("li", { "data-key": box.key },
    [box.title, ...box.lines].join(", "),
    link && ["; ", linkAsText(link)],
    box.links.length > 0 && el("ul", {}, box.links.map((each) => boxAsText(each.box, each))));
}

function linkAsText(link) {
  const parts = [
    link.port ? `linked to ${link.port.kind} ${shortAddress(link.port.address)}` : "linked",
    link.unknown ? "width unknown" : `by ${speedText(link)} (${transfers(link.speed)})`,
    link.problem && `${link.problem.status}: ${link.problem.text}`,
    !link.answers && "no answer",
    ...link.notes.map(({ text, address }) => `${text} at ${shortAddress(address)}`),
  ];
  return parts.filter(Boolean).join(", ");
}
