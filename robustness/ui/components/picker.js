// The search for a perturbation. `RECORDS` and `make` stand above.

const NAMES = RECORDS.map((record) => record.name);
const UNANSWERED = { names: [], no_match: "The server did not respond. Try again." };

// The search for a perturbation to add, each with a thumbnail of the current image.
class Picker {
  constructor(stack) {
    this.stack = stack;
    this.lit = -1; // index of the option that Enter chooses
    this.root = make("div", "rb-picker");
    this.search = make("input", "rb-search", {
      type: "search",
      placeholder: `Add: search ${RECORDS.length}, e.g. rain, jpg, night`,
      autocomplete: "off",
    });
    const aria = {
      role: "combobox",
      "aria-label": "Add a perturbation",
      "aria-controls": "rb-found",
      "aria-expanded": "false",
      "aria-autocomplete": "list",
    };
    for (const [name, value] of Object.entries(aria)) this.search.setAttribute(name, value);
    this.list = make("ul", "rb-found", { id: "rb-found", hidden: true, tabIndex: -1 });
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Perturbations found");
    this.options = new Map(
      RECORDS.map((record, index) => [record.name, this.option(record, index)]),
    );
    this.nothing = make("li", "rb-none");
    this.nothing.setAttribute("role", "option");
    this.nothing.setAttribute("aria-disabled", "true");
    this.list.append(this.nothing);
    this.root.append(this.search, this.list);
    this.search.addEventListener("focus", () => this.open());
    this.search.addEventListener("input", () => {
      this.lit = -1;
      this.open();
    });
    this.search.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("focusout", (event) => {
      if (!this.root.contains(event.relatedTarget)) this.close();
    });
    this.list.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse") event.preventDefault(); // keeps the focus in the search
    });
  }

  option(record, index) {
    const option = make("li", "rb-option", { id: `rb-add-${record.name}`, title: record.about });
    option.setAttribute("role", "option");
    const picture = make("i", "rb-thumb");
    picture.style.setProperty("--index", index);
    const text = make("span");
    text.append(
      make("b", "", { textContent: record.label }),
      make("small", "", { textContent: record.risk }),
    );
    option.append(picture, text);
    option.addEventListener("click", () => this.choose(record.name));
    return option;
  }

  update({ thumbs, picture }) {
    if (!thumbs) return;
    this.pictured = picture;
    this.list.style.setProperty("--thumbs", `url("${thumbs}")`);
  }

  get shown() {
    return [...this.list.querySelectorAll(".rb-option")];
  }

  open() {
    const { picture } = this.stack.data;
    if (this.list.hidden && this.pictured !== picture) this.stack.set("picking", picture);
    this.list.hidden = false;
    this.search.setAttribute("aria-expanded", "true");
    this.answered = this.show(this.search.value);
  }

  // The options that match `query`, best first; nothing if a newer query has been sent.
  async show(query) {
    const { names, no_match } = query.trim() ? await this.find(query) : { names: NAMES };
    if (query !== this.search.value || this.list.hidden) return;
    for (const option of this.options.values()) option.remove();
    this.nothing.before(...names.map((name) => this.options.get(name)));
    for (const [name, option] of this.options) {
      option.setAttribute("aria-selected", this.stack.cards.has(name));
    }
    this.nothing.hidden = names.length > 0;
    this.nothing.textContent = no_match ?? "";
    this.light(query ? 0 : this.lit);
  }

  // One search at a time, as the server refuses a third; outdated ones are skipped.
  find(query) {
    const next = () => (query === this.search.value ? this.ask(query) : UNANSWERED);
    this.asked = (this.asked ?? Promise.resolve()).then(next);
    return this.asked;
  }

  async ask(query) {
    const url = new URL(`live/${this.stack.data.ticket}/perturbations`, location.href);
    url.search = new URLSearchParams({ words: query });
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) }).catch(() => null);
    return response?.ok ? response.json().catch(() => UNANSWERED) : UNANSWERED;
  }

  close() {
    this.list.hidden = true;
    this.search.value = "";
    this.search.setAttribute("aria-expanded", "false");
    this.search.removeAttribute("aria-activedescendant");
  }

  // Mark the option that Enter chooses, and scroll to it; none for an index of -1.
  light(index) {
    const shown = this.shown;
    this.lit = Math.max(-1, Math.min(shown.length - 1, index));
    for (const option of shown) option.classList.remove("rb-lit");
    const option = shown[this.lit];
    if (!option) return;
    option.classList.add("rb-lit");
    this.search.setAttribute("aria-activedescendant", option.id);
    const { offsetTop: top, offsetHeight: height } = option;
    const list = this.list;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + height > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + height - list.clientHeight;
    }
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      this.light(this.lit + step);
    } else if (event.key === "Enter") {
      this.answered.then(() => this.shown[this.lit]?.click());
    } else if (event.key === "Escape" && !this.list.hidden) {
      this.search.blur();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  choose(name) {
    this.search.blur();
    this.close();
    if (!this.stack.cards.has(name)) this.stack.toggle(name);
    this.stack.focus(name);
  }
}
