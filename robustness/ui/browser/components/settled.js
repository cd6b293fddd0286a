// Has its part of the page drawn anew once the answers above it have settled on something else.

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
