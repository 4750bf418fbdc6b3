// The Markov chain of a deep GSN, step by step, with the weights that `chain.py` wrote.
"use strict";
(() => {
  const root = document.querySelector(".chain");
  if (!root) return;
  const find = (selector) => root.querySelector(selector);
  const data = JSON.parse(find("script").textContent);
  const { paint, canvas, readImages, nearest } = explorers.of(root, data);

  // --- The chain: pure functions of its state and of its random draws.
  const [weight1, weight2, bias0, bias1, bias2] = ["weight1", "weight2", "bias0", "bias1", "bias2"]
    .map((name) => explorers.decoded(data[name]));
  const { salt_and_pepper: rate, noise } = data;
  // Units x to the layer above, as x W; and down again, as y Wᵀ.
  function up(x, weight, units) {
    const sums = new Float64Array(units);
    for (let i = 0; i < x.length; i++) {
      if (x[i] === 0) continue;
      for (let o = 0; o < units; o++) sums[o] += x[i] * weight[i * units + o];
    }
    return sums;
  }
  function down(y, weight, units) {
    return Float64Array.from({ length: units }, (_, i) => {
      let sum = 0;
      for (let o = 0; o < y.length; o++) sum += y[o] * weight[i * y.length + o];
      return sum;
    });
  }
  const corrupted = (image, uniform) =>
    Float64Array.from(image, (v, i) => uniform[i] < rate ? +(uniform[i] < rate / 2) : v);
  function start(image, uniform) {
    const pixels = corrupted(image, uniform);
    return { pixels, top: new Float64Array(bias2.length), means: Float64Array.from(image) };
  }
  function step({ pixels, top }, { uniform, before, after }) {
    const above = down(top, weight2, bias1.length);
    const lower = up(pixels, weight1, bias1.length)
      .map((sum, l) => Math.tanh(sum + above[l] + bias1[l]));
    const means = down(lower, weight1, bias0.length)
      .map((sum, i) => 1 / (1 + Math.exp(-sum - bias0[i])));
    return {
      means,
      pixels: means.map((p, i) => +(uniform[i] < (1 - rate) * p + rate / 2)),
      top: up(lower, weight2, bias2.length)
        .map((sum, u) => Math.tanh(sum + bias2[u] + noise * before[u]) + noise * after[u]),
    };
  }
  const vector = (length, component) => Float64Array.from({ length }, component);
  const normal = () =>
    Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const draws = () => ({
    uniform: vector(bias0.length, Math.random),
    before: vector(bias2.length, normal),
    after: vector(bias2.length, normal),
  });

  // --- The display.
  const [height, width] = data.shape;
  const [columns, rows] = [20, 3];
  const gap = Math.max(1, Math.floor(width / 14));
  const [seen, mean] = [canvas(".seen"), canvas(".mean")];
  const strip = canvas(".strip", columns, gap, rows);
  const neighbour = data.training ? canvas(".nearest") : null;
  const held = find(".hold");
  const draw = (context, example) =>
    context.putImageData(paint(context.createImageData(width, height), example), 0, 0);
  let [images, state, origin, steps, past, timer] = [null, null, null, 0, [], null];
  function show() {
    draw(seen, state.pixels);
    draw(mean, state.means);
    find(".steps").textContent = steps === 1 ? "1 step" : `${steps} steps`;
    past = [...past, state.means].slice(-columns * rows);
    strip.clearRect(0, 0, strip.canvas.width, strip.canvas.height);
    past.forEach((example, n) => {
      const image = paint(strip.createImageData(width, height), example);
      strip.putImageData(image, n % columns * (width + gap), Math.floor(n / columns) * (height + gap));
    });
    if (images) {
      const [n, distance] = nearest(images, state.means);
      draw(neighbour, images[n]);
      find(".distance").textContent = distance.toPrecision(3);
    }
  }
  const size = bias0.length / height;  // numbers in a row of pixels
  const left = Math.floor(width / 2) * (size / width);
  // If the left half is held, it stays that of the starting image.
  const kept = (numbers, image) => held.checked
    ? numbers.map((v, i) => i % size < left ? image[i] : v) : numbers;
  function move() {
    const next = step(state, draws());
    // The network sees held pixels as in training: newly corrupted each time.
    const noisy = corrupted(origin, vector(bias0.length, Math.random));
    state = { ...next, pixels: kept(next.pixels, noisy), means: kept(next.means, origin) };
    steps += 1;
    show();
  }
  function begin() {
    origin = images ? images[Math.floor(images.length * Math.random())]
      : vector(bias0.length, () => +(Math.random() < 0.5));
    state = start(origin, draws().uniform);
    [steps, past] = [0, []];
    show();
  }
  function run(going) {
    clearInterval(timer);
    timer = going ? setInterval(move, 150) : null;
    find(".run").textContent = going ? "Pause" : "Run";
  }
  find(".step").addEventListener("click", () => { run(false); move(); });
  find(".run").addEventListener("click", () => run(timer === null));
  find(".begin").addEventListener("click", begin);
  held.addEventListener("change", begin);
  const ready = (data.training ? readImages() : Promise.resolve(null)).then((read) => {
    images = read;
    begin();
  });
  // For a console: the functions of the page.
  window.chain = { start, step, draws, ready };
})();
