// The bands: what each model predicts along the strength of the slider moved last. They are computed
// while the page rests, the coarse cells of all models first, and stand in the rows of the models.

// ROUNDS, the cells after each request, comes from the server.
const CELLS = ROUNDS.at(-1);
const MOST_SECONDS = 5; // of passes for complete bands, without asking
const REST_BEFORE = 150; // milliseconds without a change until they begin
const MOST_FAILURES = 6; // in a row; waits double from one to the next
const AXIS = [0, 0.25, 0.5, 0.75, 1];

// Where a strength lies in a band: in the middle of its cell.
function bandPlace(strength) {
  return (strength * (CELLS - 1) + 0.5) / CELLS;
}

class Bands {
  constructor(stack) {
    this.stack = stack;
    this.moved = []; // names of perturbations, the last one moved last
    this.nodes = new Map(); // by model
    this.breaks = new Map(); // strengths by model
    this.rounds = 0; // answered for `key`
    this.finer = false; // complete bands would take long
    this.axis = make("div", "rb-axis-scale");
    this.say = make("span", "rb-axis-title");
    this.more = make("button", "rb-finer", { type: "button", textContent: "Finer" });
    this.more.addEventListener("click", () => {
      this.finer = false;
      this.asked = true;
      this.consider();
    });
    for (const strength of AXIS) {
      const mark = make("span", "", { textContent: strength });
      mark.style.setProperty("--at", bandPlace(strength));
      this.axis.append(mark);
    }
    this.wake = () => (document.hidden ? this.cancel() : this.consider());
    this.click = (event) => this.clicked(event);
  }

  connect() {
    document.addEventListener("visibilitychange", this.wake);
    window.addEventListener("robustness-answered", this.wake);
    window.addEventListener("robustness-settled", this.wake);
    document.addEventListener("click", this.click);
  }

  disconnect() {
    this.cancel();
    document.removeEventListener("visibilitychange", this.wake);
    window.removeEventListener("robustness-answered", this.wake);
    window.removeEventListener("robustness-settled", this.wake);
    document.removeEventListener("click", this.click);
  }

  // The perturbation on show: the visible graded one moved last.
  get of() {
    const visible = this.stack.steps.filter((step) => !step.hidden && BY_NAME.get(step.name).graded);
    const names = visible.map((step) => step.name);
    return this.moved.findLast((name) => names.includes(name)) ?? names.at(-1) ?? null;
  }

  get strength() {
    return this.stack.steps.find((step) => step.name === this.of)?.strength ?? 0;
  }

  // The strength at which the first model breaks, beyond `after`.
  next(after) {
    const strengths = [...this.breaks.values()].filter((strength) => strength !== null);
    return Math.min(...strengths.filter((strength) => strength > after));
  }

  move(name) {
    this.moved = [...this.moved.filter((other) => other !== name), name];
    this.cancel();
    this.draw();
  }

  // --- requests ---

  get wanted() {
    const others = this.stack.steps.filter((step) => !step.hidden && step.name !== this.of);
    const beside = others.map((step) => [step.name, step.strength]);
    return JSON.stringify([this.stack.data?.ofBands, this.of, beside]);
  }

  cancel() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
  }

  consider() {
    this.draw();
    const isAtRest = this.stack.data && !this.stack.held && this.stack.sender.idle;
    if (!isAtRest || !PARTS.complete) return; // images and predictions come first
    if (!this.of || document.hidden || PARTS.camera?.running) return;
    if (this.abort) return; // they are on their way
    if (this.rounds >= ROUNDS.length || this.finer) return;
    const abort = (this.abort = new AbortController());
    this.timer = setTimeout(() => this.ask(abort), REST_BEFORE);
  }

  async ask(abort) {
    const { of, key } = this;
    for (const count of ROUNDS.slice(this.rounds)) {
      const data = await this.fetch({ want: "bands", steps: this.stack.steps, of, count }, abort);
      if (abort.signal.aborted || key !== this.key) return;
      if (!data) return this.retry();
      this.failures = 0;
      this.rounds += 1;
      for (const [model, { html, breaksAt }] of Object.entries(data.bands)) {
        const node = this.nodes.get(model) ?? make("div", "rb-bands");
        node.innerHTML = html;
        this.nodes.set(model, node);
        this.breaks.set(model, breaksAt);
      }
      const seconds = (data.seconds * CELLS) / count;
      this.finer = this.rounds === 1 && seconds > MOST_SECONDS && !this.asked;
      this.draw();
      if (this.finer) break;
    }
    this.abort = null;
  }

  // The server may be busy with requests that this page has cancelled.
  retry() {
    this.abort = null;
    const wait = REST_BEFORE * 2 ** ++this.failures;
    if (this.failures <= MOST_FAILURES) this.timer = setTimeout(() => this.consider(), wait);
  }

  async fetch(message, abort) {
    try {
      const url = new URL(`live/${this.stack.data.ticket}`, location.href);
      const response = await fetch(url, { method: "POST", body: pack(message), signal: abort.signal });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  // --- display ---

  // Forget the bands of another image, of other models, or beside other perturbations.
  draw() {
    const key = this.wanted;
    if (key !== this.key) {
      this.cancel();
      Object.assign(this, { key, rounds: 0, failures: 0, finer: false, asked: false });
      this.nodes.clear();
      this.breaks.clear();
    }
    this.place();
  }

  // Put the bands into the rows, which the server may have filled anew.
  place() {
    const root = PARTS.pair?.root.querySelector(".rb-below");
    if (!root || PARTS.bands !== this) return;
    const isLive = PARTS.camera?.running; // its frames have no bands
    const hasBands = Boolean(this.of) && !isLive;
    let text = "";
    if (hasBands) text = `${BY_NAME.get(this.of).label}: where each model breaks`;
    else if (!isLive) text = "Pick a perturbation.";
    if (this.say.textContent !== text) this.say.textContent = text;
    this.more.hidden = !this.finer;
    this.axis.hidden = !hasBands;
    root.classList.toggle("rb-banded", hasBands);
    const axis = root.querySelector(".rb-axis");
    // Another stack may have stood here before.
    if (axis && !axis.contains(this.axis)) axis.replaceChildren(this.say, this.more, this.axis);
    const left = `${100 * bandPlace(this.strength)}%`;
    for (const slot of root.querySelectorAll(".rb-slot")) {
      // A line each, not a style that all cells would inherit: it moves with the hand.
      slot.rbStrength ??= slot.appendChild(make("span", "rb-strength"));
      if (slot.rbStrength.style.left !== left) slot.rbStrength.style.left = left;
      const node = this.nodes.get(slot.dataset.model);
      const shown = slot.firstChild === slot.rbStrength ? undefined : slot.firstChild;
      if (node === shown) continue;
      shown?.remove();
      if (node) slot.prepend(node);
    }
  }

  clicked(event) {
    if (event.target.closest(".rb-retry")) return this.stack.report(false);
    const slot = event.target.closest(".rb-slot");
    if (!slot || !this.of) return;
    const box = slot.getBoundingClientRect();
    const cell = Math.floor((CELLS * (event.clientX - box.left)) / box.width);
    const strength = Math.min(CELLS - 1, Math.max(0, cell)) / (CELLS - 1);
    this.stack.put(this.of, { strength });
  }
}

