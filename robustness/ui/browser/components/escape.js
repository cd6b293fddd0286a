// Reports Escape to the page once, unless an open element handles it: each report begins it anew.

export default function ({ parentElement, setTriggerValue }) {
  const pressed = (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    document.removeEventListener("keydown", pressed);
    setTriggerValue("pressed", true);
  };
  document.removeEventListener("keydown", parentElement.pressed);
  parentElement.pressed = pressed;
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", parentElement.pressed);
}
