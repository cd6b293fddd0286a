// Present mode: what controls it fades while the pointer rests, and the arrow keys lead from story to
// story, unless a control has the focus.

const REST = 2500; // milliseconds without a move of the pointer

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
    const busy = event.target.closest?.("input, textarea, select, [role=button], [role=radiogroup]");
    const links = [...document.querySelectorAll(".st-key-story-strip a")];
    if (!step || busy || event.ctrlKey || event.metaKey || event.altKey || !links.length) return;
    const at = links.findIndex((link) => new URL(link.href).searchParams.get("story") === data.story);
    const next = at < 0 && step < 0 ? links.length - 1 : at + step;
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
