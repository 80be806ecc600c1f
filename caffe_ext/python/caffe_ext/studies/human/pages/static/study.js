// The keys 0 to 9 press the buttons. Everything works without this script, too.
"use strict";
const form = document.querySelector("form");
// Nobody has seen the image by then: such a key was meant for the one before.
const EARLIEST_MS = 150;
const RETRY_MS = 5000;
const shown = performance.now();
let sent = false;

form.addEventListener("submit", (event) => {
  if (sent) {
    event.preventDefault();
    return;
  }
  sent = true;
  event.submitter?.classList.add("chosen");
  // If nothing came of it, such as without a network, it can be sent again.
  setTimeout(() => { sent = false; }, RETRY_MS);
});

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (!/^[0-9]$/.test(event.key) || performance.now() - shown < EARLIEST_MS) return;
  form.querySelector(`button[value="${event.key}"]`).click();
});

// A page from the browser's history shows an image that is answered already.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
