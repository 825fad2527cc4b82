// Verdicts: problems first and in full, the others folded.

import { el } from "./dom.js";
import { count, shortAddress } from "./format.js";
import { badge, known, mark, STATUSES, subjectName, word } from "./status.js";

export function verdicts(rig) {
  const groups = grouped(rig.verdicts);
  const wrong = groups.filter((group) => group.status !== "ok");
  const fine = groups.filter((group) => group.status === "ok");
  const number = rig.verdicts.filter((verdict) => verdict.status === "ok").length;
  return [
    rig.verdicts.length === 0 && el("p", { class: "note" }, "The agent has no verdicts yet."),
    wrong.length > 0
      ? el("ul", { class: "cards" }, wrong.map((group) => card(rig, group)))
      : rig.verdicts.length > 0
        && el("p", { class: "all-ok" }, mark("ok"), `All ${number} checks are ok.`),
    fine.length > 0 && el("details", { class: "fold", "data-key": "ok" },
      el("summary", {}, `${count(number, "check")} ok`),
      el("ul", { class: "fine" }, fine.map((group) => line(rig, group)))),
  ];
}

/** Groups of verdicts with the same check, status and advice, the worst first. */
function grouped(all) {
  const groups = new Map();
  for (const verdict of all) {
    const status = known(verdict.status);
    const key = JSON.stringify([verdict.check, status, verdict.advice]);
    if (!groups.has(key)) groups.set(key, { ...verdict, key, status, members: [] });
    groups.get(key).members.push(verdict);
  }
  return [...groups.values()].sort(
    (a, b) => STATUSES.indexOf(a.status) - STATUSES.indexOf(b.status));
}

function card(rig, group) {
  return el("li", { class: `card verdict ${group.status}`, "data-key": group.key },
    el("h3", {}, badge(group.status, word(group.status)), " ",
      el("span", { class: "title" }, group.title || group.check)),
    el("ul", { class: "members" }, group.members.map((verdict) => member(rig, verdict))),
    group.why && el("p", { class: "why" }, coded(group.why)),
    group.advice && el("p", { class: "advice" },
      el("b", {}, "What to do: "), coded(group.advice)));
}

function member(rig, verdict) {
  return el("li", {},
    subject(rig, verdict), " ",
    el("span", { class: "reading" }, verdict.reading || "no reading"),
    verdict.expectation && el("span", { class: "expected" },
      " expected: ", verdict.expectation));
}

function subject(rig, verdict) {
  const isGpu = rig.gpus.some(({ address }) => address === verdict.subject);
  return el("span", { class: "subject" }, subjectName(rig, verdict.subject),
    isGpu && [" ", el("span", { class: "address" }, shortAddress(verdict.subject))]);
}

function line(rig, group) {
  return el("li", { "data-key": group.key },
    mark("ok", "ok"), el("b", {}, group.title || group.check),
    el("ul", { class: "members" }, group.members.map((verdict) => member(rig, verdict))));
}

/** Text in which `this` is a command. */
function coded(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}
