// One slider as a component of a page.

export default function ({ parentElement, data, setStateValue }) {
  let mine = parentElement.mine;
  const shape = JSON.stringify([data.label, data.max, data.marks]);
  if (!mine || mine.shape !== shape) {
    parentElement.querySelector(".rb-one")?.remove();
    mine = parentElement.mine = { shape, sender: new Sender() };
    const head = make("div", "rb-one rb-head");
    mine.text = make("span", "rb-value");
    mine.slider = new Slider({
      ...data,
      changed: (value, held) => {
        mine.text.textContent = mine.texts?.[value] ?? "";
        mine.sender.offer((n) => mine.set("value", { n, value, held }));
      },
    });
    head.append(make("b", "", { textContent: data.label }), mine.text, mine.slider.root);
    parentElement.append(head);
  }
  mine.set = setStateValue;
  mine.texts = data.texts;
  mine.sender.answered(data.n);
  if (mine.sender.idle) mine.slider.set(data.value);
  const text = data.texts[mine.slider.value];
  mine.text.textContent = text;
  mine.slider.say(text);
}
