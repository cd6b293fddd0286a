// Remedies to choose from, each as a thumbnail of the current image with the predictions.

export default function ({ parentElement, data, setStateValue }) {
  let root = parentElement.querySelector(".rb-remedies");
  if (!root) {
    root = make("div", "rb-remedies");
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", "Remedies");
    parentElement.append(root);
  }
  parentElement.clicks ??= 0;
  const focused = root.contains(document.activeElement) && document.activeElement.dataset.id;
  root.replaceChildren(
    ...data.cards.map((card) => {
      const node = make("button", "rb-remedy", { type: "button" });
      node.dataset.id = card.id;
      node.setAttribute("aria-pressed", card.id === data.chosen);
      node.append(make("img", "", { src: card.image, alt: "" }), make("b", "", { textContent: card.label }));
      for (const line of card.lines) {
        const text = make("span", "rb-line");
        if (line.model) text.append(make("span", "rb-muted", { textContent: `${line.model}: ` }));
        text.append(make("span", line.tone ? `rb-${line.tone}` : "", { textContent: line.text }));
        node.append(text);
      }
      node.addEventListener("click", () => {
        setStateValue("chosen", { n: ++parentElement.clicks, remedy: card.id });
      });
      return node;
    }),
  );
  if (focused) root.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}
