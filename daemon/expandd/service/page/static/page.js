// What makes the page live: parts drawn by the server replace those shown, and commands are sent without leaving the page.
"use strict";

(() => {
  const said = document.getElementById("said");
  const freshness = document.getElementById("freshness");
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  let stream = null;
  let later = 0;
  let forget = 0;

  // What has not changed keeps its element, so that no image is loaded twice and no open list is shut.
  function replace(part, html) {
    const drawn = new DOMParser().parseFromString(html, "text/html").body;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    for (const details of part.querySelectorAll("details[open][id]")) {
      drawn.querySelector("#" + CSS.escape(details.id))?.setAttribute("open", "");
    }
    for (const fresh of drawn.querySelectorAll("[id]")) {
      const shown = document.getElementById(fresh.id);
      if (shown && part.contains(shown) && shown.isEqualNode(fresh)) fresh.replaceWith(shown);
    }
    part.replaceChildren(...drawn.childNodes);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  function receive(event) {
    const part = document.getElementById(event.type);
    if (part) replace(part, event.data);
    if (event.type === "head") document.title = part.querySelector("h1").textContent + " · expandd";
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
    stream.onopen = () => { freshness.textContent = "live"; document.body.classList.remove("stale"); };
    stream.onerror = () => {
      freshness.textContent = "not live: last heard at " + clock.format(new Date());
      document.body.classList.add("stale");
      if (stream.readyState === EventSource.CLOSED) later = setTimeout(listen, 10000);
    };
  }

  async function send(event) {
    const form = event.target;
    if (form.getAttribute("action") !== "/commands") return;
    event.preventDefault();
    const button = form.querySelector("button");
    button.setAttribute("aria-disabled", "true");
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch("/commands", { method: "POST", body, headers: { Accept: "text/plain" } });
      tell((await answer.text()).trim());
    } catch {
      tell("That did not arrive: expandd does not answer. Nothing was changed.");
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }

  document.addEventListener("submit", send);
  // A page that nobody sees needs no news; it catches up when it is seen again.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(later); stream?.close(); } else listen();
  });
  listen();
})();
