// The page is whole without this. With it, a condition's name shows its lines alone.
(function () {
  const chips = [...document.querySelectorAll(".chips li[data-colour]")];
  const colours = chips.map((chip) => chip.dataset.colour);
  const strokes = [...document.querySelectorAll(".by-condition svg [style]")]
    .map((mark) => [mark, colours.find((colour) => mark.getAttribute("style").includes(colour))])
    .filter(([, colour]) => colour);
  let chosen = null;
  const show = (colour) =>
    strokes.forEach(([mark, own]) => mark.classList.toggle("faded", colour !== null && own !== colour));
  for (const chip of chips) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(...chip.childNodes);
    chip.append(button);
    button.addEventListener("mouseenter", () => show(chip.dataset.colour));
    button.addEventListener("mouseleave", () => show(chosen));
    button.addEventListener("click", () => {
      chosen = chosen === chip.dataset.colour ? null : chip.dataset.colour;
      for (const other of chips) {
        other.firstChild.setAttribute("aria-pressed", String(other.dataset.colour === chosen));
      }
      show(chosen);
    });
  }
})();
