// One entry per page in the browser's history, so that Back leads to the previous page.

const PAGE_LINKS = "[data-testid=stPageLink] a[href]";
const GIVE_UP_MS = 30000;

// Streamlit adds several while it changes the page: one of this page with the new query, and one per
// value of a control there. All but the first replace the previous entry until the page has arrived.
let stop = () => {};

function oneEntry(link) {
  stop();
  const { pathname } = link;
  const began = performance.now();
  let pushed = false;
  let rested = 0;
  history.pushState = (...given) => {
    if (pushed) return history.replaceState(...given);
    pushed = true;
    return History.prototype.pushState.apply(history, given);
  };
  stop = () => {
    clearInterval(looking);
    removeEventListener("popstate", stop);
    delete history.pushState;
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

export default function ({ parentElement }) {
  const clicked = (event) => {
    const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey; // opens a new tab
    const link = event.target.closest?.(PAGE_LINKS);
    if (link && !elsewhere) oneEntry(link);
  };
  document.removeEventListener("click", parentElement.clicked, true);
  parentElement.clicked = clicked;
  document.addEventListener("click", clicked, true);
  return () => document.removeEventListener("click", parentElement.clicked, true);
}
