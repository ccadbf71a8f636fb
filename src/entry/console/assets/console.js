// What the pages cannot do without a script: be up to date, show times in the reader's zone, copy.
// Every page and every form works without it.
"use strict";

const lang = document.documentElement.lang;

function localTimes(root) {
  const style = (parts) => new Intl.DateTimeFormat(lang === "fa" ? "fa-IR" : "en-GB", parts);
  const clock = { hour: "2-digit", minute: "2-digit" };
  const whole = style({ year: "numeric", month: "short", day: "numeric", ...clock });
  const short = style(clock);
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    // In lists, the day is said only where it is another one.
    const brief = time.closest("td") && at.toDateString() === today;
    time.textContent = (brief ? short : whole).format(at);
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

// Passkeys: the browser asks the authenticator, and the form carries the answer.
const raw = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const url = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function asked(path, form) {
  const answer = await fetch(path, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

async function create(form) {
  const told = await asked("/console/passkeys/challenge", form);
  const made = await navigator.credentials.create({ publicKey: {
    challenge: raw(told.challenge),
    rp: { id: told.rp_id, name: "hundi" },
    user: { id: raw(told.user_id), name: told.user_name, displayName: told.user_name },
    pubKeyCredParams: told.algorithms.map((alg) => ({ type: "public-key", alg })),
    excludeCredentials: told.known.map((id) => ({ type: "public-key", id: raw(id) })),
    authenticatorSelection: { residentKey: "required", userVerification: "required" },
    attestation: "none", timeout: 300000,
  } });
  form.elements.client_data.value = url(made.response.clientDataJSON);
  form.elements.attestation.value = url(made.response.attestationObject);
}

async function sign(form, challenge, rpId, known) {
  const given = await navigator.credentials.get({ publicKey: {
    challenge: raw(challenge), rpId, userVerification: "required", timeout: 300000,
    allowCredentials: known.map((id) => ({ type: "public-key", id: raw(id) })),
  } });
  const put = (name, buffer) => { form.elements[`assertion.${name}`].value = url(buffer); };
  put("credential_id", given.rawId);
  put("client_data", given.response.clientDataJSON);
  put("authenticator_data", given.response.authenticatorData);
  put("signature", given.response.signature);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const place = form.closest("[data-passkey]");
  if (!place) return;
  event.preventDefault();
  try {
    if (place.dataset.passkey === "create") {
      await create(form);
    } else if (place.dataset.passkey === "enter") {
      const told = await asked("/console/sign-in/challenge", form);
      await sign(form, told.challenge, told.rp_id, []);
    } else {
      await sign(form, place.dataset.challenge, place.dataset.rp, place.dataset.known.split(" "));
    }
    form.submit();
  } catch (error) {
    const words = document.createElement("p");
    words.className = "flash bad";
    words.setAttribute("role", "alert");
    words.textContent = error.message;
    form.append(words);
  }
});

if (window.PublicKeyCredential) {
  for (const part of document.querySelectorAll("[data-needs-script]")) part.hidden = false;
}
localTimes(document);
if (document.querySelector("[data-live]") && "locks" in navigator) listen();
