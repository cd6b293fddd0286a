// The predictions: a card per model here, the headline and the verdicts beside the images.
// The server made this HTML and escaped every text in it.

function fill(place, content) {
  if (place && place.rbContent !== content) {
    place.innerHTML = content;
    place.rbContent = content;
  }
}

function show(parentElement, data) {
  let root = parentElement.querySelector(".rb-answers-all");
  if (!root) {
    root = document.createElement("div");
    root.className = "rb-answers-all";
    root.innerHTML =
      '<h2 class="rb-unseen">Answers</h2><div class="rb-cards"></div><p class="rb-note"></p>';
    parentElement.append(root);
  }
  const [, cards, note] = root.children;
  while (cards.children.length > data.cards.length) cards.lastChild.remove();
  while (cards.children.length < data.cards.length) cards.append(document.createElement("div"));
  data.cards.forEach((card, index) => fill(cards.children[index], card));
  note.textContent = data.note;
  const beside = () => {
    if (!parentElement.isConnected) return true; // replaced in the meantime
    const pair = document.querySelector(".rb-pair");
    fill(pair?.querySelector(".rb-top"), data.headline);
    fill(pair?.querySelector(".rb-below"), data.verdicts);
    return pair;
  };
  PARTS.answers = (newer) => show(parentElement, newer);
  if (!beside()) window.addEventListener("robustness-pair", beside, { once: true });
}

export default function ({ parentElement, data }) {
  // While this module loads, newer data may already be shown.
  if (!parentElement.isConnected) return;
  PARTS.stillAnswers = () => show(parentElement, data);
  if (!PARTS.camera?.running) PARTS.stillAnswers();
}
