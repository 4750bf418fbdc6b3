// A generator and its discriminator, layer by layer as `layers.py` wrote them, and controls for z.
"use strict";
(() => {
  const root = document.querySelector(".explorer");
  if (!root) return;
  const find = (selector) => root.querySelector(selector);
  const data = JSON.parse(find("script").textContent);
  const { decoded } = explorers;
  const { paint, canvas, readImages, nearest } = explorers.of(root, data);

  const { activations, player } = layers;
  const flat = (layers) => layers.flatMap((layer) => [layer, ...(layer.branches || []).flatMap(flat)]);
  // For a conditional model a one-hot class follows z, or the pixels.
  let chosen = 0;
  function joined(x, c) {
    if (!data.classes) return x;
    const whole = new Float32Array(x.length + data.classes);
    whole.set(x);
    whole[x.length + c] = 1;
    return whole;
  }
  const G = player(data.generator);
  const D = data.discriminator && player(data.discriminator);
  const generate = (z, c = chosen) => G(joined(z, c));
  const discriminate = D && ((x, c = chosen) => activations.sigmoid(D(joined(x, c))[0]));

  // --- Canvases for examples.
  const [height, width] = data.shape;
  const sample = canvas(".sample");
  const neighbour = data.training ? canvas(".nearest") : null;
  let images = null;

  // --- z: a draw at the centre of a plane along two directions.
  const { kind, size } = data.prior;
  const { normal, norm, vector, least, most, inSupport, draw } = explorers.prior(data.prior);
  const deviation = kind === "unit-cube" ? Math.sqrt(1 / 12) : 1;
  const reach = 0.9 * deviation * (kind === "spherical" ? 1 : Math.sqrt(size));
  function directions() {
    const first = vector(normal);
    const second = vector(normal);
    const part = first.reduce((sum, x, i) => sum + x * second[i], 0) / norm(first) ** 2;
    const across = size > 1 ? second.map((x, i) => x - part * first[i]) : second;
    return [first, across].map((v) => { const length = norm(v); return v.map((x) => reach * x / length); });
  }
  let [base, along, a, b] = [draw(), directions(), 0, 0];
  const point = (a, b) => inSupport(base.map((x, i) => x + a * along[0][i] + b * along[1][i]));
  let z = base;

  // --- The display.
  let verdictTimer = null;
  function show() {
    const example = generate(z);
    sample.putImageData(paint(sample.createImageData(width, height), example), 0, 0);
    clearTimeout(verdictTimer);
    verdictTimer = setTimeout(() => { judge(example); drawClasses(); }, 30);
    for (const { input, output, component } of sliders) {
      input.value = z[component];
      output.textContent = z[component].toFixed(2);
    }
  }
  function judge(example) {
    if (discriminate) {
      const verdict = discriminate(example);
      find(".verdict output").textContent = verdict.toFixed(3);
      find("meter").value = verdict;
    }
    if (images) {
      const [n, distance] = nearest(images, example);
      neighbour.putImageData(paint(neighbour.createImageData(width, height), images[n]), 0, 0);
      find(".distance").textContent = distance.toPrecision(3);
    }
  }

  // A button for each class, with its sample for the same z.
  const buttons = [...root.querySelectorAll(".classes button")];
  const thumbnails = buttons.map((_, c) => canvas(`.classes button:nth-child(${c + 1}) canvas`));
  function drawClasses() {
    thumbnails.forEach((place, c) => {
      place.putImageData(paint(place.createImageData(width, height), generate(z, c)), 0, 0);
    });
  }
  function choose(c) {
    chosen = c;
    buttons.forEach((button, own) => button.setAttribute("aria-pressed", own === c));
  }
  buttons.forEach((button, c) => button.addEventListener("click", () => { choose(c); move(a, b); drawPlane(); }));
  if (buttons.length) choose(0);

  // The plane: samples at its points, drawn a row at a time; the one in the middle is the draw.
  const weights = flat(data.generator).reduce((sum, { weight, kernel }) =>
    sum + (weight || kernel ? (weight || kernel).shape.reduce((n, m) => n * m, 1) : 0), 0);
  const cells = weights > 5e6 ? 5 : 7;
  const plane = find(".plane");
  const gap = Math.max(1, Math.floor(width / 14));
  const map = canvas(".plane canvas", cells, gap);
  const mark = plane.querySelector("span");
  const middle = (cells - 1) / 2;
  let planeTimer = null;
  function drawPlane(row = 0) {
    clearTimeout(planeTimer);
    const image = map.createImageData(map.canvas.width, height);
    for (let column = 0; column < cells; column++) {
      const example = generate(point((column - middle) / middle, (row - middle) / middle));
      paint(image, example, column * (width + gap));
    }
    map.putImageData(image, 0, row * (height + gap));
    if (row + 1 < cells) planeTimer = setTimeout(drawPlane, 0, row + 1);
  }
  function move(newA, newB) {
    [a, b] = [newA, newB].map((v) => Math.min(1, Math.max(-1, v)));
    mark.style.left = `${100 * (middle + 0.5 + a * middle) / cells}%`;
    mark.style.top = `${100 * (middle + 0.5 + b * middle) / cells}%`;
    z = point(a, b);
    show();
  }
  function centre(newBase, wait = 0) {
    base = newBase;
    move(0, 0);
    clearTimeout(planeTimer);
    planeTimer = setTimeout(drawPlane, wait);
  }
  let [frame, wanted] = [null, null];
  function dragged(event) {
    const box = plane.getBoundingClientRect();
    wanted = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((part) => (part * cells - 0.5 - middle) / middle);
    frame ??= requestAnimationFrame(() => { frame = null; move(...wanted); });
  }
  plane.addEventListener("pointerdown", (event) => {
    plane.setPointerCapture(event.pointerId);
    dragged(event);
  });
  plane.addEventListener("pointermove", (event) => { if (event.buttons) dragged(event); });
  plane.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (!(event.key in step)) return;
    event.preventDefault();
    move(a + step[event.key][0], b + step[event.key][1]);
  });

  // Sliders: for the components with the largest weights in the first layer; for all on request.
  const sliders = [];
  function slider(component, place) {
    const label = document.createElement("label");
    const [input, output] = [document.createElement("input"), document.createElement("output")];
    Object.assign(input, { type: "range", min: least, max: most, step: 0.01 });
    label.append(`z${component + 1}`, input, output);
    place.append(label);
    input.addEventListener("input", () => {
      const moved = z.slice();
      moved[component] = input.value;
      centre(inSupport(moved), 150);
    });
    sliders.push({ input, output, component });
  }
  function byWeight() {
    const first = flat(data.generator).find(({ kind }) => kind === "dense");
    const sums = new Float64Array(size);
    const inputs = first && first.weight.shape[1];  // those of z, then perhaps a class
    if (first) decoded(first.weight).forEach((w, i) => { if (i % inputs < size) sums[i % inputs] += w * w; });
    return [...sums.keys()].sort((i, j) => sums[j] - sums[i]);
  }
  byWeight().slice(0, 8).forEach((component) => slider(component, find(".components")));
  find("details").addEventListener("toggle", () => {
    for (let c = 0; c < size; c++) slider(c, find(".all"));
    show();
  }, { once: true });
  find(".draw").addEventListener("click", () => centre(draw()));
  find(".turn").addEventListener("click", () => { along = directions(); centre(z); });

  const kept = "advnets " + location.pathname;
  if (document.getElementById("refresh")) {  // the page reloads: restore its state
    try {
      const stored = JSON.parse(sessionStorage.getItem(kept));
      if (stored && stored.base.length === size) {
        [base, along] = [Float32Array.from(stored.base), stored.along.map((v) => Float32Array.from(v))];
        [a, b] = [stored.a, stored.b];
        if (stored.chosen < buttons.length) choose(stored.chosen);
      }
      window.addEventListener("pagehide", () => sessionStorage.setItem(kept, JSON.stringify(
        { base: [...base], along: along.map((v) => [...v]), a, b, chosen })));
    } catch { /* the browser stores nothing for pages opened from files */ }
  }
  move(a, b);
  drawPlane();
  const ready = data.training ? readImages().then((read) => {
    images = read;
    show();
  }) : Promise.resolve();
  // For a console: the functions of the page.
  window.latent = { generate, discriminate, decoded, nearest: (x) => nearest(images, x), show: centre, draw, ready };
})();
