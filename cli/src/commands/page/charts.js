// A chart of the last minute, with one value per second for each version of HTTP.

import { picture, svg } from "./svg.js";
import { VERSIONS } from "./versions.js";

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

  /** A value for each transport; `null` is a second without one. */
  add(values) {
    this.values.push(values);
    if (this.values.length > SECONDS) this.values.shift();
    this.draw();
  }

  draw() {
    const width = this.container.clientWidth;
    if (!width) return;
    const curves = VERSIONS
      .map((version) => ({ ...version, values: this.values.map((second) => second[version.transport]) }))
      .filter(({ values }) => known(values).length > 0);
    const top = ceiling(Math.max(0, ...curves.flatMap(({ values }) => known(values))));
    const image = picture(this.container, width, HEIGHT, this.#label(curves));
    const x = (at) => width - ((this.values.length - 1 - at) * width) / (SECONDS - 1);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    for (const value of [0, top]) image.append(svg("line", { class: "axis", x1: 0, x2: width, y1: y(value), y2: y(value) }));
    for (const { className, values } of curves) {
      const group = svg("g", { class: className });
      for (const part of parts(values)) {
        const points = part.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
        // One area would hide the other curve.
        if (curves.length === 1) group.append(svg("polygon", { class: "area", points: under(part, points, x, y(0)) }));
        group.append(svg("polyline", { class: "curve", points: points.join(" ") }));
      }
      image.append(group);
    }
    if (curves.length > 1) image.append(legend(curves, width));
    image.append(
      svg("text", { x: 0, y: TOP - 5 }, curves.length === 0 ? "" : this.unit(top)),
      svg("text", { x: 0, y: HEIGHT - 4 }, "1 minute ago"),
      svg("text", { x: width, y: HEIGHT - 4, "text-anchor": "end" }, "now"),
    );
  }

  #label(curves) {
    if (curves.length === 0) return `${this.name}: nothing yet`;
    const each = curves.map(({ name, values }) => {
      const numbers = known(values);
      return `${name} ${this.unit(numbers.at(-1))} now, ${this.unit(Math.max(...numbers))} at most`;
    });
    return `${this.name} in the last minute: ${each.join("; ")}`;
  }
}

function known(values) {
  return values.filter((value) => value !== null);
}

/** Runs of seconds with values. */
function parts(values) {
  const parts = [];
  let before = null;
  for (const [at, value] of values.entries()) {
    if (value !== null) {
      if (before === null) parts.push([]);
      parts.at(-1).push([at, value]);
    }
    before = value;
  }
  return parts;
}

function under(part, points, x, foot) {
  const [first, last] = [x(part[0][0]), x(part.at(-1)[0])];
  return [`${first},${foot.toFixed(1)}`, ...points, `${last},${foot.toFixed(1)}`].join(" ");
}

/** Names the curves, from the right. */
function legend(curves, width) {
  const group = svg("g");
  let right = width;
  for (const { className, name } of curves.toReversed()) {
    const left = right - 76;
    const line = svg("g", { class: className });
    line.append(svg("line", { class: "curve", x1: left, x2: left + 18, y1: TOP - 9, y2: TOP - 9 }));
    group.append(line, svg("text", { x: left + 23, y: TOP - 5 }, name));
    right = left;
  }
  return group;
}

/** The next of 1, 2, 5, 10, 20, 50, ... */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
