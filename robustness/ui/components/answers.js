// The predictions: a card per model here, the headline and a row per model beside the images.
// The server made this HTML and escaped every text in it.

function fill(place, content) {
  if (place && place.rbContent !== content) {
    place.innerHTML = content;
    place.rbContent = content;
  }
}

// The parts of the rows that are replaced one by one.
function rowParts(root) {
  return [...root.querySelectorAll(".rb-rows > li > *, .rb-remedy-name, .rb-key")];
}

// The models that have a slot for their band, in the order of the rows.
function modelsOf(root) {
  const slots = [...root.querySelectorAll(".rb-slot")];
  return slots.map((slot) => slot.dataset.model).join();
}

// Whether the rows differ at most in what their parts say.
function haveSameParts(place, fresh) {
  const oldParts = rowParts(place);
  const newParts = rowParts(fresh);
  if (newParts.length !== oldParts.length || modelsOf(place) !== modelsOf(fresh)) return false;
  return newParts.every((part, index) => part.classList[0] === oldParts[index].classList[0]);
}

// As `fill`, for the rows of the models: what stays the same is not drawn again, nor are the bands.
function fillRows(place, content) {
  if (!place || place.rbContent === content) return;
  const fresh = document.createElement("div");
  fresh.innerHTML = content;
  if (place.rbContent && haveSameParts(place, fresh)) {
    const oldParts = rowParts(place);
    rowParts(fresh).forEach((part, index) => {
      const isSlot = part.classList.contains("rb-slot"); // which holds a band
      if (!isSlot && !part.isEqualNode(oldParts[index])) oldParts[index].replaceWith(part);
    });
  } else {
    place.replaceChildren(...fresh.childNodes);
  }
  place.rbContent = content;
}

function show(parentElement, data) {
  let root = parentElement.querySelector(".rb-answers-all");
  if (!root) {
    root = document.createElement("div");
    root.className = "rb-answers-all";
    root.innerHTML =
      '<h2 class="rb-unseen">Predictions</h2><div class="rb-cards"></div><div class="rb-foot">' +
      '<label class="rb-more"><input type="checkbox">Top 5, with the original</label>' +
      '<p class="rb-note"></p></div>';
    parentElement.append(root);
  }
  const cards = root.querySelector(".rb-cards");
  const note = root.querySelector(".rb-note");
  while (cards.children.length > data.cards.length) cards.lastChild.remove();
  while (cards.children.length < data.cards.length) cards.append(document.createElement("div"));
  data.cards.forEach((card, index) => fill(cards.children[index], card));
  note.textContent = data.note;
  if (data.note) PARTS.complete = true; // bands wait for every prediction of the page
  const drawing = data.drawing ?? PARTS.drawing; // of a held slider: those of the images in sight
  PARTS.beside = (pair) => {
    if (pair?.drawing !== drawing) return; // of another request
    fill(pair.root.querySelector(".rb-top"), data.headline);
    fillRows(pair.root.querySelector(".rb-below"), data.rows);
    PARTS.bands?.place();
  };
  PARTS.answers = (newer) => show(parentElement, newer);
  PARTS.beside(PARTS.pair);
  if (!data.note) return;
  if (data.drawing) PARTS.answered = data.drawing;
  window.dispatchEvent(new Event("robustness-answered"));
}

export default function ({ parentElement, data }) {
  // While this module loads, newer data may already be shown.
  if (!parentElement.isConnected || !isNewest(data.drawing)) return;
  PARTS.stillAnswers = () => show(parentElement, data);
  if (!PARTS.camera?.running) PARTS.stillAnswers();
}
