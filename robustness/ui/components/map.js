// A map of bands. The server made its HTML and escaped every text in it. A click on a tile reports
// its key; with the keyboard, arrows choose a tile of the band in focus and Enter reports it.

function tiles(band) {
  return [...band.querySelectorAll("i[data-key]")];
}

function light(band, tile) {
  for (const lit of document.querySelectorAll(".rb-band > .rb-lit")) lit.classList.remove("rb-lit");
  tile.classList.add("rb-lit");
  band.rbLabel ??= band.getAttribute("aria-label");
  band.setAttribute("aria-label", tile.title);
}

function listen(root, report) {
  root.addEventListener("click", (event) => {
    const tile = event.target.closest("i[data-key]");
    if (tile) report(tile.dataset.key);
  });
  root.addEventListener("keydown", (event) => {
    const band = event.target.closest(".rb-band[role=button]");
    if (!band) return;
    const every = tiles(band);
    const lit = every.findIndex((tile) => tile.classList.contains("rb-lit"));
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      light(band, every[Math.min(every.length - 1, Math.max(0, lit + step))]);
    } else if (event.key === "Enter" || event.key === " ") {
      const bad = every.find((tile) => tile.classList.contains("rb-bad"));
      report((every[lit] ?? bad ?? every[0]).dataset.key);
    } else return;
    event.preventDefault();
  });
  root.addEventListener("focusout", (event) => {
    if (event.target.rbLabel) event.target.setAttribute("aria-label", event.target.rbLabel);
  });
}

// Scrolls to the images of the clicked tile, once the server has drawn them; they load and grow.
function showFailures(root, tries = 50) {
  const images =
    root.closest("[class*=st-key-change-]")?.querySelector("[data-testid=stExpander]") ??
    document.querySelector(".st-key-cell-failures");
  const shown = images?.querySelector("img") && !images.closest("[data-stale=true]");
  if (shown) images.scrollIntoView({ behavior: "smooth", block: "nearest" });
  else if (tries) setTimeout(showFailures, 100, root, tries - 1);
}

export default function ({ parentElement, data, setStateValue }) {
  let root = parentElement.querySelector(".rb-map-place");
  if (!root) {
    root = document.createElement("div");
    root.className = "rb-map-place";
    parentElement.append(root);
    listen(root, (key) => parentElement.report(key));
  }
  parentElement.clicks ??= 0;
  parentElement.report = (key) => {
    setStateValue("chosen", { n: ++parentElement.clicks, key });
    root.rbClicked = true;
  };
  if (root.rbContent !== data.html) {
    const scrolled = root.firstElementChild?.scrollLeft ?? 0;
    root.innerHTML = data.html;
    root.rbContent = data.html;
    root.firstElementChild.scrollLeft = scrolled;
  }
  const { chosen = "" } = data;
  for (const tile of root.querySelectorAll("i[data-key]")) {
    tile.classList.toggle("rb-chosen", tile.dataset.key === chosen);
  }
  if (root.rbClicked && chosen) showFailures(root);
  root.rbClicked = false;
}
