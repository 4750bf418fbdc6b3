// A report's pictures over training, its curves, and its refreshing during training.
"use strict";
(() => {
  const colours = ["--green", "--blue", "--orange", "--violet", "--red", "--teal", "--pink", "--brown"];
  const colour = (n) => `var(${colours[n % colours.length]})`;
  const number = (v) => v === 0 ? "0" : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(1)
    : String(Number(v.toPrecision(4)));

  // Pictures with a slider.
  for (const figure of document.querySelectorAll(".frames")) {
    const frames = JSON.parse(figure.querySelector("script").textContent);
    const [image, said] = [figure.querySelector("img"), figure.querySelector("output")];
    const [slider, play] = [figure.querySelector("input"), figure.querySelector("button")];
    if (!slider) continue;
    let timer = null;
    const show = () => {
      image.src = frames[slider.value].picture;
      said.textContent = frames[slider.value].label;
    };
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "▶"; };
    slider.addEventListener("input", () => { if (timer) stop(); show(); });
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (Number(slider.value) === frames.length - 1) slider.value = 0;
      play.textContent = "❚❚";
      show();
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        show();
        if (Number(slider.value) === frames.length - 1) stop();
      }, Math.max(150, 3000 / frames.length));
    });
  }

  // Curves.
  const ticks = (low, high, count) => {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return found;
  };
  const svg = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const element = (name, className, text) => {
    const made = document.createElement(name);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function chart(panel) {
    const box = element("div", "chart");
    box.append(element("h3", "", panel.title + (panel.unit ? `, ${panel.unit}` : "")));
    const legend = box.appendChild(element("div", "legend"));
    const place = box.appendChild(element("div", ""));
    const series = panel.series.filter((one) => one.x.length);
    const xs = series.flatMap((one) => one.x);
    const ends = series.flatMap((one) => one.y.flatMap((y, i) => {
      if (y === null) return [];
      const error = one.error && one.error[i] || 0;
      return [y - error, y + error];
    }));
    const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
    ends.push(...(panel.range || []));
    let [y0, y1] = [Math.min(...ends), Math.max(...ends)];
    if (panel.guide && panel.guide[0] > y0 - (y1 - y0) && panel.guide[0] < y1 + (y1 - y0)) {
      [y0, y1] = [Math.min(y0, panel.guide[0]), Math.max(y1, panel.guide[0])];
    }
    const room = (y1 - y0) * 0.05 || Math.abs(y1) * 0.1 || 1;
    [y0, y1] = [y0 - room, y1 + room];

    const said = (epoch) => {
      legend.replaceChildren(...series.map((one, n) => {
        const entry = element("span", "");
        const mark = entry.appendChild(element("i", ""));
        mark.style.background = colour(n);
        let text = one.name;
        if (epoch !== null) {
          let nearest = 0;
          one.x.forEach((x, i) => {
            if (Math.abs(x - epoch) < Math.abs(one.x[nearest] - epoch)) nearest = i;
          });
          const value = one.y[nearest];
          text += `: ${value === null ? "–" : number(value)} (${panel.of || "epoch"} ${one.x[nearest]})`;
        }
        entry.append(text);
        return entry;
      }));
    };

    function draw() {
      const [width, height] = [Math.max(200, place.clientWidth), 190];
      const rows = ticks(y0, y1, 4);
      const digits = Math.max(0, -Math.floor(Math.log10(rows[1] - rows[0] || 1)));
      const label = (y) => digits > 8 || Math.abs(y) >= 1e6 ? number(y) : y.toFixed(digits);
      const longest = Math.max(...rows.map((y) => label(y).length));
      const [left, right, top, bottom] = [Math.max(32, 10 + 6.5 * longest), 16, 8, 22];
      const X = (x) => left + (x1 > x0 ? (x - x0) / (x1 - x0) : 0.5) * (width - left - right);
      const Y = (y) => top + (y1 - y) / (y1 - y0) * (height - top - bottom);
      const made = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
        "aria-label": panel.title });
      for (const y of rows) {
        made.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: Y(y), y2: Y(y) }));
        made.append(svg("text", { x: left - 5, y: Y(y) + 4, "text-anchor": "end" }, label(y)));
      }
      const whole = ticks(x0, x1, Math.min(6, width / 60)).filter((x) => Number.isInteger(x));
      for (const x of whole) {
        made.append(svg("text", { x: X(x), y: height - 6, "text-anchor": "middle" }, number(x)));
      }
      if (panel.guide && panel.guide[0] >= y0 && panel.guide[0] <= y1) {
        const y = Y(panel.guide[0]);
        made.append(svg("line", { class: "guide", x1: left, x2: width - right, y1: y, y2: y }));
        made.append(svg("text", { x: width - right, y: y - 4, "text-anchor": "end" }, panel.guide[1]));
      }
      for (const x of panel.marks || []) {
        made.append(svg("line", { class: "mark", x1: X(x), x2: X(x), y1: height - bottom - 9,
          y2: height - bottom }));
      }
      series.forEach((one, n) => {
        const points = one.x.map((x, i) => [x, one.y[i], one.error && one.error[i] || 0])
          .filter(([, y]) => y !== null);
        if (one.error) {
          const above = points.map(([x, y, e]) => `${X(x)},${Y(y + e)}`);
          const below = points.map(([x, y, e]) => `${X(x)},${Y(y - e)}`).reverse();
          made.append(svg("polygon", { class: "band", points: [...above, ...below].join(" "),
            style: `fill: ${colour(n)}` }));
        }
        made.append(svg("polyline", { class: "line", style: `stroke: ${colour(n)}`,
          points: points.map(([x, y]) => `${X(x)},${Y(y)}`).join(" ") }));
        if (points.length < 30) {
          for (const [x, y] of points) {
            made.append(svg("circle", { cx: X(x), cy: Y(y), r: 2.5, style: `fill: ${colour(n)}` }));
          }
        }
      });
      const cursor = made.appendChild(svg("line", { class: "cursor", y1: top, y2: height - bottom,
        visibility: "hidden" }));
      made.addEventListener("pointermove", (event) => {
        const box = made.getBoundingClientRect();
        const part = ((event.clientX - box.left) * width / box.width - left) / (width - left - right);
        const epoch = Math.round(x0 + Math.min(1, Math.max(0, part)) * (x1 - x0));
        cursor.setAttribute("x1", X(epoch));
        cursor.setAttribute("x2", X(epoch));
        cursor.setAttribute("visibility", "visible");
        said(epoch);
      });
      made.addEventListener("pointerleave", () => {
        cursor.setAttribute("visibility", "hidden");
        said(null);
      });
      place.replaceChildren(made);
    }
    said(null);
    return { box, draw };
  }

  for (const holder of document.querySelectorAll(".charts")) {
    const charts = JSON.parse(holder.querySelector("script").textContent).map(chart);
    holder.replaceChildren(...charts.map((one) => one.box));
    const draw = () => charts.forEach((one) => one.draw());
    draw();
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth !== width) { width = window.innerWidth; draw(); }
    });
  }

  // During training: reload the page, unless the reader is using it. Browsers keep the scroll
  // position.
  const refresh = document.getElementById("refresh");
  if (refresh) {
    let touched = -Infinity;
    for (const kind of ["pointerdown", "keydown", "input"]) {
      document.addEventListener(kind, () => { touched = performance.now(); }, true);
    }
    setInterval(() => {
      if (refresh.checked && performance.now() - touched > 20000) location.reload();
    }, 10000);
  }
})();
