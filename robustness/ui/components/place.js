// Restores the scroll position at which a link to an image was followed, once its page is back.

const LINKS = "[data-testid=stMain] a[href*='image=']";
const HOLD_MS = 3000; // images and charts above load one by one and shift the page
const INPUT = ["wheel", "touchstart", "pointerdown", "keydown"]; // takes precedence

const links = () => [...document.querySelectorAll(LINKS)];
const top = (link) => link.getBoundingClientRect().top;

export default function ({ parentElement, data }) {
  const main = parentElement.ownerDocument.querySelector("[data-testid=stMain]");
  const key = `robustness place ${data.id}`;
  const [which, y] = JSON.parse(sessionStorage.getItem(key) ?? "[]");
  sessionStorage.removeItem(key);
  const save = ({ target }) => {
    const link = target.closest?.(LINKS);
    if (link) sessionStorage.setItem(key, JSON.stringify([links().indexOf(link), top(link)]));
  };
  document.addEventListener("click", save, true);
  const holding = setInterval(() => {
    const link = links()[which];
    if (link) main.scrollTop += top(link) - y;
  }, 50);
  const release = () => clearInterval(holding);
  setTimeout(release, HOLD_MS);
  for (const kind of INPUT) main.addEventListener(kind, release, { once: true, passive: true });
  return () => {
    release();
    document.removeEventListener("click", save, true);
  };
}
