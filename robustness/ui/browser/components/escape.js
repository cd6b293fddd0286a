// Tells its page that Escape was pressed, unless something that is open takes it first.

export default function ({ parentElement, setTriggerValue }) {
  const pressed = (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) setTriggerValue("pressed", true);
  };
  document.removeEventListener("keydown", parentElement.pressed);
  parentElement.pressed = pressed;
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", parentElement.pressed);
}
