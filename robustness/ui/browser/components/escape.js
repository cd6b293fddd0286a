// Reports Escape to the page, unless an open element handles it.

export default function ({ parentElement, setTriggerValue }) {
  const pressed = (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) setTriggerValue("pressed", true);
  };
  document.removeEventListener("keydown", parentElement.pressed);
  parentElement.pressed = pressed;
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", parentElement.pressed);
}
