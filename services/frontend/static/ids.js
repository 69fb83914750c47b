// Ids of W3C Trace Context and of this visit. crypto.getRandomValues works on pages without TLS too.

function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A new trace that begins here: its id, and the header that carries it. */
export function newTrace() {
  const traceId = hex(16);
  return { traceId, traceparent: `00-${traceId}-${hex(8)}-01` };
}

/** The correlation id of this visit, which lasts as long as the tab; `isNew` on its first page. */
export function visit() {
  const known = sessionStorage.getItem("visit");
  if (known) return { id: known, isNew: false };
  const id = `visit-${hex(12)}`;
  sessionStorage.setItem("visit", id);
  return { id, isNew: true };
}
