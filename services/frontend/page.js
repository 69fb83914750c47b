// Sends a chat, and reports errors and web vitals to /events. Vitals are in seconds, CLS is a score.
"use strict";
const events = [];
const vitals = { CLS: 0 };

function flush() {
  for (const [vital, value] of Object.entries(vitals)) events.push({ type: "vital", vital, value });
  for (const vital of Object.keys(vitals)) delete vitals[vital];
  if (events.length) navigator.sendBeacon("/events", JSON.stringify({ events: events.splice(0, 50) }));
}

function report(kind, message) {
  events.push({ type: "error", kind, message: String(message || "unknown").slice(0, 500) });
}

function observe(type, onEntry, options) {
  if (!PerformanceObserver.supportedEntryTypes.includes(type)) return;
  new PerformanceObserver((list) => list.getEntries().forEach(onEntry)).observe({ type, buffered: true, ...options });
}

addEventListener("error", (event) => {
  if (event.target && event.target !== window) report("resource", event.target.src || event.target.href);
  else report("script", event.message);
}, true);
addEventListener("unhandledrejection", (event) => report("promise", event.reason));

observe("largest-contentful-paint", (entry) => { vitals.LCP = entry.startTime / 1000; });
observe("paint", (entry) => { if (entry.name === "first-contentful-paint") vitals.FCP = entry.startTime / 1000; });
observe("layout-shift", (entry) => { if (!entry.hadRecentInput) vitals.CLS = (vitals.CLS || 0) + entry.value; });
observe("event", (entry) => {
  if (entry.interactionId) vitals.INP = Math.max(vitals.INP || 0, entry.duration / 1000);
}, { durationThreshold: 40 });
observe("navigation", (entry) => { vitals.TTFB = entry.responseStart / 1000; });
addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") flush(); });

document.getElementById("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(event.target)));
  const answer = document.getElementById("answer");
  try {
    const response = await fetch("/api/chat", { method: "POST", body, headers: { "content-type": "application/json" } });
    const found = await response.json();
    answer.textContent = response.ok ? found.answer : found.error.message;
  } catch (error) {
    report("api", error);
    answer.textContent = "The server could not be reached.";
  }
});
