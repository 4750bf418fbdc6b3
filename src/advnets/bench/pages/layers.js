// Players in a browser: layer by layer as `layers.py` wrote them.
"use strict";
const layers = (() => {
  const { decoded } = explorers;

  // --- Layers: functions from an array of numbers to another; images have channels last.
  const activations = {
    relu: (x) => x > 0 ? x : 0,
    sigmoid: (x) => 1 / (1 + Math.exp(-x)),
    tanh: Math.tanh,
    leaky_relu: (x) => x > 0 ? x : 0.01 * x,
    softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  };
  const kinds = {
    activation({ function: name }) {
      return (x) => x.map(activations[name]);
    },
    dense({ weight, bias }) {
      const [w, b] = [decoded(weight), decoded(bias)];
      return (x) => affine(w, b, x);
    },
    maxout({ weight, bias }) {
      const [w, b] = [decoded(weight), decoded(bias)];
      const [pieces, units] = bias.shape;
      return (x) => largest(affine(w, b, x), pieces, units);
    },
    deconvolution({ kernel, bias, in_shape, out_shape, stride }) {
      const [w, b] = [decoded(kernel), decoded(bias)];
      const [size, , channels, inputs] = kernel.shape;
      const [rows, columns] = in_shape;
      const width = out_shape[1];
      return (x) => {
        const out = new Float32Array(out_shape[0] * width * channels);
        for (let p = 0; p < rows; p++) for (let q = 0; q < columns; q++) {
          const from = (p * columns + q) * inputs;
          for (let a = 0; a < size; a++) for (let c = 0; c < size; c++) {
            const to = ((p * stride + a) * width + q * stride + c) * channels;
            for (let o = 0; o < channels; o++) {
              const at = ((a * size + c) * channels + o) * inputs;
              let sum = 0;
              for (let i = 0; i < inputs; i++) sum += w[at + i] * x[from + i];
              out[to + o] += sum;
            }
          }
        }
        for (let i = 0; i < out.length; i++) out[i] += b[i % b.length];
        return out;
      };
    },
    maxout_convolution({ kernel, bias, in_shape, out_shape, pieces, padding, pool_size, pool_stride }) {
      const [w, b] = [decoded(kernel), decoded(bias)];
      const [size, , , filters] = kernel.shape;
      const [rows, columns] = in_shape.slice(0, 2).map((n) => n + 2 * padding - size + 1);
      const channels = filters / pieces;
      return (x) => {
        const units = new Float32Array(rows * columns * channels);
        const sums = new Float64Array(filters);
        for (let p = 0; p < rows; p++) for (let q = 0; q < columns; q++) {
          const biases = b.length === filters ? 0 : (p * columns + q) * filters;
          for (let f = 0; f < filters; f++) sums[f] = b[biases + f];
          addPatch(sums, x, w, kernel.shape, in_shape, p - padding, q - padding);
          units.set(largest(sums, pieces, channels), (p * columns + q) * channels);
        }
        const [high, wide] = out_shape;
        const out = new Float32Array(high * wide * channels).fill(-Infinity);
        for (let p = 0; p < high; p++) for (let q = 0; q < wide; q++) {
          const to = (p * wide + q) * channels;
          const [bottom, right] = [Math.min(rows, p * pool_stride + pool_size),
            Math.min(columns, q * pool_stride + pool_size)];
          for (let y = p * pool_stride; y < bottom; y++) for (let z = q * pool_stride; z < right; z++) {
            const from = (y * columns + z) * channels;
            for (let c = 0; c < channels; c++) {
              if (units[from + c] > out[to + c]) out[to + c] = units[from + c];
            }
          }
        }
        return out;
      };
    },
    doubled({ kernel, bias, in_shape, out_shape }) {
      const [w, b] = [decoded(kernel), decoded(bias)];
      const filters = kernel.shape[3];
      const [height, width] = in_shape;
      const channels = filters / 4;
      return (x) => {
        const out = new Float32Array(4 * height * width * channels);
        const sums = new Float64Array(filters);
        for (let p = 0; p < height; p++) for (let q = 0; q < width; q++) {
          addPatch(sums.fill(0), x, w, kernel.shape, in_shape, p - 1, q - 1);
          for (let k = 0; k < 4; k++) {
            const to = ((2 * p + (k >> 1)) * out_shape[1] + 2 * q + (k & 1)) * channels;
            for (let c = 0; c < channels; c++) out[to + c] = sums[k * channels + c];
          }
        }
        for (let i = 0; i < out.length; i++) out[i] += b[i % b.length];
        return out;
      };
    },
  };
  // Two networks, each on its own part of the input, with their outputs concatenated.
  kinds.branches = ({ split, branches: [first, second] }) => {
    const [one, other] = [player(first), player(second)];
    return (x) => {
      return joined(one(x.slice(0, split)), other(x.slice(split)), 1);
    };
  };
  // Halves an image and its mask, joins them with z, and doubles the result, with skip connections.
  kinds.unet = ({ latent_size, pixels, branches }) => {
    const parts = branches.map(player);
    const levels = (parts.length - 1) / 2;
    return (x) => {
      const size = (x.length - latent_size) / 2;
      let image = joined(x.slice(latent_size, latent_size + size), x.slice(latent_size + size), pixels);
      const seen = parts.slice(0, levels).map((halve) => (image = halve(image)));
      image = parts[levels](joined(x.slice(0, latent_size), image, 1));
      for (let level = levels; level > 0; level--) {
        const both = joined(image, seen[level - 1], pixels / 4 ** level);
        image = parts[2 * levels + 1 - level](both);
      }
      return image;
    };
  };
  // Features weighted by the condition that follows them.
  kinds.projection = ({ weight, embedding, bias }) => {
    const [w, v, b] = [decoded(weight), decoded(embedding), decoded(bias)];
    const [conditions, features] = embedding.shape;
    return (x) => {
      let sum = b[0];
      for (let i = 0; i < features; i++) {
        let weighed = w[i];
        for (let c = 0; c < conditions; c++) weighed += x[features + c] * v[c * features + i];
        sum += weighed * x[i];
      }
      return Float32Array.of(sum);
    };
  };
  // Adds the products of the filters and a patch of an image, 0 beyond its edges.
  function addPatch(sums, x, w, [size, , inputs, filters], [height, width], top, left) {
    for (let a = 0; a < size; a++) for (let c = 0; c < size; c++) {
      const [y, z] = [top + a, left + c];
      if (y < 0 || y >= height || z < 0 || z >= width) continue;
      for (let i = 0; i < inputs; i++) {
        const value = x[(y * width + z) * inputs + i];
        if (value === 0) continue;
        const at = ((a * size + c) * inputs + i) * filters;
        for (let f = 0; f < filters; f++) sums[f] += value * w[at + f];
      }
    }
  }
  // Two images of as many pixels as one, with the channels of both.
  function joined(a, b, pixels) {
    const [m, n] = [a.length / pixels, b.length / pixels];
    const out = new Float32Array(a.length + b.length);
    for (let p = 0; p < pixels; p++) {
      out.set(a.subarray(p * m, (p + 1) * m), p * (m + n));
      out.set(b.subarray(p * n, (p + 1) * n), p * (m + n) + m);
    }
    return out;
  }
  function affine(w, b, x) {
    const [outputs, inputs] = [b.length, x.length];
    const out = new Float32Array(outputs);
    for (let o = 0; o < outputs; o++) {
      const at = o * inputs;
      let sum = b[o];
      for (let i = 0; i < inputs; i++) sum += w[at + i] * x[i];
      out[o] = sum;
    }
    return out;
  }
  function largest(values, pieces, units) {
    const out = values.slice(0, units);
    for (let p = 1; p < pieces; p++) for (let u = 0; u < units; u++) {
      const value = values[p * units + u];
      if (value > out[u]) out[u] = value;
    }
    return out;
  }
  function player(layers) {
    const functions = layers.map((layer) => kinds[layer.kind](layer));
    return (x) => functions.reduce((value, layer) => layer(value), Float32Array.from(x));
  }
  return { activations, player };
})();
