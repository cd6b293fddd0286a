// A film of one perturbation from strength 0 to 1; it plays and scrubs without requests.
// Independent of Streamlit; needs `slider.js` before it. All text is set as text.

const LONGEST = 8000; // milliseconds from the first frame to the last
const A_FRAME = 1000; // milliseconds per frame of a short film

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

// One model: its verdict, its top-5 classes and its feature similarity.
class FilmCard {
  constructor(model) {
    this.model = model;
    this.root = make("div", "rb-film-card");
    const head = make("div", "rb-film-head");
    this.dot = make("i", "rb-film-dot");
    this.dot.style.background = model.colour;
    this.badge = make("span", "rb-badge");
    head.append(this.dot, make("b", "", { textContent: model.label, title: model.label }), this.badge);
    const list = make("ol", "rb-film-top5");
    list.setAttribute("aria-label", `Top-5 classes of ${model.label}`);
    this.bars = model.frames[0].top5.map(() => {
      const bar = make("li", "rb-bar");
      bar.append(make("span"), make("span"));
      list.append(bar);
      return bar;
    });
    this.left = make("p", "rb-film-line");
    this.similar = make("p", "rb-film-line");
    this.root.append(head, list, this.left, this.similar);
  }

  show(at) {
    const { verdict, top5, left, cosine, euclidean } = this.model.frames[at];
    const [tone, sign, text] = verdict;
    this.badge.className = `rb-badge rb-${tone}`;
    this.badge.textContent = `${sign} ${text}`;
    top5.forEach(([place, share], index) => {
      const bar = this.bars[index];
      const name = this.model.classes[place];
      bar.classList.toggle("rb-original", place === 0);
      bar.style.setProperty("--share", percent(share));
      bar.title = name;
      bar.firstChild.textContent = name;
      bar.lastChild.textContent = percent(share);
    });
    this.left.textContent = `${this.model.classes[0]}: ${percent(left)}`;
    this.left.title = this.left.textContent;
    this.similar.textContent = `cosine ${cosine.toFixed(2)}, Euclidean ${euclidean.toFixed(2)}, rescaled`;
    this.similar.title = this.similar.textContent;
  }
}

// The feature similarity of every model over all frames, and the current position.
class FilmCurve {
  constructor(models) {
    const svg = (tag, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      return node;
    };
    this.last = models[0].frames.length - 1;
    const values = models.map((model) => model.frames.map((frame) => frame.cosine));
    const low = Math.min(0, ...values.flat());
    const height = (value) => (100 * (1 - value)) / (1 - low);
    const text = "Cosine similarity of the features, rescaled: 1 is identical";
    this.root = make("figure", "rb-film-curve");
    const drawing = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" });
    drawing.setAttribute("aria-label", `${text}; the cards have the values at this frame`);
    drawing.append(svg("line", { x1: 0, x2: 100, y1: height(0), y2: height(0), class: "rb-film-zero" }));
    values.forEach((line, index) => {
      const points = line.map((value, at) => `${(100 * at) / this.last},${height(value).toFixed(2)}`);
      drawing.append(svg("polyline", { points: points.join(" "), stroke: models[index].colour }));
    });
    this.cursor = svg("line", { y1: 0, y2: 100, class: "rb-film-cursor" });
    drawing.append(this.cursor);
    this.root.append(drawing, make("figcaption", "", { textContent: text, title: text }));
  }

  show(at) {
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, (100 * at) / this.last);
  }
}

class Film {
  // `pictures` are PNG bytes: the original, then one per frame.
  constructor(place, data, pictures, { autoplay = false } = {}) {
    this.data = data;
    this.at = -1;
    this.last = data.frames.length - 1;
    this.root = make("div", "rb-film", { tabIndex: -1 });
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", `Film: ${data.title}`);
    this.button = make("button", "rb-film-play", { type: "button", disabled: true });
    this.button.addEventListener("click", () => this.toggle());
    this.slider = new Slider({
      label: `Strength in the film: ${data.title}`,
      max: this.last,
      step: 1,
      marks: this.marks(),
      changed: (value) => {
        this.pause();
        this.show(this.reached(value));
      },
    });
    this.value = make("span", "rb-film-value");
    const controls = make("div", "rb-film-controls");
    controls.append(this.button, this.value, this.slider.root);
    const [before, after] = [
      this.figure(data.before, data.altBefore),
      this.figure("", data.altAfter),
    ];
    this.canvas = after.querySelector("canvas");
    this.caption = after.querySelector("figcaption");
    const stage = make("div", "rb-film-stage");
    this.curve = new FilmCurve(data.models);
    stage.append(before, after, this.curve.root);
    this.cards = data.models.map((model) => new FilmCard(model));
    const cards = make("div", "rb-film-cards");
    cards.append(...this.cards.map((card) => card.root));
    const body = make("div", "rb-film-body");
    body.append(stage, cards);
    this.root.append(controls, this.breaks(), body);
    if (data.note) this.root.append(make("p", "rb-film-note", { textContent: data.note }));
    place.replaceChildren(this.root);
    this.colour();
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.pause();
    this.show(0);
    this.ready = this.decode(pictures, before.querySelector("canvas"), autoplay);
  }

  figure(caption, alt) {
    const figure = make("figure");
    const canvas = make("canvas", "", { width: 224, height: 224 });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", alt);
    figure.append(canvas, make("figcaption", "", { textContent: caption }));
    return figure;
  }

  async decode(pictures, before, autoplay) {
    const [original, ...frames] = await Promise.all(pictures.map(decoded));
    this.images = frames;
    before.width = before.height = original.width;
    before.getContext("2d").drawImage(original, 0, 0);
    this.canvas.width = this.canvas.height = original.width;
    this.paint();
    this.button.disabled = false;
    this.root.dataset.ready = "";
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (autoplay && !calm) this.play();
  }

  // --- where predictions change ---

  marks() {
    return this.data.models
      .filter((model) => model.break !== null)
      .map((model) => ({
        value: model.break * this.last,
        label: `${model.label} ${model.breakText}`,
      }));
  }

  // Marks of the slider in the colours of the models.
  colour() {
    const broken = this.data.models.filter((model) => model.break !== null);
    [...this.slider.root.querySelectorAll(".rb-ticks > i")].forEach((tick, index) => {
      tick.style.background = broken[index].colour;
      tick.classList.add("rb-strong");
    });
  }

  // The same in words; a click moves the film there.
  breaks() {
    const list = make("ul", "rb-film-breaks");
    list.setAttribute("aria-label", "Where each prediction changes");
    for (const model of this.data.models) {
      const item = make("li");
      const dot = make("i", "rb-film-dot");
      dot.style.background = model.colour;
      const broken = model.break !== null;
      const node = make(broken ? "button" : "span", "", broken ? { type: "button" } : {});
      node.append(dot, make("b", "", { textContent: model.label }), ` ${model.breakText}`);
      if (broken) {
        node.addEventListener("click", () => {
          this.pause();
          this.show(this.reached(model.break * this.last));
        });
      }
      item.append(node);
      list.append(item);
    }
    return list;
  }

  // The first frame at or after a position between frames: its prediction has changed.
  reached(value) {
    return Math.min(this.last, Math.max(0, Math.ceil(value - 1e-6)));
  }

  // --- display ---

  show(at) {
    if (at !== this.at) {
      this.at = at;
      this.paint();
      for (const part of [...this.cards, this.curve]) part.show(at);
      const { strength, text, summary } = this.data.frames[at];
      const shown = `strength ${strength.toFixed(3)}, ${text}`;
      this.value.textContent = shown;
      this.caption.textContent = text;
      this.slider.say(`${shown}. ${summary}`);
      this.root.dataset.at = at;
    }
    this.slider.set(at);
  }

  paint() {
    if (this.images) this.canvas.getContext("2d").drawImage(this.images[Math.max(0, this.at)], 0, 0);
  }

  // --- time ---

  get playing() {
    return Boolean(this.running);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.button.disabled) return;
    clearTimeout(this.slider.resting); // its late report of the last key would pause the film
    if (this.at === this.last) this.show(0);
    const each = Math.min(LONGEST / this.last, A_FRAME);
    const from = this.at;
    let start = null;
    const step = (now) => {
      if (!this.root.isConnected) return this.pause();
      start ??= now;
      this.show(Math.min(this.last, from + Math.floor((now - start) / each)));
      if (this.at === this.last) return this.pause();
      this.running = requestAnimationFrame(step);
    };
    this.running = requestAnimationFrame(step);
    this.root.dataset.playing = "";
    this.button.textContent = "❚❚ Pause";
  }

  pause() {
    cancelAnimationFrame(this.running);
    this.running = null;
    delete this.root.dataset.playing;
    this.button.textContent = "▶ Play";
  }

  key(event) {
    const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
    const onSlider = event.target === this.slider.input;
    if (event.key === " " && event.target.tagName !== "BUTTON") this.toggle();
    else if (event.key in moves && !onSlider) {
      this.pause();
      this.show(Math.min(this.last, Math.max(0, this.at + moves[event.key])));
    } else return;
    event.preventDefault();
  }
}
