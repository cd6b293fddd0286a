// Present mode: what controls it fades while the pointer rests, and the arrow keys lead from story to
// story, unless a control has the focus.

const REST = 2500; // milliseconds without a move of the pointer
const CONTROLS = "input, textarea, select, [role=button], [role=radiogroup]";

export default function ({ data }) {
  const page = document.documentElement;
  let timer = null;

  function wake() {
    page.dataset.rbAwake = "";
    clearTimeout(timer);
    timer = setTimeout(() => delete page.dataset.rbAwake, REST);
  }

  function follow(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.(CONTROLS)) return;
    const links = [...document.querySelectorAll(".st-key-story-strip a")];
    if (!links.length) return;
    const storyOf = (link) => new URL(link.href).searchParams.get("story");
    const current = links.findIndex((link) => storyOf(link) === data.story);
    let next = current + step;
    if (current < 0 && step < 0) next = links.length - 1; // without a story: back to the last
    links[(next + links.length) % links.length].click();
    event.preventDefault();
  }

  document.addEventListener("pointermove", wake);
  document.addEventListener("keydown", follow);
  wake(); // at first they are in sight
  page.dataset.rbStory = data.story; // the keys work now
  return () => {
    clearTimeout(timer);
    delete page.dataset.rbAwake;
    document.removeEventListener("pointermove", wake);
    document.removeEventListener("keydown", follow);
  };
}
