// Formulas, then the slides; what is taller than a slide is made smaller, down to half, and scrolls below that.
renderMathInElement(document.querySelector(".slides"), {
  delimiters: [
    { left: "$$", right: "$$", display: true },
    { left: "\\[", right: "\\]", display: true },
    { left: "$", right: "$", display: false },
    { left: "\\(", right: "\\)", display: false },
  ],
  throwOnError: false,
});
const WIDTH = 1280, HEIGHT = 720, SMALLEST = 0.5;
function fit() {
  const slide = Reveal.getCurrentSlide();
  const box = slide && slide.querySelector(":scope > .fit");
  if (!box || box.dataset.fitted) return;
  // what is too wide is made narrower, too: formulas (their MathML for screen readers has no size), and tables
  for (const wide of box.querySelectorAll(".katex-display .katex-html, table")) {
    const room = wide.matches("table") ? wide.parentElement : wide;
    for (let i = 0; i < 20 && wide.scrollWidth > room.clientWidth + 4; i++) {
      wide.style.fontSize = `${0.95 * parseFloat(getComputedStyle(wide).fontSize)}px`;
    }
  }
  const height = () => box.getBoundingClientRect().height / Reveal.getScale();
  let zoom = 1;
  box.style.zoom = zoom;
  while (height() > HEIGHT && zoom > SMALLEST) {
    zoom = Math.max(SMALLEST, zoom - 0.04);
    box.style.zoom = zoom;
  }
  if (height() > HEIGHT) Object.assign(slide.style, { maxHeight: HEIGHT + "px", overflowY: "auto" });
  box.dataset.fitted = zoom.toFixed(2);
}
Reveal.on("slidechanged", fit);
Reveal.initialize({
  width: WIDTH, height: HEIGHT, margin: 0.03, center: false, hash: true, slideNumber: "c/t",
  transition: "none", plugins: [RevealNotes],
}).then(() => document.fonts.ready).then(fit);
