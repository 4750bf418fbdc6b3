// A network that fills in: the reader paints a mask on a test image, and G draws the missing part.
"use strict";
(() => {
  const root = document.querySelector(".painter");
  if (!root) return;
  const find = (selector) => root.querySelector(selector);
  const data = JSON.parse(find("script").textContent);
  const { paint, canvas, readImages } = explorers.of(root, data);
  const generate = layers.player(data.filler);
  const [height, width, channels = 1] = data.shape;
  const pixels = height * width;

  // --- The model: pure functions of an image, a mask (1 where observed) and z.
  const wide = (mask) => Float32Array.from({ length: pixels * channels },
    (_, i) => mask[Math.floor(i / channels)]);
  function fill(image, mask, z) {
    const seen = wide(mask);
    const made = generate([...z, ...image.map((v, i) => seen[i] ? v : 0), ...seen]);
    return made.map((v, i) => seen[i] ? image[i] : v);
  }
  const { draw } = explorers.prior(data.prior);
  // What is missing, by the names of the buttons.
  const chance = () => Float32Array.from({ length: pixels }, () => +(Math.random() < 0.5));
  const observedIf = (shown) => () => Float32Array.from({ length: pixels },
    (_, i) => +shown(Math.floor(i / width), i % width));
  const [top, left] = [Math.floor(height / 4), Math.floor(width / 4)];
  const [high, broad] = [Math.floor(height / 2), Math.floor(width / 2)];
  const regions = {
    right: observedIf((y, x) => x < broad),
    left: observedIf((y, x) => x >= broad),
    lower: observedIf((y) => y < high),
    upper: observedIf((y) => y >= high),
    centre: observedIf((y, x) => y < top || y >= top + high || x < left || x >= left + broad),
    random: chance,
    all: observedIf(() => false),
    none: observedIf(() => true),
  };

  // --- The display.
  const [columns, rows] = [5, 2];
  const gap = Math.max(1, Math.floor(width / 14));
  const [board, mean, truth] = [canvas(".board canvas"), canvas(".mean"), canvas(".truth")];
  const grid = canvas(".fillings", columns, gap, rows);
  let [images, number, mask, latents, timer] = [[], 0, regions.right(), [], null];
  const show = (context, example) =>
    context.putImageData(paint(context.createImageData(width, height), example), 0, 0);
  function showMask() {
    const picture = paint(board.createImageData(width, height), images[number]);
    mask.forEach((seen, i) => {
      // Missing pixels are orange, which no image has.
      if (!seen) picture.data.set([214, 132, 40, 255], 4 * i);
    });
    board.putImageData(picture, 0, 0);
    const missing = pixels - mask.reduce((sum, seen) => sum + seen, 0);
    find(".missing").textContent = `${missing} of ${pixels} pixels are missing`;
  }
  function showFillings(n = 0, sum = new Float64Array(pixels * channels)) {
    clearTimeout(timer);
    const filling = fill(images[number], mask, latents[n]);
    const picture = paint(grid.createImageData(width, height), filling);
    grid.putImageData(picture, n % columns * (width + gap), Math.floor(n / columns) * (height + gap));
    filling.forEach((v, i) => { sum[i] += v; });
    if (n + 1 < latents.length) timer = setTimeout(showFillings, 0, n + 1, sum);
    else show(mean, sum.map((v) => v / latents.length));
  }
  function changed(wait = 0) {
    showMask();
    show(truth, images[number]);
    clearTimeout(timer);
    timer = setTimeout(showFillings, wait);
  }
  function redraw() {
    latents = Array.from({ length: columns * rows }, draw);
    changed();
  }
  function choose(next) {
    number = (next + images.length) % images.length;
    changed();
  }

  // --- Painting with a round brush, which hides or shows.
  const place = find(".board");
  function brushed(event) {
    const box = place.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    const y = (event.clientY - box.top) / box.height * height;
    const radius = find(".brush").value / 28 * width;
    const value = +find("input[value=show]").checked;
    for (let i = 0; i < pixels; i++) {
      const away = (i % width + 0.5 - x) ** 2 + (Math.floor(i / width) + 0.5 - y) ** 2;
      if (away <= radius ** 2) mask[i] = value;
    }
    changed(30);
  }
  place.addEventListener("pointerdown", (event) => {
    place.setPointerCapture(event.pointerId);
    brushed(event);
  });
  place.addEventListener("pointermove", (event) => { if (event.buttons) brushed(event); });
  root.querySelectorAll("[data-region]").forEach((button) => button.addEventListener("click", () => {
    mask = regions[button.dataset.region]();
    changed();
  }));
  find(".next").addEventListener("click", () => choose(number + 1));
  find(".before").addEventListener("click", () => choose(number - 1));
  find(".draw").addEventListener("click", redraw);
  const ready = readImages(data.images).then((read) => {
    images = read;
    redraw();
  });
  // For a console: the functions of the page.
  window.painter = { fill, draw, regions, ready, images: () => images, mask: () => mask };
})();
