// One entry per page, and per view of a page, in the browser's history, so that Back leads to the
// previous one; a choice in another control adds none.

const PAGE_LINKS = "[data-testid=stPageLink] a[href]";
const GIVE_UP_MS = 30000;

// Streamlit adds several while it changes the page: one of this page with the new query, and one per
// value of a control there. All but the first replace the previous entry until the page has arrived.
let pushed = null; // whether the first was added; null while no page is on its way
let stop = () => {};

function oneEntry(link) {
  stop();
  const { pathname } = link;
  const began = performance.now();
  pushed = false;
  let rested = 0;
  stop = () => {
    clearInterval(looking);
    removeEventListener("popstate", stop);
    pushed = null;
  };
  const look = () => {
    const app = document.querySelector("[data-testid=stApp]");
    const idle = app?.dataset.testScriptState === "notRunning";
    rested = idle && location.pathname === pathname ? rested + 1 : 0;
    if (rested > 2 || performance.now() - began > GIVE_UP_MS) stop();
  };
  const looking = setInterval(look, 200);
  addEventListener("popstate", stop);
}

// Whether the link changes only in what controls on the page hold, each under its key.
function isChoice(address) {
  const link = new URL(address, location.href);
  const before = new URLSearchParams(location.search);
  const names = new Set([...before.keys(), ...link.searchParams.keys()]);
  const same = (name) => `${before.getAll(name)}` === `${link.searchParams.getAll(name)}`;
  const control = (name) => name !== "view" && document.querySelector(`.st-key-${CSS.escape(name)}`);
  return link.pathname === location.pathname && [...names].every((name) => same(name) || control(name));
}

// What one click changes may come as several links, such as of a value whose control goes with it.
let added = false; // whether an entry was added since the last click or key

history.pushState = (state, title, address) => {
  if (pushed ?? (added || isChoice(address))) return history.replaceState(state, title, address);
  if (pushed === false) pushed = true;
  added = true;
  return History.prototype.pushState.call(history, state, title, address);
};

// Streamlit links to the first page by its query alone, which a new tab reads as the page it is on.
function complete(event) {
  const link = event.target.closest?.(PAGE_LINKS);
  const href = link?.getAttribute("href");
  if (href === "" || href?.startsWith("?")) {
    link.setAttribute("href", location.pathname.replace(/[^/]*$/, "") + href);
  }
}

function acted() {
  added = false;
}

function clicked(event) {
  acted(); // also by a reader of screens, which presses nothing
  const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey; // opens a new tab
  const link = event.target.closest?.(PAGE_LINKS);
  if (link && !elsewhere) oneEntry(link);
}

const LISTENERS = {
  pointerover: complete,
  focusin: complete,
  pointerdown: acted,
  keydown: acted,
  click: clicked,
};

export default function ({ parentElement }) {
  parentElement.leave?.();
  for (const kind in LISTENERS) document.addEventListener(kind, LISTENERS[kind], true);
  parentElement.leave = () => {
    for (const kind in LISTENERS) document.removeEventListener(kind, LISTENERS[kind], true);
  };
  return () => parentElement.leave();
}
