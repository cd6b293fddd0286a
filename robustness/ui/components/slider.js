// A slider that reports while it is held. Independent of Streamlit; the other files use it.

const SWIPE = 6; // pixels a finger moves sideways before it drags; vertical movement scrolls
const SNAP = 5; // pixels within which the slider snaps to a mark
const REST = 300; // milliseconds after the last key until it counts as released

function make(tag, name, properties = {}) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  Object.assign(node, properties);
  return node;
}

// One slider. `changed(value, held)` is called for every move, last with `held` false.
class Slider {
  constructor({ label, min = 0, max = 1, step = 0.01, value = min, marks = [], home = min, changed }) {
    Object.assign(this, { min, max, step, marks, home, changed, resting: 0 });
    this.root = make("div", "rb-slider");
    this.input = make("input", "", { type: "range", min, max, step });
    this.input.setAttribute("aria-label", label);
    const ticks = make("div", "rb-ticks");
    for (const mark of marks) {
      const tick = make("i", mark.strong ? "rb-strong" : "", { title: mark.label });
      tick.style.setProperty("--at", this.share(mark.value));
      ticks.append(tick);
    }
    this.root.append(make("div", "rb-track"), ticks, this.input);
    this.set(value);
    this.listen();
  }

  share(value) {
    return (value - this.min) / (this.max - this.min);
  }

  // Show `value` without a report.
  set(value) {
    this.value = value;
    this.input.value = value;
    this.root.style.setProperty("--share", this.share(value));
  }

  // The value in words, for screen readers.
  say(text) {
    this.input.setAttribute("aria-valuetext", text);
  }

  move(value, held) {
    const same = value === this.value;
    this.set(value);
    if (!same || !held) this.changed(value, held);
  }

  at(x) {
    const box = this.root.getBoundingClientRect();
    const inset = 11; // half of the thumb, which stays inside the track
    const width = box.width - 2 * inset;
    const share = Math.min(1, Math.max(0, (x - box.left - inset) / width));
    const near = this.marks.find((mark) => Math.abs(this.share(mark.value) - share) * width <= SNAP);
    if (near) return near.value;
    const steps = Math.round((share * (this.max - this.min)) / this.step);
    return Number((this.min + steps * this.step).toFixed(6));
  }

  listen() {
    const root = this.root;
    let grip = null;
    root.addEventListener("pointerdown", (event) => {
      if (event.button || this.input.disabled) return;
      const touch = event.pointerType === "touch";
      grip = { from: event.clientX, dragging: !touch };
      if (touch) return; // it may become a scroll
      event.preventDefault();
      root.setPointerCapture(event.pointerId);
      this.input.focus({ preventScroll: true });
      this.move(this.at(event.clientX), true);
    });
    root.addEventListener("pointermove", (event) => {
      if (!grip) return;
      if (!grip.dragging) {
        if (Math.abs(event.clientX - grip.from) < SWIPE) return;
        grip.dragging = true;
        root.setPointerCapture(event.pointerId);
      }
      this.move(this.at(event.clientX), true);
    });
    root.addEventListener("pointerup", (event) => {
      if (!grip) return;
      grip = null;
      this.move(this.at(event.clientX), false);
    });
    root.addEventListener("pointercancel", () => {
      if (grip && grip.dragging) this.move(this.value, false);
      grip = null; // the page scrolls; no change
    });
    root.addEventListener("dblclick", () => this.move(this.home, false));
    this.input.addEventListener("input", () => {
      this.move(Number(this.input.value), true);
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.move(this.value, false), REST);
    });
  }
}

// Sends the newest value once the previous one is answered: no queue, and the last value arrives.
class Sender {
  constructor() {
    this.sent = 0;
    this.waiting = 0;
    this.next = null;
  }

  // `send(n)`: the answer returns the number n.
  offer(send) {
    this.next = send;
    if (!this.waiting) this.go();
  }

  go(repeated = false) {
    const send = this.next;
    this.next = null;
    this.waiting = ++this.sent;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (repeated || this.next) return this.answered(this.waiting);
      this.next = send; // the value or its answer is lost: once more
      this.go(true);
    }, 10000);
    send(this.waiting);
  }

  answered(n) {
    this.sent = Math.max(this.sent, n);
    if (!this.waiting || n < this.waiting) return;
    clearTimeout(this.timer);
    this.waiting = 0;
    if (this.next) this.go();
  }

  get idle() {
    return !this.waiting && !this.next;
  }
}

// Shared references: each part of a page is a module.
const PARTS = (window.robustness ??= {});

// Whether nothing newer was drawn; a drawing without a number always counts. Streamlit may mount a
// replaced part after its successor.
function isNewest(drawing) {
  if (drawing && drawing < PARTS.drawing) return false;
  PARTS.drawing = drawing || PARTS.drawing;
  return true;
}

// `header` and `pictures` (bytes) as one message for `unpack` of the server.
function pack(header, pictures = []) {
  const sizes = pictures.map((picture) => picture.length);
  const head = new TextEncoder().encode(JSON.stringify({ ...header, sizes }));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, head.length);
  return new Blob([length, head, ...pictures]);
}

// {...header, pictures: [bytes]} of a message from `pack` of the server.
function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const pictures = header.sizes.map((size) => {
    const part = bytes.subarray(at, at + size);
    at += size;
    return part;
  });
  return { ...header, pictures };
}

// The image of a PNG, with exact pixels.
function decoded(bytes) {
  return createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
}
