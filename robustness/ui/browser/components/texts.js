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

// The instructions of an uploader are such as "64MB per file • JPG, PNG".
function accepted(uploader) {
  const said = uploader.querySelector("[data-testid=stFileUploaderDropzoneInstructions]");
  const [limit = "", types = ""] = (said?.textContent ?? "").split(" • ");
  const size = limit.match(/([\d.]+) ?([KMG]B)/);
  return { types, size: size ? `${size[1]} ${size[2]}` : "" };
}

function sayRefused(alert) {
  const text = alert.textContent;
  const uploader = alert.closest("[data-testid=stFileUploader]");
  const wrongType = text.match(WRONG_TYPE);
  const tooLarge = text.match(TOO_LARGE);
  if (!uploader || !(wrongType || tooLarge)) return;
  const { types, size } = accepted(uploader);
  if (wrongType) {
    const got = wrongType[1] === "This type of" ? "another type" : wrongType[1];
    alert.firstChild.data = `Expected ${types || "another type"} of at most ${size}, got ${got}.`;
  } else {
    const limit = `${Number(tooLarge[1])} ${tooLarge[2]}`;
    alert.firstChild.data = `Expected at most ${limit}, got a larger file. Choose a smaller one.`;
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
    document.querySelectorAll("[data-testid=stFileChip] [role=alert]").forEach(sayRefused);
  });
}

new MutationObserver(replaceSoon).observe(document.body, { childList: true, subtree: true });
