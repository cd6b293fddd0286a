// Four steps for a first visit: a card explains a part of the page and highlights it.

const STEPS = [
  [".st-key-gallery", "Choose an image, or upload a photo."],
  [".rb-chips, .rb-picker", "Add a perturbation: pick one, or search, such as rain or night."],
  [".rb-slider", "Drag the slider: image and predictions follow."],
  [".rb-below", "Each model's prediction: correct or incorrect, changed or not. Stories show examples."],
];
const DONE = "robustness tour done";

class Tour {
  constructor(parent) {
    this.at = 0;
    this.root = make("section", "rb-tour", { hidden: true });
    this.root.setAttribute("aria-label", "Tour");
    this.text = make("p", "");
    this.text.setAttribute("role", "status");
    this.back = make("button", "", { type: "button", textContent: "Back" });
    this.next = make("button", "", { type: "button" });
    this.skip = make("button", "rb-link", { type: "button", textContent: "Skip the tour" });
    this.back.addEventListener("click", () => this.go(this.at - 1));
    this.next.addEventListener("click", () => this.go(this.at + 1));
    this.skip.addEventListener("click", () => this.end());
    const row = make("div", "rb-tools");
    row.append(this.skip, this.back, this.next);
    this.root.append(this.text, row);
    parent.append(this.root);
  }

  go(at) {
    if (at >= STEPS.length) return this.end();
    this.at = at;
    this.root.hidden = false;
    const [where, text] = STEPS[at];
    this.unmark();
    const target = [...document.querySelectorAll(where)].find((node) => node.offsetParent);
    target?.classList.add("rb-toured");
    this.text.textContent = `${at + 1} of ${STEPS.length}. ${text}`;
    this.back.hidden = at === 0;
    this.next.textContent = at + 1 < STEPS.length ? "Next" : "Done";
    this.skip.hidden = at + 1 === STEPS.length;
  }

  unmark() {
    for (const node of document.querySelectorAll(".rb-toured")) node.classList.remove("rb-toured");
  }

  end() {
    this.unmark();
    this.root.hidden = true;
    try {
      localStorage.setItem(DONE, "1");
    } catch {
      // without storage the tour is shown again
    }
  }

  get done() {
    try {
      return localStorage.getItem(DONE) !== null;
    } catch {
      return false;
    }
  }
}

export default function ({ parentElement, data }) {
  const tour = (parentElement.tour ??= new Tour(parentElement));
  if (data.asked !== (tour.asked ?? 0)) {
    tour.asked = data.asked;
    tour.go(0);
  } else if (data.first && !tour.seen && !tour.done) tour.go(0);
  tour.seen = true;
  return () => tour.unmark();
}
