// Web vitals by the definitions of web.dev/articles/vitals. Each is told once for each time that the page is loaded,
// when the page is hidden for the first time: the last moment at which a browser is sure to send anything. Times are
// in seconds, CLS is a score.

const SESSION_GAP = 1000;
const SESSION_LENGTH = 5000;
const KEPT_INTERACTIONS = 10;
const INTERACTIONS_PER_OUTLIER = 50;

/** Observe from now on; `finish()` gives what was measured, and observes no more. */
export function observeVitals() {
  const started = performance.getEntriesByType("navigation")[0]?.activationStart ?? 0;
  const observers = [];
  const interactions = new Map();
  const vitals = {};
  let hiddenAt = document.visibilityState === "hidden" ? 0 : Infinity;
  let firstInput;
  let session = { score: 0, first: 0, last: 0 };
  let shift = 0;
  let ids = { least: Infinity, most: 0 };

  addEventListener("visibilitychange", (event) => {
    if (document.visibilityState === "hidden") hiddenAt = Math.min(hiddenAt, event.timeStamp);
  }, true);

  function observe(type, onEntry, options) {
    if (!PerformanceObserver.supportedEntryTypes.includes(type)) return;
    const observer = new PerformanceObserver((list) => list.getEntries().forEach(onEntry));
    observer.observe({ type, buffered: true, ...options });
    observers.push([observer, onEntry]);
  }

  function sinceStart(milliseconds) {
    return Math.max(milliseconds - started, 0) / 1000;
  }

  // A page that was loaded in the background has no paint that somebody waited for.
  observe("paint", (entry) => {
    if (entry.name === "first-contentful-paint" && entry.startTime < hiddenAt) vitals.FCP = sinceStart(entry.startTime);
  });
  observe("largest-contentful-paint", (entry) => {
    if (entry.startTime < hiddenAt) vitals.LCP = sinceStart(entry.startTime);
  });
  observe("navigation", (entry) => {
    if (entry.responseStart > 0 && entry.responseStart < performance.now()) vitals.TTFB = sinceStart(entry.responseStart);
  });
  // The worst window of shifts less than a second apart and at most five seconds long.
  observe("layout-shift", (entry) => {
    if (entry.hadRecentInput) return;
    const goes = session.score > 0 && entry.startTime - session.last < SESSION_GAP
      && entry.startTime - session.first < SESSION_LENGTH;
    session = goes
      ? { ...session, score: session.score + entry.value, last: entry.startTime }
      : { score: entry.value, first: entry.startTime, last: entry.startTime };
    shift = Math.max(shift, session.score);
  });
  // An interaction is as long as its longest event.
  observe("event", (entry) => {
    if (!entry.interactionId) return;
    ids = { least: Math.min(ids.least, entry.interactionId), most: Math.max(ids.most, entry.interactionId) };
    interactions.set(entry.interactionId, Math.max(interactions.get(entry.interactionId) ?? 0, entry.duration));
    if (interactions.size > KEPT_INTERACTIONS) {
      interactions.delete([...interactions].reduce((least, one) => (one[1] < least[1] ? one : least))[0]);
    }
  }, { durationThreshold: 40 });
  observe("first-input", (entry) => { firstInput = entry.duration; });

  // The longest interaction, but for one in every fifty. Where all were shorter than the threshold, the first input.
  function nextPaint() {
    const longest = [...interactions.values()].sort((one, other) => other - one);
    if (!longest.length) return firstInput;
    // Chromium's ids are seven apart.
    const count = performance.interactionCount ?? (ids.most - ids.least) / 7 + 1;
    return longest[Math.min(longest.length - 1, Math.floor(count / INTERACTIONS_PER_OUTLIER))];
  }

  function finish() {
    if (!observers.length) return [];
    for (const [observer, onEntry] of observers.splice(0)) {
      observer.takeRecords().forEach(onEntry);
      observer.disconnect();
    }
    const duration = nextPaint();
    if (duration !== undefined) vitals.INP = duration / 1000;
    // Nothing can shift before there is something.
    if (vitals.FCP !== undefined) vitals.CLS = shift;
    return Object.entries(vitals).map(([vital, value]) => ({ type: "vital", vital, value }));
  }

  return { finish };
}
