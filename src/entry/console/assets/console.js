// What the pages cannot do without a script: be up to date, show times in the reader's zone, copy.
// Every page and every form works without it.
"use strict";

const lang = document.documentElement.lang;

function localTimes(root) {
  const format = new Intl.DateTimeFormat(lang === "fa" ? "fa-IR" : "en-GB", {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
  });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.textContent = format.format(at);
  }
}

// Puts what a fresh copy of this page says into the parts that live, and leaves alone whatever the
// reader is typing into.
async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
  if (answer.type === "opaqueredirect") return location.reload();
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (!next || part.contains(document.activeElement)) continue;
    localTimes(next);
    if (next.innerHTML === part.innerHTML) continue;
    const known = new Set([...part.querySelectorAll("[data-id]")].map((row) => row.dataset.id));
    part.replaceChildren(...document.adoptNode(next).childNodes);
    for (const row of part.querySelectorAll("[data-id]")) {
      if (!known.has(row.dataset.id)) row.classList.add("fresh");
    }
  }
}

// One stream for all tabs: whoever holds the lock listens and tells the others. A hidden tab lets it
// go, so that one that is looked at can take it.
function listen() {
  const channel = new BroadcastChannel("hundi");
  let due = false;
  const heard = () => {
    if (document.hidden) { due = true; return; }
    refresh().catch(() => {});
  };
  channel.onmessage = heard;
  let stop = () => {};
  const lead = () => navigator.locks.request("hundi-live", () => new Promise((done) => {
    if (document.hidden) return done();
    const stream = new EventSource("/console/live");
    stream.addEventListener("changed", () => { channel.postMessage("changed"); heard(); });
    stream.addEventListener("ready", () => { document.body.dataset.stream = "open"; heard(); });
    stop = () => { stream.close(); delete document.body.dataset.stream; done(); };
  }));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stop(); return; }
    if (due) { due = false; refresh().catch(() => {}); }
    lead();
  });
  addEventListener("pagehide", () => stop());
  if (!document.hidden) lead();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.querySelector(button.dataset.copy)?.textContent ?? "";
  await navigator.clipboard.writeText(text.trim());
  button.dataset.copied = "";
});

localTimes(document);
if (document.querySelector("[data-live]") && "locks" in navigator) listen();
