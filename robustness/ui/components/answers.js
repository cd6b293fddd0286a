// The predictions: a card per model here, the headline and a row per model beside the images.
// The server made this HTML and escaped every text in it.

function fill(place, content) {
  if (place && place.rbContent !== content) {
    place.innerHTML = content;
    place.rbContent = content;
  }
}

// As `fill`, for the rows of the models: what stays the same is not drawn again, nor are the bands.
function fillRows(place, content) {
  if (!place || place.rbContent === content) return;
  const fresh = document.createElement("div");
  fresh.innerHTML = content;
  const parts = (root) => [...root.querySelectorAll(".rb-rows > li > *, .rb-remedy-name, .rb-key")];
  const before = place.rbContent ? parts(place) : [];
  const after = parts(fresh);
  const alike = (node, at) => node.classList[0] === before[at].classList[0];
  const slots = (root) => [...root.querySelectorAll(".rb-slot")].map((slot) => slot.dataset.model);
  if (after.length !== before.length || !after.every(alike) || `${slots(place)}` !== `${slots(fresh)}`) {
    place.replaceChildren(...fresh.childNodes);
  } else {
    after.forEach((node, at) => {
      if (node.classList.contains("rb-slot") || node.isEqualNode(before[at])) return;
      before[at].replaceWith(node);
    });
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
  if (data.note) window.dispatchEvent(new Event("robustness-answered"));
}

export default function ({ parentElement, data }) {
  // While this module loads, newer data may already be shown.
  if (!parentElement.isConnected || !isNewest(data.drawing)) return;
  PARTS.stillAnswers = () => show(parentElement, data);
  if (!PARTS.camera?.running) PARTS.stillAnswers();
}
