// The stack: the active perturbations as cards, in the order of application.
// The server defines `RECORDS` above: the data of each perturbation.

const BY_NAME = new Map(RECORDS.map((record, index) => [record.name, { ...record, index }]));
const KEPT_STEPS = 100;
const NEWER = {}; // no answer: a newer request replaced this one, or two are outstanding

function button(name, text, label, press) {
  const node = make("button", name, { type: "button", textContent: text, title: label });
  node.setAttribute("aria-label", label);
  node.addEventListener("click", press);
  return node;
}

const EVERY = 60; // milliseconds between images, to leave time for the models

const PLAY_STEPS = 40; // of a slider that plays from 0 to 1
const PLAY_ALL_STEPS = 24; // of all sliders that play from 0 to where they are

// Runs `step` repeatedly while wanted, one at a time: the newest value, never a queue.
class Loop {
  constructor(step, every) {
    Object.assign(this, { step, every, running: false, wanted: false });
  }

  async want() {
    this.wanted = true;
    if (this.running) return;
    this.running = true;
    while (this.wanted) {
      this.wanted = false;
      const pause = new Promise((resolve) => setTimeout(resolve, this.every));
      await this.step();
      await pause;
    }
    this.running = false;
  }
}

class Stack {
  constructor(parent) {
    this.steps = [];
    this.past = [];
    this.future = [];
    this.rev = null;
    PARTS.stack = this;
    this.cards = new Map();
    this.sender = new Sender();
    this.picture = new Loop(() => this.ask("picture"), EVERY);
    this.answers = new Loop(() => this.ask("answers"), 0);
    this.root = make("section", "rb-stack", { id: "controls", tabIndex: -1 });
    this.root.setAttribute("aria-label", "Perturbations");
    const heading = make("h2", "rb-unseen", { textContent: "Perturbations" });
    this.study = make("div", "rb-chips");
    for (const record of RECORDS) {
      if (record.study === null) continue; // it is found by the search
      const label = `${record.label}: on or off`;
      const chip = button("rb-chip", record.label, label, () => this.toggle(record.name));
      chip.dataset.name = record.name;
      this.study.append(chip);
    }
    this.picker = new Picker(this);
    this.count = make("span", "rb-count");
    this.count.setAttribute("role", "status");
    this.clear = button("rb-link", "Clear all", "Clear all perturbations", () => this.change([]));
    this.undo = button("rb-link", "Undo", "Undo", () => this.back(this.past, this.future));
    this.redo = button("rb-link", "Redo", "Redo", () => this.back(this.future, this.past));
    this.replay = button("rb-link", "", "", () => this.playAll());
    this.showPlaying(false);
    const tools = make("div", "rb-tools");
    tools.append(this.count, this.replay, this.clear, this.undo, this.redo);
    this.tabs = make("div", "rb-tabs");
    this.list = make("ol", "rb-steps");
    this.empty = make("p", "rb-none", {
      textContent: "No perturbation yet. Pick one or search.",
    });
    this.root.append(heading, this.study, this.picker.root, tools, this.tabs, this.empty, this.list);
    parent.append(this.root);
    this.bands = new Bands(this);
  }

  // --- data from the server ---

  update(data, set) {
    this.set = set;
    if (!this.held) this.cut = false;
    this.data = data;
    if (data.rev !== this.rev) {
      if (this.rev !== null) this.remember();
      this.playing = null;
      this.rev = data.rev;
      this.steps = data.steps;
      this.current = null;
      this.awaits = data.plays && PARTS.played !== data.rev;
      this.draw();
    }
    this.sender.answered(data.n);
    for (const step of this.steps) {
      const answered = data.steps.find((other) => other.name === step.name);
      if (answered?.strength === step.strength) this.cards.get(step.name)?.say(answered.text);
    }
    this.picker.update(data);
    this.mark(data.shown);
    this.bands.consider();
    this.begin();
  }

  // Play what the server gave to be played, once, as soon as the page shows where it leads.
  begin() {
    if (!this.awaits || PARTS.answered !== this.data.drawing) return;
    this.awaits = false;
    PARTS.played = this.rev;
    document.querySelector("[data-testid=stMain]")?.scrollTo({ top: 0 });
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.playAll();
  }

  // Tell the page when it shows the last state requested.
  mark(shown) {
    const idle = this.sender.idle && !this.held;
    document.documentElement.toggleAttribute("data-rb-asking", !idle);
    PARTS.shown = idle ? shown : null;
    if (idle) window.dispatchEvent(new Event("robustness-settled"));
  }

  // While a slider is held, ask the server directly: the script would draw the whole page.
  async ask(want) {
    const data = await this.fetch(want);
    if (!this.held) return; // released: the script's answer counts
    if (data === NEWER) return;
    if (!data) {
      this.cut = true; // no direct connection: use the script from now on
      this.report(true);
    } else if (want === "picture") {
      await PARTS.pair.update(data);
    } else {
      PARTS.answers?.(data.answers);
    }
  }

  // The answer of the server to `want` for the current steps; null without one.
  async fetch(want, pictures) {
    try {
      const response = await fetch(new URL(`live/${this.data.ticket}`, location.href), {
        method: "POST",
        body: pack({ want, steps: this.steps }, pictures),
      });
      if (response.status === 409 || response.status === 429) return NEWER;
      if (!response.ok) return null;
      const data = unpack(new Uint8Array(await response.arrayBuffer()));
      for (const [name, text] of Object.entries(data.texts)) this.cards.get(name)?.say(text);
      return data;
    } catch {
      return null;
    }
  }

  // --- interaction ---

  remember() {
    this.past.push(JSON.stringify(this.settled ?? []));
    if (this.past.length > KEPT_STEPS) this.past.shift();
    this.future = [];
  }

  back(from, to) {
    this.stop();
    if (!from.length) return;
    to.push(JSON.stringify(this.steps));
    this.steps = JSON.parse(from.pop());
    this.draw();
    this.report(false);
  }

  change(steps) {
    this.stop();
    this.remember();
    this.steps = steps;
    this.draw();
    this.report(false);
  }

  // Remove it if active, else add it with its first strength.
  toggle(name) {
    if (this.steps.some((step) => step.name === name)) {
      this.change(this.steps.filter((step) => step.name !== name));
      return;
    }
    const record = BY_NAME.get(name);
    const step = { name, strength: record.first, hidden: false };
    this.current = name;
    if (record.graded) this.bands.move(name);
    const order = (one) => BY_NAME.get(one.name).order;
    this.change([...this.steps, step].sort((a, b) => order(a) - order(b)));
  }

  // Focus the slider, or the switch, of a perturbation.
  focus(name) {
    this.current = name;
    this.draw();
    const { slider, eye } = this.cards.get(name);
    (slider?.input ?? eye).focus();
  }

  put(name, values) {
    if ("strength" in values) this.bands.move(name);
    this.change(this.steps.map((step) => (step.name === name ? { ...step, ...values } : step)));
  }

  // A slider moves: one change in the history per drag.
  slide(name, strength, held) {
    if (!this.held) this.remember();
    this.held = held;
    this.steps = this.steps.map((step) => (step.name === name ? { ...step, strength } : step));
    this.bands.move(name);
    this.report(held);
    this.tools();
  }

  // Move a slider from 0 to 1 and back to where it was, as a drag does: the next strength once the
  // image and the verdicts are drawn. It stops where the first model breaks; pressed again there, it
  // goes on.
  async play(name) {
    if (this.playing) return this.stop();
    const card = this.cards.get(name);
    const goesOn = card.break === this.standing(card);
    const start = goesOn ? card.slider.value : 0;
    if (!goesOn) card.before = card.slider.value;
    card.break = null;
    this.playing = card;
    card.showPlaying(true);
    this.bands.move(name);
    const strengths = [];
    for (let step = 0; step <= PLAY_STEPS; step++) {
      const strength = step / PLAY_STEPS;
      if (strength >= start) strengths.push(strength);
    }
    for (const strength of [...strengths, card.before]) {
      card.slide(strength, true);
      if (!(await this.drawn(card))) return;
      const isBreak = strength > 0 && Math.abs(strength - this.bands.next(0)) < 1e-9;
      if (isBreak && !goesOn) {
        this.stop();
        card.break = this.standing(card);
        return;
      }
    }
    this.past.splice(goesOn ? -2 : -1); // nothing changed
    this.stop();
  }

  // Move all sliders together from 0 to where they are; switches stay.
  async playAll() {
    if (this.playing) return this.stop();
    const target = this.steps;
    const all = {
      showPlaying: (playing) => this.showPlaying(playing),
      rest: () => this.report(false),
    };
    this.remember();
    this.playing = all;
    all.showPlaying(true);
    for (let step = 0; step <= PLAY_ALL_STEPS; step++) {
      this.scale(target, step / PLAY_ALL_STEPS);
      if (!(await this.drawn(all))) return;
    }
    this.past.pop(); // nothing changed
    this.stop();
  }

  // Set the strengths to a share of those of `target`, as one held move.
  scale(target, share) {
    this.steps = target.map((step) => {
      if (!BY_NAME.get(step.name).graded) return step;
      return { ...step, strength: Number((step.strength * share).toFixed(6)) };
    });
    for (const step of this.steps) this.cards.get(step.name).place(step.strength);
    this.report(true);
    this.bands.draw();
    this.tools();
  }

  // Wait until the last move is drawn; whether `player` still plays then.
  async drawn(player) {
    const pause = new Promise((resolve) => setTimeout(resolve, EVERY));
    do {
      await nextFrame();
    } while (this.playing === player && this.busy);
    await pause;
    return this.playing === player;
  }

  showPlaying(playing) {
    const text = playing ? "Stop at these strengths" : "Play all from 0 to these strengths";
    this.replay.textContent = playing ? "Stop" : "Play";
    this.replay.title = text;
    this.replay.setAttribute("aria-label", text);
  }

  // What a slider that has stopped at a break goes on from: nothing else may have changed.
  standing(card) {
    return JSON.stringify([this.bands.key, this.past.length, card.slider.value]);
  }

  get busy() {
    return this.picture.running || this.answers.running || !this.sender.idle;
  }

  // Stop playing at the strengths on show.
  stop() {
    const player = this.playing;
    if (!player) return;
    this.playing = null;
    player.showPlaying(false);
    player.rest();
    this.tools();
  }

  report(held) {
    this.held = held;
    this.bands.cancel();
    if (held && PARTS.camera?.running) return; // the next frame uses these steps
    if (held && PARTS.pair && !this.cut) {
      this.picture.want();
      this.answers.want();
    } else {
      if (!held) this.settled = this.steps;
      const steps = this.steps;
      this.sender.offer((n) => this.set("stack", { n, held, steps }));
    }
    document.documentElement.toggleAttribute("data-rb-asking", true);
    PARTS.shown = null;
  }

  // --- display ---

  draw() {
    this.settled = this.steps;
    this.removeCards();
    if (!this.steps.some((step) => step.name === this.current)) {
      this.current = this.bands.of ?? this.steps[0]?.name;
    }
    this.steps.forEach((step, index) => {
      if (!this.cards.has(step.name)) this.cards.set(step.name, new Card(this, step));
      const card = this.cards.get(step.name);
      card.show(step);
      const present = this.list.children[index] ?? null;
      if (present !== card.root) this.list.insertBefore(card.root, present);
    });
    this.empty.hidden = this.steps.length > 0;
    for (const chip of this.study.children) {
      chip.setAttribute("aria-pressed", this.cards.has(chip.dataset.name));
    }
    this.tabs.replaceChildren(...this.steps.map((step) => this.tab(step.name)));
    this.tools();
  }

  // Remove the cards of perturbations that are no longer active.
  removeCards() {
    for (const [name, card] of this.cards) {
      if (this.steps.some((step) => step.name === name)) continue;
      card.root.remove();
      this.cards.delete(name);
    }
  }

  // On a phone: the button that shows the slider of a perturbation instead of the others'.
  tab(name) {
    const label = BY_NAME.get(name).label;
    const tab = button("rb-chip", label, `Show the slider of ${label}`, () => {
      this.current = name;
      this.draw();
    });
    tab.setAttribute("aria-pressed", name === this.current);
    return tab;
  }

  tools() {
    const active = this.steps.filter((step) => !step.hidden && step.strength > 0).length;
    const count = `${active} active`;
    if (this.count.textContent !== count) this.count.textContent = count;
    const isPlaying = this.replay.textContent === "Stop";
    this.replay.hidden = active < 2 && !isPlaying; // one alone has its own button
    this.clear.disabled = !this.steps.length;
    this.undo.disabled = !this.past.length;
    this.redo.disabled = !this.future.length;
  }
}

// One active perturbation.
class Card {
  constructor(stack, step) {
    const record = BY_NAME.get(step.name);
    const put = (values) => stack.put(step.name, values);
    this.stack = stack;
    this.root = make("li", "rb-step");
    this.root.dataset.name = step.name;
    this.value = make("span", "rb-value");
    this.eye = button("rb-icon", "", `Hide ${record.label}`, () =>
      put({ hidden: !stack.steps.find((one) => one.name === step.name).hidden }),
    );
    const cross = button("rb-icon", "✕", `Remove ${record.label}`, () => stack.toggle(step.name));
    const head = make("div", "rb-head");
    head.append(make("b", "", { textContent: record.label, title: record.about }), this.value);
    this.root.append(head);
    const buttons = make("div", "rb-buttons");
    if (record.graded) {
      this.slider = new Slider({
        label: record.label,
        marks: record.marks,
        value: step.strength,
        home: record.first,
        changed: (value, held) => {
          if (stack.playing) {
            stack.playing.showPlaying(false);
            stack.playing = null; // a hand on a slider takes over
          }
          this.slide(value, held);
        },
      });
      this.number = make("input", "rb-number", { type: "number", min: 0, max: 1, step: 0.01 });
      this.number.setAttribute("aria-label", `Strength of ${record.label}, 0 to 1`);
      this.number.addEventListener("change", () => {
        const value = Math.min(1, Math.max(0, Number(this.number.value) || 0));
        put({ strength: Number(value.toFixed(6)) });
      });
      this.play = button("rb-icon", "", "", () => stack.play(step.name));
      this.showPlaying(false);
      const row = make("div", "rb-row");
      row.append(this.play, this.slider.root, this.number);
      this.root.append(row);
      buttons.append(this.menu(record, put));
    }
    buttons.append(this.eye, cross);
    head.append(buttons);
  }

  slide(value, held) {
    this.place(value);
    this.stack.slide(this.root.dataset.name, value, held);
  }

  // Show a strength without a report; a switch has none.
  place(value) {
    if (!this.slider) return;
    this.slider.set(value);
    this.number.value = shortened(value);
  }

  rest() {
    this.slide(this.slider.value, false);
  }

  showPlaying(playing) {
    const { label } = BY_NAME.get(this.root.dataset.name);
    const text = playing ? `Stop ${label} at this strength` : `Play ${label} from 0 to 1`;
    this.play.textContent = playing ? "❚❚" : "▶";
    this.play.title = text;
    this.play.setAttribute("aria-label", text);
  }

  menu(record, put) {
    const menu = make("select", "rb-set");
    menu.setAttribute("aria-label", `Set ${record.label} to`);
    menu.append(new Option("set to", ""));
    for (const mark of record.marks) menu.append(new Option(mark.label, mark.value));
    menu.addEventListener("change", () => {
      if (menu.value) put({ strength: Number(menu.value) });
      menu.value = "";
    });
    menu.hidden = !record.marks.length;
    return menu;
  }

  show(step) {
    this.root.classList.toggle("rb-hidden", step.hidden);
    this.root.classList.toggle("rb-current", step.name === this.stack.current);
    this.eye.textContent = step.hidden ? "◌" : "◉";
    this.eye.setAttribute("aria-pressed", step.hidden);
    this.place(step.strength);
    if (step.text) this.say(step.text);
  }

  say(text) {
    this.value.textContent = text;
    this.slider?.say(text);
  }
}

function shortened(value) {
  return Number(value.toFixed(3));
}

function nextFrame() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

function typing(target) {
  return target.closest?.("input:not([type=range]), textarea, select, [contenteditable=true]");
}

function keys(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || typing(event.target)) return;
  const search = document.querySelector(".rb-search");
  if (!search) return;
  event.preventDefault();
  search.focus();
}

export default function ({ parentElement, data, setStateValue }) {
  if (!isNewest(data.drawing)) return;
  if (!parentElement.stack) parentElement.stack = new Stack(parentElement);
  PARTS.bands = parentElement.stack.bands;
  parentElement.stack.update(data, setStateValue);
  document.removeEventListener("keydown", parentElement.keys);
  parentElement.keys = keys;
  document.addEventListener("keydown", keys);
  window.removeEventListener("robustness-answered", parentElement.begin);
  parentElement.begin = () => parentElement.stack.begin();
  window.addEventListener("robustness-answered", parentElement.begin);
  parentElement.stack.bands.connect();
  return () => {
    parentElement.stack.bands.disconnect();
    document.removeEventListener("keydown", keys);
    window.removeEventListener("robustness-answered", parentElement.begin);
    document.documentElement.removeAttribute("data-rb-asking");
  };
}
