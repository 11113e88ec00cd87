// Keeps a page up to date and copies texts. Every page works without it.
"use strict";

// A stream says when the page looks different. Then it is fetched again, and the parts
// marked with data-live are replaced if they differ.
const announcer = document.getElementById("announcer");

// comparable returns the HTML of a part without what differs each time.
function comparable(part) {
  const copy = part.cloneNode(true);
  for (const token of copy.querySelectorAll("input[name=token]")) token.removeAttribute("value");
  for (const shown of copy.querySelectorAll("[data-copy]")) shown.hidden = true;
  return copy.outerHTML;
}

// wordsOf returns what a screen reader should be told of a page, by what it is about.
function wordsOf(page) {
  const words = new Map();
  for (const one of page.querySelectorAll("[data-announce]")) words.set(one.dataset.announce, one.textContent.trim());
  return words;
}

function replaceParts(fresh) {
  const before = wordsOf(document);
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (!next || comparable(part) === comparable(next)) continue;
    // A part with a state in data-live may hold what somebody is typing or has selected:
    // it is replaced when the state changes.
    if (part.dataset.live !== "" && part.dataset.live === next.dataset.live) continue;
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    part.replaceWith(document.adoptNode(next));
    if (focused) {
      const again = focused.id ? document.getElementById(focused.id)
        : [...next.querySelectorAll("a[href]")].find((link) => link.getAttribute("href") === focused.getAttribute("href"));
      (again || document.getElementById("main")).focus();
    }
  }
  showCopyButtons();
  for (const [about, text] of wordsOf(document)) {
    if (before.has(about) ? before.get(about) !== text : about === "Doctor") announcer.textContent = about + ": " + text;
  }
}

async function fetchAgain() {
  const answer = await fetch(location.href, { headers: { "Cwtch-Relay-Live": "1" } });
  if (!answer.ok) {
    location.reload(); // to be told why
    return;
  }
  replaceParts(new DOMParser().parseFromString(await answer.text(), "text/html"));
}

function followEvents(url) {
  const events = new EventSource(url);
  let running = false, again = false;
  events.addEventListener("changed", async () => {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      await fetchAgain().catch(() => { /* the stream connects again, and says so again */ });
    }
    running = false;
  });
  events.addEventListener("ended", () => events.close());
  // A page that is left gives its place to others, and gets it back when it is shown again.
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

function showCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
}

async function copyText(button) {
  const text = document.getElementById(button.dataset.copy);
  let copied = true;
  try {
    await navigator.clipboard.writeText(text.value);
  } catch {
    text.select();
    copied = document.execCommand("copy");
    button.focus();
  }
  const done = copied ? "Copied" : "Press Ctrl+C";
  if (!copied) text.select();
  announcer.textContent = copied ? "The key bundle is copied." : "The key bundle is selected. Press Control and C.";
  const label = button.dataset.label || (button.dataset.label = button.textContent);
  button.textContent = done;
  setTimeout(() => { button.textContent = label; }, 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copyText(button);
});
// A button that is pressed says that something happens. The form is sent once anyway.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button && !button.classList.contains("plain")) {
    button.setAttribute("aria-busy", "true");
    document.body.classList.add("sending");
  }
});

showCopyButtons();
if (document.body.dataset.events) followEvents(document.body.dataset.events);
