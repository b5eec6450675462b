// What makes the page live: parts drawn by the server replace those shown, commands are sent without leaving the page,
// and a daemon that does not answer looks like one.
"use strict";

(() => {
  const DEAD = 4000; // ms without a connection
  const SILENT = 10000; // ms without a sign of life over one
  const said = document.getElementById("said");
  const live = Boolean(document.getElementById("lost")); // a list stays as it was loaded
  const freshness = document.getElementById("freshness");
  const head = document.getElementById("head");
  const title = " · " + document.body.dataset.title;
  let heard = freshness?.querySelector("time").textContent;
  let stream = null;
  let alive = performance.now();
  let broken = 0;
  let later = 0;
  let forget = 0;
  let shown = null; // the head as it was sent last, while another one says that nobody answers

  const FOCUSABLE = "a[href], button, summary, input";

  // Where what had the focus is gone, the next one in its place has it: a person goes on where they were.
  function focusAgain(part, id, place) {
    const same = id && document.getElementById(id);
    const left = part.querySelectorAll(FOCUSABLE);
    (same || left[Math.min(place, left.length - 1)] || part).focus({ preventScroll: true });
  }

  // What has not changed keeps its element, so that no image is loaded twice and no open list is shut.
  function replace(part, html) {
    const drawn = new DOMParser().parseFromString(html, "text/html").body;
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const place = focused ? [...part.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1;
    for (const details of part.querySelectorAll("details[open][id]")) {
      drawn.querySelector("#" + CSS.escape(details.id))?.setAttribute("open", "");
    }
    for (const fresh of drawn.querySelectorAll("[id]")) {
      const old = document.getElementById(fresh.id);
      if (old && part.contains(old) && old.isEqualNode(fresh)) fresh.replaceWith(old);
    }
    part.replaceChildren(...drawn.childNodes);
    if (focused && document.activeElement !== focused) focusAgain(part, focused.id, place);
  }

  function name() {
    document.title = head.querySelector("h1").textContent + title;
  }

  function receive(event) {
    hear();
    const part = document.getElementById(event.type);
    if (part) replace(part, event.data);
    if (part === head) name();
  }

  function hear() {
    alive = performance.now();
    broken = 0;
    if (!shown) return;
    head.replaceChildren(...shown);
    shown = null;
    document.body.classList.remove("lost");
    for (const button of document.querySelectorAll("form[action='/commands'] button")) button.removeAttribute("aria-disabled");
    name();
  }

  function beat(event) {
    hear();
    heard = event.data.trim();
    freshness.textContent = "live";
  }

  // Headline, title, lamp and buttons: nobody shall believe what was true a while ago.
  function lose() {
    freshness.textContent = "not live: last heard at " + heard;
    const words = document.getElementById("lost").content.cloneNode(true);
    words.querySelector("time").textContent = heard;
    const focused = head.contains(document.activeElement);
    shown = [...head.childNodes];
    head.replaceChildren(words);
    if (focused) head.querySelector("h1").focus();
    document.body.classList.add("lost");
    for (const button of document.querySelectorAll("form[action='/commands'] button")) button.setAttribute("aria-disabled", "true");
    name();
  }

  function watch() {
    if (document.hidden || shown) return;
    const now = performance.now();
    if ((broken && now - broken > DEAD) || now - alive > SILENT) lose();
  }

  function tell(words) {
    clearTimeout(forget);
    forget = setTimeout(() => { said.textContent = ""; }, 20000);
    said.textContent = "";
    requestAnimationFrame(() => { said.textContent = words; });
  }

  function listen() {
    clearTimeout(later);
    stream?.close();
    stream = new EventSource("/live");
    for (const part of document.querySelectorAll("[id]")) stream.addEventListener(part.id, receive);
    stream.addEventListener("beat", beat);
    stream.onerror = () => {
      broken ||= performance.now();
      if (stream.readyState === EventSource.CLOSED) refused();
    };
  }

  // An answer that is no stream: it lives, and too many look at once, or it wants the password again.
  async function refused() {
    later = setTimeout(listen, 5000);
    try {
      await fetch("/static/icon.svg", { method: "HEAD" });
      hear();
      freshness.textContent = "not live: load again; last heard at " + heard;
    } catch { /* it does not live */ }
  }

  async function send(event) {
    const form = event.target;
    if (form.getAttribute("action") !== "/commands") return;
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.hasAttribute("aria-disabled")) {
      if (shown) tell("Nothing was changed: expandd does not answer.");
      return;
    }
    button.setAttribute("aria-disabled", "true");
    let ordered = false;
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch("/commands", { method: "POST", body, headers: { Accept: "text/plain" } });
      tell((await answer.text()).trim());
      ordered = answer.ok;
    } catch {
      tell("That did not arrive: expandd does not answer. Nothing was changed.");
    }
    // In a list a button that was pressed stays so, and keeps the focus; what came of it shows when it is loaded again.
    if (live || !ordered) button.removeAttribute("aria-disabled");
  }

  document.addEventListener("submit", send);
  if (!live) return;
  // A page that nobody sees needs no news; it catches up when it is seen again.
  document.addEventListener("visibilitychange", () => {
    alive = performance.now();
    broken = 0;
    if (document.hidden) { clearTimeout(later); stream?.close(); } else listen();
  });
  setInterval(watch, 1000);
  listen();
})();
