// The versions of HTTP side by side: what the WebSockets over each take and do.

import { median, milliseconds, put } from "./text.js";

export const VERSIONS = [
  { transport: "h2", name: "HTTP/2", className: "http2" },
  { transport: "h1", name: "HTTP/1.1", className: "http1" },
];

/** A number of each version, by a function of its transport. */
export function each(number) {
  return Object.fromEntries(VERSIONS.map(({ transport }) => [transport, number(transport)]));
}

const NUMBERS = [
  ["WebSockets", (sockets) => sockets.length.toLocaleString("en")],
  ["TCP connections", (sockets) => new Set(sockets.map((socket) => socket.connection)).size.toLocaleString("en")],
  ["Opened in, median", (sockets) => time(sockets, "openedIn")],
  ["Echoes per second", (sockets, rate) => (sockets.length === 0 ? "–" : rate.toLocaleString("en"))],
  ["Round trip, median", (sockets) => time(sockets, "roundTrip")],
];

/** `rates` are the echoes of the last second by transport. */
export function compare(body, opened, rates) {
  for (const [n, [name, number]] of NUMBERS.entries()) {
    const row = body.rows[n] ?? insert(body, name);
    for (const [at, { transport }] of VERSIONS.entries()) {
      const these = opened.filter((socket) => socket.carrier.transport === transport);
      put(row.cells[at + 1], number(these, rates[transport]));
    }
  }
}

function insert(body, name) {
  const row = body.insertRow();
  const head = document.createElement("th");
  head.scope = "row";
  put(head, name);
  row.append(head);
  for (const _ of VERSIONS) row.insertCell().className = "number";
  return row;
}

function time(sockets, what) {
  const middle = median(sockets.map((socket) => socket[what]));
  return middle === null ? "–" : milliseconds(middle);
}
