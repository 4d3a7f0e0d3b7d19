// Draws the TCP connections between browser and server, and in each the streams of its WebSockets.

import { picture, svg } from "./svg.js";
import { plural } from "./text.js";

/** Streams of a connection, or connections of a version, with a name each. */
const NAMED = 16;
/** Those that are drawn at all. */
const DRAWN = 100;
const END = 30;
const TITLE = 38;

export class Drawing {
  constructor(container) {
    this.container = container;
    this.sockets = [];
    new ResizeObserver(() => this.#draw()).observe(container);
  }

  /** `page` is the connection that loaded the page. */
  show(page, sockets) {
    const open = sockets.filter((socket) => socket.state === "open");
    const key = JSON.stringify([page, open.map((socket) => [socket.number, socket.connection])]);
    if (key !== this.key) {
      Object.assign(this, { key, page, sockets: open });
      this.#draw();
    }
    this.#mark();
  }

  /** Marks the streams on which messages have come back since the last call. */
  #mark() {
    for (const [socket, lane] of this.lanes ?? []) {
      lane.line.classList.toggle("busy", socket.echoes !== lane.echoes);
      lane.echoes = socket.echoes;
    }
  }

  #draw() {
    const width = this.container.clientWidth;
    if (!width || !this.page) return;
    this.lanes = new Map();
    const groups = this.#groups();
    const body = svg("g");
    let y = 4;
    for (const group of groups) y = this.#group(body, group, width, y) + 14;
    const height = Math.max(y, 60);
    const label = groups.map((group) => `${group.title}: ${group.subtitle}`).join("; ");
    const image = picture(this.container, width, height, label || "no connections");
    image.append(end(0, height, "browser"), end(width - END, height, "server"), body);
  }

  /** HTTP/2 connections, each of which is a group of streams, and the HTTP/1.1 connections as one group. */
  #groups() {
    const connections = new Map();
    for (const socket of this.sockets) {
      if (!connections.has(socket.connection)) connections.set(socket.connection, []);
      connections.get(socket.connection).push(socket);
    }
    const groups = [];
    const alone = [];
    let drawsPage = false;
    for (const sockets of connections.values()) {
      const { transport, connection } = sockets[0].carrier;
      if (transport !== "h2") {
        alone.push(...sockets);
        continue;
      }
      const loaded = this.page.transport === "h2" && this.page.connection === connection;
      drawsPage ||= loaded;
      const count = plural(sockets.length, "WebSocket");
      const title = `HTTP/2 connection ${connection}`;
      groups.push({ title, subtitle: `${loaded ? "this page and " : ""}${count}`, http1: false, lanes: [...(loaded ? [null] : []), ...sockets] });
    }
    if (!drawsPage && this.page.transport === "h2") {
      groups.unshift({ title: `HTTP/2 connection ${this.page.connection}`, subtitle: "this page", http1: false, lanes: [null] });
    }
    if (alone.length > 0) {
      const title = plural(alone.length, "HTTP/1.1 connection");
      groups.push({ title, subtitle: "one per WebSocket", http1: true, lanes: alone });
    }
    return groups;
  }

  /** Returns where the group ends. */
  #group(body, { title, subtitle, http1, lanes }, width, top) {
    const drawn = lanes.slice(0, DRAWN);
    const named = drawn.length <= NAMED;
    const step = http1 ? (named ? 20 : 7) : named ? 16 : 5;
    const [left, right] = [END, width - END];
    const group = svg("g", { class: http1 ? "http1" : "http2" });
    const more = lanes.length - drawn.length;
    group.append(
      svg("text", { class: "title", x: left + 10, y: top + 14 }, title),
      svg("text", { class: "subtitle", x: left + 10, y: top + 30 }, subtitle),
    );
    let y = top + TITLE;
    if (!http1) {
      const height = drawn.length * step + 10;
      group.append(svg("rect", { class: "tube", x: left - 6, y, width: right - left + 12, height, rx: 8 }));
      y += 5;
    }
    for (const socket of drawn) {
      const middle = y + step / 2;
      if (http1) {
        const height = named ? 14 : 5;
        const y = middle - height / 2;
        group.append(svg("rect", { class: "tube", x: left - 6, y, width: right - left + 12, height, rx: height / 2 }));
      }
      if (named) group.append(svg("text", { x: left + 10, y: middle + 4 }, name(socket)));
      const from = left + (named ? (http1 ? 100 : 82) : 6);
      const line = svg("line", { class: "lane", x1: from, x2: right - 6, y1: middle, y2: middle });
      if (socket) this.lanes.set(socket, { line, echoes: socket.echoes });
      group.append(line);
      y += step;
    }
    if (!http1) y += 5;
    if (more > 0) {
      group.append(svg("text", { x: left + 10, y: y + 14 }, `and ${more} more`));
      y += 18;
    }
    body.append(group);
    return y;
  }
}

function name(socket) {
  if (!socket) return "this page";
  const { stream } = socket.carrier;
  return stream === undefined ? `WebSocket ${socket.number}` : `stream ${stream}`;
}

function end(x, height, text) {
  const group = svg("g");
  const [middle, center] = [x + END / 2, height / 2];
  group.append(
    svg("rect", { class: "end", x: x + 0.5, y: 0.5, width: END - 1, height: height - 1, rx: 6 }),
    svg("text", {
      class: "end-name", x: middle, y: center + 4, "text-anchor": "middle",
      transform: `rotate(-90 ${middle} ${center})`,
    }, text),
  );
  return group;
}
