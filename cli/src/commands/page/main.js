// Opens WebSockets, lets them be used by hand, and shows what carries them.

import { Chart } from "./charts.js";
import { Drawing, plural } from "./drawing.js";
import { Socket, totals } from "./sockets.js";

const MOST = 200;
const LOGGED = 100;
const $ = (id) => document.getElementById(id);
const url = `${location.origin.replace(/^http/, "ws")}/carrier`;

const sockets = [];
/** The connection that loaded the page. */
let page = null;
/** Round trips since the last second began, in milliseconds. */
let roundTrips = [];

const perSecond = (value) => `${Math.round(value).toLocaleString("en")}/s`;
const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")} ms`;
const drawing = new Drawing($("drawing"));
const rateChart = new Chart($("rate-chart"), "Echoes per second", perSecond);
const roundTripChart = new Chart($("round-trip-chart"), "Median round trip", milliseconds);

function open(count) {
  for (let n = 0; n < count && sockets.length < MOST; n += 1) {
    sockets.push(new Socket(sockets.length + 1, url, echoed));
  }
  $("how-many").max = Math.max(1, MOST - sockets.length);
  for (const button of document.querySelectorAll("#open-form button")) button.disabled = sockets.length === MOST;
}

function echoed(socket, sent, roundTrip) {
  roundTrips.push(roundTrip);
  if (sent.byHand) log("received", `< ${socket.number}: ${sent.data} (${milliseconds(roundTrip)})`);
  if (traffic?.pace === 0) ping(socket);
}

// Traffic

/** While it runs: messages per second on each WebSocket, or 0 for the next when one returns. */
let traffic = null;
let pings = 0;

function ping(socket) {
  pings += 1;
  socket.send(`message ${pings} of the page`);
}

function start(pace) {
  traffic = { pace };
  const once = () => sockets.forEach((socket) => {
    // One that does not answer gets no more. At pace 0 this starts those opened meanwhile.
    if (socket.pending.length === 0) ping(socket);
  });
  once();
  traffic.timer = setInterval(once, 1000 / (pace || 2));
}

function stop() {
  clearInterval(traffic?.timer);
  traffic = null;
}

$("traffic-form").onsubmit = (event) => {
  event.preventDefault();
  if (traffic) stop();
  else start(Number($("pace").value));
  $("traffic").textContent = traffic ? "Stop" : "Start";
};

$("pace").onchange = () => {
  if (!traffic) return;
  stop();
  start(Number($("pace").value));
};

// By hand

$("open-form").onsubmit = (event) => {
  event.preventDefault();
  open(Number($("how-many").value));
};

$("close-all").onclick = () => sockets.forEach((socket) => socket.close());

$("reopen-all").onclick = () => sockets.filter((socket) => socket.state === "closed").forEach((socket) => socket.open());

$("send-form").onsubmit = (event) => {
  event.preventDefault();
  const [text, to] = [$("text").value, $("to").value];
  const senders = sockets.filter((socket) => socket.state === "open" && (to === "" || socket.number === Number(to)));
  if (senders.length === 0) log("note", "no open WebSocket sends it");
  for (const socket of senders) {
    log("sent", `> ${socket.number}: ${text}`);
    socket.send(text, true);
  }
  $("text").select();
};

function log(kind, text) {
  const list = $("log");
  const item = document.createElement("div");
  item.className = kind;
  item.textContent = text;
  list.append(item);
  while (list.childElementCount > LOGGED) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

// Display

const rows = new Map();

/** Changes a text only if it is another, which leaves selections and screen readers alone. */
function put(element, text) {
  const shown = String(text);
  if (element.textContent !== shown) element.textContent = shown;
}

function row(socket) {
  const line = $("rows").insertRow();
  const kinds = ["", "", "", "number", "number", "number wide", "number wide", ""];
  const cells = kinds.map((kind) => {
    const cell = line.insertCell();
    cell.className = kind;
    return cell;
  });
  const button = document.createElement("button");
  button.type = "button";
  button.onclick = () => (socket.state === "closed" ? socket.open() : socket.close());
  cells.at(-1).append(button);
  put(cells[0], socket.number);
  const choice = document.createElement("option");
  choice.value = socket.number;
  choice.textContent = `on ${socket.number}`;
  $("to").append(choice);
  return { cells, button };
}

function show() {
  for (const socket of sockets) {
    if (!rows.has(socket)) rows.set(socket, row(socket));
    const { cells, button } = rows.get(socket);
    put(cells[1], socket.condition);
    cells[1].className = socket.failed || socket.wrong ? "failed" : socket.state;
    put(cells[2], socket.version ?? "");
    put(cells[3], socket.carrier?.connection ?? "");
    put(cells[4], socket.carrier?.stream ?? "");
    put(cells[5], socket.echoes.toLocaleString("en"));
    put(cells[6], socket.roundTrip === null ? "" : milliseconds(socket.roundTrip));
    const action = socket.state === "closed" ? "Reopen" : "Close";
    put(button, action);
    button.setAttribute("aria-label", `${action} WebSocket ${socket.number}`);
  }
  const opened = sockets.filter((socket) => socket.state === "open");
  put($("open-count"), opened.length.toLocaleString("en"));
  const connections = new Set(opened.map((socket) => socket.connection));
  put($("connection-count"), connections.size.toLocaleString("en"));
  put($("sent"), totals.sent.toLocaleString("en"));
  put($("received"), totals.received.toLocaleString("en"));
  $("close-all").disabled = opened.length === 0;
  $("reopen-all").disabled = !sockets.some((socket) => socket.state === "closed");
  put($("summary"), summary(opened, connections.size));
  if (page) drawing.show(page, sockets);
  versions(opened);
  needs(opened);
}

function summary(opened, connections) {
  if (sockets.some((socket) => socket.state === "opening")) return "Opening WebSockets…";
  const failed = sockets.filter((socket) => socket.state === "closed" && socket.failed).length;
  const lost = failed === 0 ? "" : ` ${plural(failed, "WebSocket")} failed.`;
  if (opened.length === 0) return `No WebSocket is open.${lost}`;
  const shared = opened.filter((socket) => page?.transport === "h2" && socket.carrier.transport === "h2"
    && socket.carrier.connection === page.connection).length;
  if (shared === opened.length) {
    const verb = opened.length === 1 ? "is open, as a stream" : "are open, as streams";
    return `${plural(opened.length, "WebSocket")} ${verb} of the one HTTP/2 connection that loaded this page.${lost}`;
  }
  return `${plural(opened.length, "WebSocket")} open on ${plural(connections, "TCP connection")}.${lost}`;
}

function median(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  return sorted.length === 0 ? null : sorted[Math.floor(sorted.length / 2)];
}

function versions(opened) {
  const lines = ["HTTP/2", "HTTP/1.1"].map((version) => {
    const these = opened.filter((socket) => socket.version === version);
    const [openedIn, roundTrip] = ["openedIn", "roundTrip"].map((what) => median(these.map((socket) => socket[what])));
    return [
      version, these.length, new Set(these.map((socket) => socket.connection)).size,
      openedIn === null ? "–" : milliseconds(openedIn), roundTrip === null ? "–" : milliseconds(roundTrip),
    ];
  });
  const body = $("version-rows");
  for (const [n, line] of lines.entries()) {
    const shown = body.rows[n] ?? body.insertRow();
    for (const [at, text] of line.entries()) {
      const cell = shown.cells[at] ?? shown.insertCell();
      cell.className = ["", "number", "number", "number wide", "number"][at];
      put(cell, text);
    }
  }
}

/** What is missing for HTTP/2, if the page or its WebSockets do without it. */
function needs(opened) {
  let [title, text] = ["", ""];
  if (location.protocol === "http:") {
    title = "This page was loaded without TLS";
    text = "Browsers speak HTTP/2 only over TLS. So each WebSocket below has an HTTP/1.1 connection of its own. "
      + "Start the server with TLS, and open the page by https.";
  } else if (page && page.transport !== "h2") {
    title = "This page was loaded over HTTP/1.1";
    text = "The browser and the server agreed on HTTP/1.1, perhaps because of something in between that inspects TLS. "
      + "So each WebSocket below has a connection of its own.";
  } else if (opened.some((socket) => socket.carrier.transport !== "h2")) {
    title = "The WebSockets do not use the page's connection";
    text = "The page was loaded over HTTP/2, but its WebSockets use HTTP/1.1: the server does not offer WebSockets over "
      + "HTTP/2 (--no-extended-connect), or this browser does not support them.";
  }
  put($("needs-title"), title);
  put($("needs-text"), text);
  $("needs").hidden = title === "";
}

function everySecond() {
  rateChart.add(roundTrips.length);
  roundTripChart.add(median(roundTrips));
  put($("rate"), roundTrips.length.toLocaleString("en"));
  const middle = median(roundTrips);
  if (middle !== null) put($("round-trip"), milliseconds(middle));
  roundTrips = [];
}

async function begin() {
  page = await (await fetch("/connection")).json();
  open(Math.min(MOST, Number(new URLSearchParams(location.search).get("sockets")) || 5));
  setInterval(show, 250);
  setInterval(everySecond, 1000);
  show();
}

begin().catch((error) => put($("summary"), `The page cannot start: ${error.message}`));
