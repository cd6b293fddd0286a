// Restores the scroll position at which a link was followed, once the page is back.

const PLACE = "robustness-place";
const LINKS = "[data-testid=stMain] a[href*='image=']";
const HOLD_MS = 2000;
const GIVE_UP_MS = 30000;

// By the query: history.js completes the path of a link under the pointer.
function alike(query) {
  return [...document.querySelectorAll(LINKS)].filter(({ search }) => search === query);
}

function followed(id) {
  return (event) => {
    const link = event.target.closest?.(LINKS);
    if (!link) return;
    const place = {
      id,
      query: link.search,
      which: alike(link.search).indexOf(link),
      y: link.getBoundingClientRect().top,
    };
    sessionStorage.setItem(PLACE, JSON.stringify(place));
  };
}

// Images and charts above load one by one and shift the page: hold the position for a while.
function restore({ query, which, y }, main, own) {
  const began = performance.now();
  let seen = null;
  const step = () => {
    const now = performance.now();
    const link = alike(query)[which];
    if (link) {
      seen ??= now;
      const off = link.getBoundingClientRect().top - y;
      if (Math.abs(off) > 1) main.scrollTop += off;
    }
    const over = seen === null ? now - began > GIVE_UP_MS : now - seen > HOLD_MS;
    if (over || own.stopped) stop();
    else own.frame = requestAnimationFrame(step);
  };
  const stop = () => {
    own.stopped = true;
    for (const kind of TAKES) main.removeEventListener(kind, stop);
  };
  for (const kind of TAKES) main.addEventListener(kind, stop, { passive: true });
  own.frame = requestAnimationFrame(step);
}

const TAKES = ["wheel", "touchstart", "pointerdown", "keydown"]; // user input takes precedence

export default function ({ parentElement, data }) {
  const { id } = data;
  const own = {};
  const listen = followed(id);
  document.addEventListener("click", listen, true);
  const place = JSON.parse(sessionStorage.getItem(PLACE) ?? "null");
  const main = parentElement.ownerDocument.querySelector("[data-testid=stMain]");
  if (place?.id === id && main) {
    sessionStorage.removeItem(PLACE);
    restore(place, main, own);
  }
  return () => {
    own.stopped = true;
    document.removeEventListener("click", listen, true);
  };
}
