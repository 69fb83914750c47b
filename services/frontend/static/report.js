// Tells the server what happened in this browser: page views, errors, vitals, and what the user met with.
import { visit } from "/static/ids.js";
import { observeVitals } from "/static/vitals.js";

// The bounds of /events.
const MAX_EVENTS = 50;
const MAX_BYTES = 16384;
const MAX_ERRORS = 20;
const SEND_AFTER = 1000;
const RAGE_CLICKS = 3;
const RAGE_WITHIN = 1000;
const RAGE_RADIUS = 24;

const page = document.body.dataset.page;
const events = [];
const unsent = new Set();
let errors = 0;
let timer;
let clicks = [];

/** Send some events, in as many parts as the service takes them; one alone is never too long. */
function deliver(some) {
  // Only with this type does another site's page need a permission that it does not get.
  const body = new Blob([JSON.stringify({ visit: visit().id, page, events: some })], { type: "application/json" });
  if (some.length > 1 && (some.length > MAX_EVENTS || body.size > MAX_BYTES)) {
    const half = some.length >> 1;
    deliver(some.slice(0, half));
    deliver(some.slice(half));
  } else {
    navigator.sendBeacon("/events", body);
  }
}

function send() {
  clearTimeout(timer);
  timer = undefined;
  if (events.length) deliver(events.splice(0));
}

function add(event) {
  events.push(event);
  timer ??= setTimeout(send, SEND_AFTER);
}

/** Report an error; a page that fails in a loop is not worth more than the first of them. */
export function reportError(kind, message) {
  errors += 1;
  // A script may throw, and the cut may leave, what the service refuses: NUL and halves of surrogate pairs.
  const storable = String(message || "unknown").slice(0, 500).replace(/[\0\p{Surrogate}]/gu, "\ufffd");
  if (errors <= MAX_ERRORS) add({ type: "error", kind, message: storable });
}

function reportUse(event) {
  add({ type: "user", event });
}

/** Path of an address: its query may hold what is nobody's business. */
function pathOf(address) {
  try {
    return new URL(address, location.href).pathname;
  } catch {
    return "unknown";
  }
}

addEventListener("error", (event) => {
  if (event.target instanceof Element) reportError("resource", pathOf(event.target.src || event.target.href));
  else reportError("script", `${event.message} (${pathOf(event.filename)}:${event.lineno})`);
}, true);
addEventListener("unhandledrejection", (event) => reportError("promise", event.reason));
addEventListener("securitypolicyviolation", (event) => reportError("csp", `${event.effectiveDirective} ${pathOf(event.blockedURI)}`));

addEventListener("click", (event) => {
  const near = (click) => event.timeStamp - click.at < RAGE_WITHIN
    && Math.hypot(event.clientX - click.x, event.clientY - click.y) < RAGE_RADIUS;
  clicks = [...clicks.filter(near), { at: event.timeStamp, x: event.clientX, y: event.clientY }];
  // A click by keyboard has no place.
  if (event.detail > 0 && clicks.length >= RAGE_CLICKS) {
    clicks = [];
    reportUse("rage_click");
  }
}, true);
addEventListener("input", (event) => { if (event.target.form) unsent.add(event.target.form); }, true);
addEventListener("submit", (event) => {
  unsent.delete(event.target);
  reportUse("form_submitted");
}, true);

const vitals = observeVitals();
addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "hidden") return;
  for (const event of vitals.finish()) events.push(event);
  if (unsent.size) reportUse("form_abandoned");
  unsent.clear();
  send();
}, true);

// A page that comes back from the browser's cache is viewed again without being loaded.
addEventListener("pageshow", (event) => { if (event.persisted) add({ type: "view", page }); });
if (visit().isNew) reportUse("visit");
add({ type: "view", page });
