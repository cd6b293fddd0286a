// Redraws its fragment once the predictions have settled on another state.

export default function ({ parentElement, data, setTriggerValue }) {
  let asked = null;
  const compare = () => {
    const shown = PARTS.shown;
    const old = Boolean(shown) && shown !== data.shown;
    if (old && asked !== shown) {
      asked = shown;
      setTriggerValue("settled", shown);
    }
  };
  window.removeEventListener("robustness-settled", parentElement.compare);
  parentElement.compare = compare;
  window.addEventListener("robustness-settled", compare);
  compare();
  return () => window.removeEventListener("robustness-settled", parentElement.compare);
}
