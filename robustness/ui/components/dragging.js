// Marks the page while a file is dragged over it: the style then shows where to drop it.

function isOverPage(isOver) {
  document.documentElement.classList.toggle("rb-dragging", isOver);
}

addEventListener("dragenter", (event) => {
  if (event.dataTransfer?.types.includes("Files")) isOverPage(true);
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) isOverPage(false); // it has left the window
});
addEventListener("drop", () => isOverPage(false), true);
