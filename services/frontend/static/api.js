// Calls of the gateway, through the way that the frontend has to it. Each begins a trace of its own in this browser.
import { newTrace, visit } from "/static/ids.js";
import { reportError } from "/static/report.js";

/** The token of the session, for as long as the tab lives. */
export const session = {
  get token() { return sessionStorage.getItem("token"); },
  set token(value) {
    if (value) sessionStorage.setItem("token", value);
    else sessionStorage.removeItem("token");
  },
};

/** Ask. Gives { ok, status, body, message, traceId }: status 0 where there was no answer; message says why not ok. */
export async function call(method, path, body) {
  const trace = newTrace();
  const headers = { traceparent: trace.traceparent, "x-correlation-id": visit().id };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (session.token) headers.authorization = `Bearer ${session.token}`;
  const found = { ok: false, status: 0, body: null, message: "The server could not be reached.", traceId: trace.traceId };
  try {
    const answer = await fetch(`/api${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    found.ok = answer.ok;
    found.status = answer.status;
    if (answer.status !== 204) found.body = await answer.json();
    found.message = answer.ok ? "" : refusal(answer, found.body);
    // What the client did wrong is no error of the page; an answer that is none is.
    if (answer.status >= 500) reportError("api", `${method} ${path.split("?")[0]} ${answer.status}`);
  } catch (error) {
    found.ok = false;
    reportError("api", `${method} ${path.split("?")[0]} ${error.name}`);
  }
  document.getElementById("call").textContent = `${method} /api${path.split("?")[0]} ${found.status || "no answer"}`;
  document.getElementById("trace").textContent = found.traceId;
  return found;
}

function refusal(answer, body) {
  const wait = answer.headers.get("retry-after");
  const why = body?.error?.message ?? `The server answered ${answer.status}.`;
  return answer.status === 429 && wait ? `${why}: try again in ${Math.ceil(Number(wait))} s` : why;
}
