// In Present mode the arrow keys lead from story to story, unless a control has the focus.

export default function ({ data }) {
  function follow(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const busy = event.target.closest?.("input, textarea, select, [role=button], [role=radiogroup]");
    if (!step || busy || event.ctrlKey || event.metaKey || event.altKey) return;
    const links = [...document.querySelectorAll(".st-key-story-strip a")];
    const at = links.findIndex((link) => new URL(link.href).searchParams.get("story") === data.story);
    const next = at < 0 && step < 0 ? links.length - 1 : at + step;
    links[(next + links.length) % links.length]?.click();
    event.preventDefault();
  }
  document.addEventListener("keydown", follow);
  document.documentElement.dataset.rbStory = data.story; // the keys work now
  return () => document.removeEventListener("keydown", follow);
}
