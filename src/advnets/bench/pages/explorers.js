// Common code of explorers: weights as `layers.py` wrote them, examples as pixels, training images.
"use strict";
const explorers = (() => {
  // --- Weights.
  function bytesOf(text) {
    const characters = atob(text);
    const bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return bytes;
  }
  function half(bits) {
    const [exponent, fraction] = [bits >> 10 & 31, bits & 1023];
    const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
    return bits >> 15 ? -size : size;
  }
  function decoded({ precision, data: text, scales, shape }) {
    const bytes = bytesOf(text);
    if (precision === "float32") return new Float32Array(bytes.buffer);
    if (precision === "float16") {
      const table = Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
      return Float32Array.from(new Uint16Array(bytes.buffer), (bits) => table[bits]);
    }
    const [numbers, rows] = [new Int8Array(bytes.buffer), new Float32Array(bytesOf(scales).buffer)];
    const length = shape[shape.length - 1];
    return Float32Array.from(numbers, (number, i) => number * rows[Math.floor(i / length)]);
  }

  // --- The prior of z: draws, the range of a component that a reader can choose, and what is nearest
  // to a vector in the support.
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const norm = (v) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
  function prior({ kind, size }) {
    const vector = (component) => Float32Array.from({ length: size }, component);
    const most = kind === "uniform" ? Math.sqrt(3) : kind === "normal" ? 3 : 1;
    const least = kind === "unit-cube" ? 0 : -most;
    const bounded = kind === "uniform" || kind === "unit-cube";
    function inSupport(z) {
      if (bounded) return z.map((x) => Math.min(most, Math.max(least, x)));
      if (kind === "spherical") { const length = norm(z) || 1; return z.map((x) => x / length); }
      return z;
    }
    const draw = () => bounded ? vector(() => least + (most - least) * Math.random())
      : inSupport(vector(normal));
    return { normal, norm, vector, least, most, inSupport, draw };
  }

  // Of the explorer in an element: `shape`, `gcn`, `largest` and `training` of its data; a sheet of
  // other images is like that of the training images.
  function of(root, data) {
    // --- Examples as pixels.
    const [height, width, channels = 1] = data.shape;
    const shown = (v) => {
      const part = data.gcn ? 0.5 + 0.5 * v / data.largest : v;
      return Math.round(255 * Math.min(1, Math.max(0, part)));
    };
    function paint(image, example, left = 0) {
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
        const to = 4 * (y * image.width + left + x);
        for (let c = 0; c < 3; c++) {
          image.data[to + c] = shown(example[(y * width + x) * channels + (channels === 3 ? c : 0)]);
        }
        image.data[to + 3] = 255;
      }
      return image;
    }
    function canvas(selector, columns = 1, gap = 0, rows = columns) {
      const made = root.querySelector(selector);
      [made.width, made.height] = [columns * (width + gap) - gap, rows * (height + gap) - gap];
      return made.getContext("2d", { willReadFrequently: true });
    }

    // --- Training images, preprocessed like G's examples.
    function normalised(image) {
      if (!data.gcn) return image.map((v) => v / 255);
      const mean = image.reduce((sum, v) => sum + v, 0) / image.length;
      const centred = image.map((v) => v - mean);
      const norm = Math.sqrt(centred.reduce((sum, v) => sum + v * v, 0));
      return centred.map((v) => 55 * v / (norm < 1e-8 ? 1 : norm));
    }
    async function readImages(from = data.training) {
      const picture = new Image();
      picture.src = from.picture;
      await picture.decode();
      const sheet = document.createElement("canvas");
      [sheet.width, sheet.height] = [picture.width, picture.height];
      const context = sheet.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
      context.drawImage(picture, 0, 0);
      const pixels = context.getImageData(0, 0, sheet.width, sheet.height).data;
      const columns = sheet.width / width;
      return Array.from({ length: from.count }, (_, n) => {
        const image = new Float32Array(height * width * channels);
        const [top, left] = [Math.floor(n / columns) * height, n % columns * width];
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < channels; c++) {
          image[(y * width + x) * channels + c] = pixels[4 * ((top + y) * sheet.width + left + x) + c];
        }
        return normalised(image);
      });
    }
    function nearest(images, example) {
      let [found, best] = [-1, Infinity];
      images.forEach((image, n) => {
        let squared = 0;
        for (let i = 0; i < image.length && squared < best; i++) squared += (image[i] - example[i]) ** 2;
        if (squared < best) [found, best] = [n, squared];
      });
      return [found, Math.sqrt(best)];
    }
    return { paint, canvas, readImages, nearest };
  }
  return { decoded, prior, of };
})();
