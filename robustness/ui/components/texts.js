// Our words in place of those of Streamlit that it has no setting for: the dialog of a lost
// connection, and why a file is refused.

const STOCK_TITLE = "Connection error";
const LOST = "Connection lost. Reconnecting …";
const LATER = "This page goes on once the server answers.";
const WRONG_TYPE = /^(.*) files are not allowed\.$/;
const TOO_LARGE = /^File must be ([\d.]+) ?([KMG]B) or smaller\.$/;

function sayLost(dialog) {
  const title = dialog.querySelector("h2");
  if (title?.textContent !== STOCK_TITLE) return;
  title.firstChild.data = LOST;
  dialog.classList.add("rb-lost"); // the style hides the advice to who has started a server
  const later = document.createElement("p");
  later.textContent = LATER;
  dialog.append(later);
}

// The instructions of an uploader are such as "64MB per file • JPG, PNG"; they go once it has a file.
function noteAccepted(instructions) {
  const [limit = "", types = ""] = instructions.textContent.split(" • ");
  const size = limit.match(/([\d.]+) ?([KMG]B)/);
  const uploader = instructions.closest("[data-testid=stFileUploader]");
  if (uploader && size) uploader.rbAccepted = `${types} of at most ${size[1]} ${size[2]}`;
}

function sayRefused(alert) {
  const reason = [...alert.childNodes].at(-1); // "Error: " stands before it
  const wrongType = reason?.textContent.match(WRONG_TYPE);
  const tooLarge = reason?.textContent.match(TOO_LARGE);
  if (wrongType) {
    const accepted = alert.closest("[data-testid=stFileUploader]")?.rbAccepted ?? "another type";
    const got = wrongType[1] === "This type of" ? "another type" : wrongType[1];
    reason.textContent = `Expected ${accepted}, got ${got}.`;
  } else if (tooLarge) {
    const limit = `${Number(tooLarge[1])} ${tooLarge[2]}`;
    reason.textContent = `Expected at most ${limit}, got a larger file. Choose a smaller one.`;
  }
}

let planned = false;

// Once a frame at most, before it is painted.
function replaceSoon() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    document.querySelectorAll("[role=dialog]").forEach(sayLost);
    document
      .querySelectorAll("[data-testid=stFileUploaderDropzoneInstructions]")
      .forEach(noteAccepted);
    document.querySelectorAll("[data-testid=stFileChip] [role=alert]").forEach(sayRefused);
  });
}

new MutationObserver(replaceSoon).observe(document.body, { childList: true, subtree: true });
