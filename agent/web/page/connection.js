// Requests to the agent, and the age of its answers.

const DEADLINE_SECONDS = 10; // a slower agent counts as not answering

/**
 * Request `url` every `seconds()`, one request at a time, and not while the tab is hidden.
 * Calls answer(document) for each answer, failure(reason) for each failure.
 */
export function poll({ url, seconds, answer, failure }) {
  let timer = null;
  let asking = false;

  async function ask() {
    clearTimeout(timer);
    if (asking || document.hidden) return;
    asking = true;
    try {
      answer(await get(url));
    } catch (error) {
      failure(reason(error));
    } finally {
      asking = false;
      timer = setTimeout(ask, Math.max(1, seconds()) * 1000);
    }
  }

  document.addEventListener("visibilitychange", ask);
  ask();
}

async function get(url) {
  const response = await fetch(url, {
    cache: "no-store", signal: AbortSignal.timeout(DEADLINE_SECONDS * 1000),
  });
  if (!response.ok) {
    throw new Error(`it answers with HTTP ${response.status} ${response.statusText}`.trim());
  }
  const content = await response.json();
  if (content.api_version !== "v1") {
    throw new Error(`it speaks API ${content.api_version}, this page v1: load the page again`);
  }
  noteClock(response.headers.get("Date"));
  return content;
}

function reason(error) {
  if (error.name === "TimeoutError") return `no answer within ${DEADLINE_SECONDS} s`;
  if (error instanceof SyntaxError) return "its answer is not JSON";
  return error instanceof TypeError ? "no connection" : error.message;
}

// A phone's clock may be wrong, so ages use the agent's clock. Its Date header has whole seconds:
// differences below two seconds are ignored.
let skew = 0;

function noteClock(header) {
  const there = Date.parse(header ?? "");
  if (Number.isNaN(there)) return;
  const difference = (there - Date.now()) / 1000;
  skew = Math.abs(difference) < 2 ? 0 : difference;
}

/** Unix seconds by the agent's clock. */
export const now = () => Date.now() / 1000 + skew;

/** Seconds after which a sample is old: three missed samples, and time for the transfer. */
export const staleAfter = (rig) => 3 * rig.agent.interval_seconds + 2;

/** Age of the sample, in seconds. */
export const age = (rig) => Math.max(0, now() - rig.sampled_at);
