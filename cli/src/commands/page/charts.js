// A chart of the last minute, with one value per second.

import { picture, svg } from "./svg.js";

const SECONDS = 60;
const HEIGHT = 96;
const TOP = 16;
const BOTTOM = 18;

export class Chart {
  /** `unit(value)` is the text for a value. */
  constructor(container, name, unit) {
    this.container = container;
    this.name = name;
    this.unit = unit;
    this.values = [];
    new ResizeObserver(() => this.draw()).observe(container);
  }

  /** `null` is a second without a value. */
  add(value) {
    this.values.push(value);
    if (this.values.length > SECONDS) this.values.shift();
    this.draw();
  }

  draw() {
    const width = this.container.clientWidth;
    if (!width) return;
    const known = this.values.filter((value) => value !== null);
    const top = ceiling(Math.max(0, ...known));
    const label = known.length === 0
      ? `${this.name}: nothing yet`
      : `${this.name} in the last minute: ${this.unit(known.at(-1))} now, ${this.unit(Math.max(...known))} at most`;
    const image = picture(this.container, width, HEIGHT, label);
    const x = (at) => width - ((this.values.length - 1 - at) * width) / (SECONDS - 1);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    for (const value of [0, top]) image.append(svg("line", { class: "axis", x1: 0, x2: width, y1: y(value), y2: y(value) }));
    for (const part of this.#parts()) {
      const points = part.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
      const [first, last] = [x(part[0][0]), x(part.at(-1)[0])];
      const foot = y(0).toFixed(1);
      image.append(
        svg("polygon", { class: "area", points: [`${first},${foot}`, ...points, `${last},${foot}`].join(" ") }),
        svg("polyline", { class: "curve", points: points.join(" ") }),
      );
    }
    image.append(
      svg("text", { x: 0, y: TOP - 5 }, known.length === 0 ? "" : this.unit(top)),
      svg("text", { x: 0, y: HEIGHT - 4 }, "1 minute ago"),
      svg("text", { x: width, y: HEIGHT - 4, "text-anchor": "end" }, "now"),
    );
  }

  /** Runs of seconds with values. */
  #parts() {
    const parts = [];
    let before = null;
    for (const [at, value] of this.values.entries()) {
      if (value !== null) {
        if (before === null) parts.push([]);
        parts.at(-1).push([at, value]);
      }
      before = value;
    }
    return parts;
  }
}

/** The next of 1, 2, 5, 10, 20, 50, ... */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
