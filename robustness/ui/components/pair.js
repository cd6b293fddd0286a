// Two images to compare: side by side, wiped, blinking, or their difference, with a common zoom.
// Pixels are drawn exactly as received.

const VIEWS = ["Side by side", "Wipe", "Blink", "Difference"];
const BLINK = 600; // milliseconds per image: fewer than three changes a second
const NEAREST = 8; // largest zoom
const MIDDLE = 50; // percent, first position of the wipe
const VIEW = "pair"; // parameters of the link
const WIPE = "wipe";

function draw(canvas, picture) {
  if (canvas.width !== picture.width) canvas.width = canvas.height = picture.width;
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(picture, 0, 0);
}

// Where the pointer is in a box, as shares of its sides.
function positionIn(box, event) {
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

class Pair {
  constructor(parent) {
    const link = new URLSearchParams(location.search);
    this.view = VIEWS.find((view) => view.toLowerCase() === link.get(VIEW)) ?? VIEWS[0];
    this.zoom = 1;
    this.centre = [0.5, 0.5];
    this.root = make("div", "rb-pair");
    this.frames = make("div", "rb-frames");
    this.canvases = {};
    for (const name of ["before", "after", "remedied", "difference"]) {
      const figure = make("figure", `rb-${name}`);
      const box = make("div", "rb-box");
      const canvas = make("canvas", "", { width: 224, height: 224 });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", "Image loading");
      const layer = make("div", `rb-layer rb-of-${name}`);
      layer.append(canvas);
      box.append(layer);
      figure.append(box, make("figcaption"));
      this.frames.append(figure);
      this.canvases[name] = canvas;
    }
    this.wipe = make("input", "rb-wipe", { type: "range", min: 0, max: 100 });
    const place = Number.parseFloat(link.get(WIPE) ?? MIDDLE); // the input clamps it
    this.wipe.value = Number.isFinite(place) ? place : MIDDLE;
    this.wipe.setAttribute("aria-label", "Wipe from the original to the other image");
    this.wipe.addEventListener("input", () => this.place());
    this.wipe.addEventListener("change", () => this.tell());
    const handle = make("div", "rb-handle");
    this.canvases.after.closest(".rb-box").append(this.wipe, handle);
    this.bar = make("div", "rb-views");
    this.bar.setAttribute("role", "group");
    this.bar.setAttribute("aria-label", "View of the images");
    for (const view of VIEWS) {
      const node = make("button", "rb-view", { type: "button", textContent: view });
      node.addEventListener("click", () => {
        this.look(view);
        this.tell();
      });
      this.bar.append(node);
    }
    this.addZoom("−", "Smaller", 0.5);
    this.addZoom("+", "Larger", 2);
    this.text = make("p", "rb-note");
    this.bar.append(this.text);
    const [top, below] = ["rb-top", "rb-below"].map((name) => make("div", name));
    this.root.append(top, this.bar, this.frames, below);
    parent.append(this.root);
    this.listen();
    this.look(this.view);
  }

  addZoom(text, label, factor) {
    const node = make("button", "rb-view rb-zoom", { type: "button", textContent: text });
    node.setAttribute("aria-label", label);
    node.addEventListener("click", () => this.magnify(factor));
    this.bar.append(node);
  }

  // --- display ---

  async update(data) {
    this.data = data;
    const [before, after, remedied] = await Promise.all(
      data.pictures.map((bytes) => (bytes.length ? decoded(bytes) : null)),
    );
    if (data !== this.data) return; // newer data has arrived
    if (before) draw(this.canvases.before, before);
    draw(this.canvases.after, after);
    if (remedied) draw(this.canvases.remedied, remedied);
    this.root.classList.toggle("rb-third", Boolean(remedied));
    this.updateDifference(data);
    this.describe("before", data.before, data.altBefore);
    this.describe("after", data.after, data.altAfter);
    this.describe("remedied", data.remedied ?? "", data.altRemedied ?? "");
    const unchanged = data.signed ? "grey" : "black";
    this.describe(
      "difference",
      `Difference x ${data.gain}`,
      `Difference of the images; ${unchanged} is unchanged`,
    );
    this.text.textContent = data.text;
    this.tell(); // the server may have rewritten the link
    this.root.dataset.n = data.n;
    this.root.dataset.drawn = Number(this.root.dataset.drawn ?? 0) + 1;
  }

  // Give a frame its caption, and its image a text for screen readers.
  describe(name, caption, alt) {
    this.canvases[name].setAttribute("aria-label", alt);
    const figcaption = this.frames.querySelector(`.rb-${name} > figcaption`);
    figcaption.textContent = caption;
    figcaption.dataset.before = this.data.before;
  }

  updateDifference(data) {
    const isNewImage = data.altBefore !== this.shown;
    this.shown = data.altBefore;
    // While a slider is held, the difference is drawn only where it is in sight.
    if (PARTS.stack?.held && this.view !== "Difference") return;
    const differ = this.subtract(data.gain, data.signed);
    // Instead of a black image.
    if (isNewImage && !differ && this.view === "Difference") this.look(VIEWS[0]);
  }

  // Draw the difference, a signed one around grey, and return whether there is one.
  subtract(gain, signed) {
    const { before, after, difference } = this.canvases;
    const side = after.width;
    const valuesBefore = before.getContext("2d").getImageData(0, 0, side, side).data;
    const valuesAfter = after.getContext("2d").getImageData(0, 0, side, side).data;
    const result = new ImageData(side, side);
    let differ = false;
    // Red, green, blue and opacity of one pixel after the other.
    for (let pixel = 0; pixel < valuesBefore.length; pixel += 4) {
      for (let i = pixel; i < pixel + 3; i++) {
        const change = gain * (valuesAfter[i] - valuesBefore[i]);
        result.data[i] = signed ? 128 + change : Math.abs(change);
        differ ||= valuesBefore[i] !== valuesAfter[i];
      }
      result.data[pixel + 3] = 255;
    }
    if (difference.width !== side) difference.width = difference.height = side;
    difference.getContext("2d").putImageData(result, 0, 0);
    return differ;
  }

  look(view) {
    this.view = view;
    if (view === "Difference" && this.data) this.subtract(this.data.gain, this.data.signed);
    this.root.dataset.view = view;
    for (const node of this.bar.querySelectorAll(".rb-view:not(.rb-zoom)")) {
      node.setAttribute("aria-pressed", node.textContent === view);
    }
    clearInterval(this.blinking);
    this.root.classList.remove("rb-first");
    if (view === "Blink") {
      this.blinking = setInterval(() => this.root.classList.toggle("rb-first"), BLINK);
    }
    // In one frame, the original covers the other image.
    const together = view === "Wipe" || view === "Blink";
    const figure = this.frames.querySelector(together ? ".rb-after" : ".rb-before");
    figure.firstChild.append(this.canvases.before.parentElement);
    this.place();
  }

  // Write view and wipe to the link unless they have their defaults. The server passes on what it
  // finds in the link.
  tell() {
    if (!this.root.isConnected) return;
    const isDefaultView = this.view === VIEWS[0];
    const isWiped = this.view === "Wipe" && this.wipe.value !== String(MIDDLE);
    this.setInLink(VIEW, isDefaultView ? null : this.view.toLowerCase());
    this.setInLink(WIPE, isWiped ? this.wipe.value : null);
  }

  setInLink(name, value) {
    const url = new URL(location.href);
    if (url.searchParams.get(name) === value) return; // setting it would rewrite the link
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
    history.replaceState(history.state, "", url);
  }

  // Apply the position of the wipe and the zoom.
  place() {
    this.root.style.setProperty("--wipe", `${this.wipe.value}%`);
    const [x, y] = this.centre;
    this.root.style.setProperty("--zoom", this.zoom);
    this.root.style.setProperty("--x", `${100 * x}%`);
    this.root.style.setProperty("--y", `${100 * y}%`);
    this.root.classList.toggle("rb-zoomed", this.zoom > 1);
  }

  magnify(factor, centre) {
    this.zoom = Math.min(NEAREST, Math.max(1, this.zoom * factor));
    if (this.zoom === 1) this.centre = [0.5, 0.5];
    else if (centre) this.centre = centre;
    this.place();
  }

  // --- interaction ---

  listen() {
    // On a phone the images stay while the content above scrolls away.
    new ResizeObserver(() => {
      this.root.closest(".st-key-live")?.style.setProperty("--above", `${this.frames.offsetTop}px`);
    }).observe(this.root);
    let grip = null; // what the pointer holds: the box of an image, and where in it
    this.frames.addEventListener("pointerdown", (event) => {
      const box = event.target.closest(".rb-box")?.getBoundingClientRect();
      if (!box || event.button) return;
      grip = { box, position: positionIn(box, event) };
      if (event.pointerType !== "touch") this.frames.setPointerCapture(event.pointerId);
      if (this.view === "Wipe" && this.zoom === 1) this.slide(event, box, false);
    });
    this.frames.addEventListener("pointermove", (event) => {
      if (!grip) return;
      if (this.zoom > 1 && this.view !== "Wipe") {
        const position = positionIn(grip.box, event);
        this.pan(position[0] - grip.position[0], position[1] - grip.position[1]);
        grip.position = position;
      } else if (this.view === "Wipe") this.slide(event, grip.box, true);
    });
    const release = () => {
      if (grip && this.view === "Wipe") this.tell();
      grip = null;
    };
    this.frames.addEventListener("pointerup", release);
    this.frames.addEventListener("pointercancel", release);
    this.frames.addEventListener("dblclick", (event) => {
      const box = event.target.closest(".rb-box")?.getBoundingClientRect();
      if (box) this.magnify(this.zoom > 1 ? 1 / NEAREST : 2, positionIn(box, event));
    });
    this.frames.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && this.zoom === 1) return; // the page scrolls
        const box = event.target.closest(".rb-box")?.getBoundingClientRect();
        if (!box) return;
        event.preventDefault();
        this.magnify(event.deltaY < 0 ? 1.25 : 0.8, positionIn(box, event));
      },
      { passive: false },
    );
  }

  // Move the enlarged image by shares of its side.
  pan(x, y) {
    const clip = (value) => Math.min(1, Math.max(0, value));
    const [centreX, centreY] = this.centre;
    this.centre = [
      clip(centreX - x / (this.zoom - 1)),
      clip(centreY - y / (this.zoom - 1)),
    ];
    this.place();
  }

  slide(event, box, dragging) {
    if (event.pointerType === "touch" && !dragging) return; // it may become a swipe that scrolls
    this.wipe.value = (100 * (event.clientX - box.left)) / box.width;
    this.place();
  }
}

export default function ({ parentElement, data }) {
  const shown = unpack(data);
  if (!isNewest(shown.drawing)) return;
  if (!parentElement.pair) parentElement.pair = new Pair(parentElement);
  PARTS.pair = parentElement.pair;
  PARTS.pair.drawing = shown.drawing;
  PARTS.beside?.(PARTS.pair);
  if (shown.pictures[0].length) PARTS.stillPair = () => parentElement.pair.update(shown);
  if (!PARTS.camera?.running) parentElement.pair.update(shown);
  return () => clearInterval(parentElement.pair.blinking);
}
