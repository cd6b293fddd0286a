// The search for a perturbation. `RECORDS` and `make` stand above.

function words(text) {
  return text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);
}

// Whether every word of the query begins some word that the record is found by.
function found(record, query) {
  const known = words(record.search);
  return words(query).every((word) => known.some((other) => other.startsWith(word)));
}

// The search for a perturbation to add, each with the current picture under it.
class Picker {
  constructor(stack) {
    this.stack = stack;
    this.at = -1;
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
    this.options = RECORDS.map((record, index) => this.option(record, index));
    this.nothing = make("li", "rb-none", { textContent: "Nothing is called so." });
    this.nothing.setAttribute("role", "option");
    this.nothing.setAttribute("aria-disabled", "true");
    this.list.append(...this.options, this.nothing);
    this.root.append(this.search, this.list);
    this.search.addEventListener("focus", () => this.open());
    this.search.addEventListener("input", () => {
      this.at = -1;
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

  update({ thumbs }) {
    if (thumbs) this.list.style.setProperty("--thumbs", `url("data:image/jpeg;base64,${thumbs}")`);
  }

  get shown() {
    return this.options.filter((option) => !option.hidden);
  }

  open() {
    if (!this.asked || this.list.hidden) {
      this.asked = true;
      this.stack.set("picking", this.stack.data.picture);
    }
    RECORDS.forEach((record, index) => {
      this.options[index].hidden = !found(record, this.search.value);
      this.options[index].setAttribute("aria-selected", this.stack.cards.has(record.name));
    });
    this.nothing.hidden = this.shown.length > 0;
    this.list.hidden = false;
    this.search.setAttribute("aria-expanded", "true");
    this.light(this.search.value ? 0 : this.at);
  }

  close() {
    this.list.hidden = true;
    this.search.value = "";
    this.search.setAttribute("aria-expanded", "false");
    this.search.removeAttribute("aria-activedescendant");
  }

  light(at) {
    const shown = this.shown;
    this.at = Math.max(-1, Math.min(shown.length - 1, at));
    for (const option of this.options) option.classList.remove("rb-lit");
    const lit = shown[this.at];
    if (!lit) return;
    lit.classList.add("rb-lit");
    this.search.setAttribute("aria-activedescendant", lit.id);
    const { offsetTop: top, offsetHeight: height } = lit;
    const list = this.list;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + height > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + height - list.clientHeight;
    }
  }

  key(event) {
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) this.light(this.at + moves[event.key]);
    else if (event.key === "Enter" && this.shown[this.at]) {
      this.choose(this.shown[this.at].id.replace("rb-add-", ""));
    } else if (event.key === "Escape" && !this.list.hidden) this.search.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  choose(name) {
    this.search.blur();
    this.close();
    if (!this.stack.cards.has(name)) this.stack.toggle(name);
  }
}
