// The status page: requests the agent's documents and draws them in the sections of index.html.

import { age, poll, staleAfter } from "./connection.js";
import { el, update } from "./dom.js";
import { clock, duration } from "./format.js";
import { gpus } from "./gpus.js";
import { footer, header } from "./header.js";
import { chooseMoment, history } from "./history.js";
import { host } from "./host.js";
import { nccl } from "./nccl.js";
import { iconUrl } from "./status.js";
import { tree } from "./tree-draw.js";
import { verdicts } from "./verdicts.js";

const HISTORY_SECONDS = 15; // the interval of the agent's history

// The last answers, and the last failure since then.
// moment: the index of the selected time of the history; null: now.
const state = {
  rig: null, history: null, failure: null, historyFailure: null, failedAt: null, moment: null,
};

const byId = (id) => document.getElementById(id);

/** Draw one section. An error is shown in this section and does not affect the others. */
function show(id, draw) {
  const place = byId(id).querySelector(".content") ?? byId(id);
  try {
    update(place, draw());
  } catch (error) {
    console.error(error);
    update(place, el("p", { class: "note" }, `This part can't be shown: ${error.message}`));
  }
}

/** Why the page may be out of date; empty if it is current. Screen readers announce changes. */
function problem() {
  const { rig, failure, failedAt } = state;
  if (failure) {
    const shown = rig ? ` What is shown here was sampled at ${clock(rig.sampled_at)}.` : "";
    return `No data from the agent since ${clock(failedAt)}: ${failure}.${shown}`;
  }
  if (rig && age(rig) > staleAfter(rig)) {
    return `Old data: the agent answers, but its last sample is of ${clock(rig.sampled_at)}; `
      + `it should take one every ${duration(rig.agent.interval_seconds)}.`;
  }
  return "";
}

/** Redraw what changes with time only. */
function tick() {
  const text = problem();
  const banner = byId("banner");
  if (banner.textContent !== text) banner.textContent = text;
  document.body.classList.toggle("stale", text !== "");
  if (!state.rig) return;
  show("header", () => header(state.rig, text !== ""));
  const status = text ? "unknown" : state.rig.status;
  document.title = `${text ? "no data" : status} · ${state.rig.host.name}`;
  const icon = byId("icon");
  if (icon.getAttribute("href") !== iconUrl(status)) icon.setAttribute("href", iconUrl(status));
}

function draw() {
  const { rig } = state;
  if (!rig) return;
  byId("main").hidden = false;
  show("verdicts", () => verdicts(rig));
  drawTree();
  show("gpus", () => gpus(rig));
  show("nccl", () => nccl(rig));
  show("host", () => host(rig));
  show("footer", () => footer(rig));
  drawHistory();
}

function drawTree() {
  if (state.rig) show("tree", () => tree(state.rig, byId("tree").clientWidth));
}

function drawHistory() {
  const { rig, history: answer, historyFailure, moment } = state;
  if (!rig) return;
  const last = (answer?.times.length ?? 0) - 1;
  const shown = moment !== null && moment < last ? moment : null;
  show("history", () => history(rig, answer, historyFailure, shown));
  // A range input that was moved keeps its value: set it again.
  const range = byId("history").querySelector("input");
  if (range) range.value = shown ?? last;
}

poll({
  url: "api/v1/rig",
  seconds: () => state.rig?.agent.interval_seconds ?? 5,
  answer(rig) {
    Object.assign(state, { rig, failure: null, failedAt: null });
    draw();
    tick();
  },
  failure(reason) {
    state.failedAt ??= Date.now() / 1000;
    state.failure = reason;
    tick();
  },
});

poll({
  url: "api/v1/history",
  seconds: () => HISTORY_SECONDS,
  answer(answer) {
    Object.assign(state, { history: answer, historyFailure: null });
    drawHistory();
  },
  failure(reason) {
    state.historyFailure = reason;
    drawHistory();
  },
});

setInterval(() => { if (!document.hidden) tick(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
chooseMoment(byId("history"), () => state.history?.times.length ?? 0, (moment) => {
  if (moment === state.moment) return;
  state.moment = moment;
  requestAnimationFrame(drawHistory);
});
// The layout of the tree depends on the width.
new ResizeObserver(drawTree).observe(byId("tree"));
