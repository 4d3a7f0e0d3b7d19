// Opens WebSockets, lets them be used by hand, and shows what carries them.

import { Chart } from "./charts.js";
import { Drawing } from "./drawing.js";
import { aboutHttp1, needs } from "./needs.js";
import { Socket, totals } from "./sockets.js";
import { median, milliseconds, plural, put } from "./text.js";
import { compare, each } from "./versions.js";

/** WebSockets at a time. Firefox opens no more, Chromium 255. */
const MOST = 200;
const LOGGED = 100;
const $ = (id) => document.getElementById(id);
const here = `${location.origin.replace(/^http/, "ws")}/carrier`;

/** Those that are open, and those that can be reopened. */
const sockets = [];
let numbers = 0;
/** The connection that loaded the page, and the origin of WebSockets over HTTP/1.1. */
let page = null;
/** By transport: round trips since the last second began in milliseconds, and echoes in the second before. */
let roundTrips = each(() => []);
let rates = each(() => 0);

const perSecond = (value) => `${Math.round(value).toLocaleString("en")}/s`;
const drawing = new Drawing($("drawing"));
const rateChart = new Chart($("rate-chart"), "Echoes per second", perSecond);
const roundTripChart = new Chart($("round-trip-chart"), "Median round trip", milliseconds);

const inUse = () => sockets.filter((socket) => socket.state !== "closed").length;

/** Opens so many, over HTTP/1.1 if `http1`, in the place of closed ones if there are too many. */
function open(count, http1) {
  for (let n = Math.min(count, MOST - inUse()); n > 0; n -= 1) {
    if (sockets.length === MOST) remove(sockets.find((socket) => socket.state === "closed"));
    numbers += 1;
    sockets.push(new Socket(numbers, http1, http1 ? `${page.http1}/carrier` : here, echoed));
  }
}

function echoed(socket, sent, roundTrip) {
  roundTrips[socket.carrier.transport]?.push(roundTrip);
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
  const [count, over] = [Number($("how-many").value), $("over").value];
  if (over !== "h1") open(count, false);
  if (over !== "h2") open(count, true);
  room();
};

$("over").onchange = room;

/** Keeps what can be asked for within what a browser opens. */
function room() {
  const left = MOST - inUse();
  $("how-many").max = Math.max(1, $("over").value === "both" ? Math.floor(left / 2) : left);
  $("open").disabled = left === 0;
}

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
  return { line, cells, button, choice };
}

function remove(socket) {
  sockets.splice(sockets.indexOf(socket), 1);
  rows.get(socket)?.line.remove();
  rows.get(socket)?.choice.remove();
  rows.delete(socket);
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
  room();
  put($("summary"), summary(opened));
  if (page) drawing.show(page, sockets);
  compare($("version-rows"), opened, rates);
  showNeeds();
}

function summary(opened) {
  if (sockets.some((socket) => socket.state === "opening")) return "Opening WebSockets…";
  const failed = sockets.filter((socket) => socket.state === "closed" && socket.failed).length;
  const lost = failed === 0 ? "" : ` ${plural(failed, "WebSocket")} failed.`;
  if (opened.length === 0) return `No WebSocket is open.${lost}`;
  const shared = opened.filter((socket) => page?.transport === "h2" && socket.carrier.transport === "h2"
    && socket.carrier.connection === page.connection);
  const others = opened.filter((socket) => !shared.includes(socket));
  const connections = plural(new Set(others.map((socket) => socket.connection)).size, "TCP connection");
  if (shared.length === 0) return `${plural(opened.length, "WebSocket")} open on ${connections}.${lost}`;
  const verb = shared.length === 1 ? "is open, as a stream" : "are open, as streams";
  const first = `${plural(shared.length, "WebSocket")} ${verb} of the one HTTP/2 connection that loaded this page`;
  if (others.length === 0) return `${first}.${lost}`;
  return `${first}; ${others.length.toLocaleString("en")} more on ${connections}.${lost}`;
}

function showNeeds() {
  const [title, text, link] = needs(page, sockets);
  put($("needs-title"), title);
  put($("needs-text"), text);
  put($("needs-link"), link ?? "");
  $("needs-link").hidden = !link;
  if (link) $("needs-link").href = link;
  $("needs").hidden = title === "";
  // What is missing for HTTP/2 comes first.
  $("http1").hidden = !page?.http1 && title !== "";
}

function everySecond() {
  rates = each((transport) => roundTrips[transport].length);
  const isOpen = each((transport) => sockets.some((socket) => socket.state === "open" && socket.carrier.transport === transport));
  rateChart.add(each((transport) => (isOpen[transport] || rates[transport] > 0 ? rates[transport] : null)));
  roundTripChart.add(each((transport) => median(roundTrips[transport])));
  put($("rate"), (rates.h2 + rates.h1).toLocaleString("en"));
  // The middle of both versions would be that of neither.
  const middle = median([...roundTrips.h2, ...roundTrips.h1]);
  if (isOpen.h2 && isOpen.h1) put($("round-trip"), "");
  else if (middle !== null) put($("round-trip"), milliseconds(middle));
  roundTrips = each(() => []);
}

function showHttp1() {
  $("over").hidden = !page.http1;
  $("over").value = "h2";
  for (const [n, text] of aboutHttp1(page).entries()) {
    const part = n % 2 === 0 ? document.createTextNode(text) : document.createElement("code");
    part.textContent = text;
    $("http1").append(part);
  }
}

async function begin() {
  page = await (await fetch("/connection")).json();
  // Where the page itself has HTTP/1.1, there is nothing to compare.
  if (page.transport !== "h2") page.http1 = null;
  showHttp1();
  const asked = new URLSearchParams(location.search);
  open(Number(asked.get("sockets")) || 5, false);
  if (page.http1) open(Number(asked.get("http1")) || 0, true);
  setInterval(show, 250);
  setInterval(everySecond, 1000);
  show();
}

begin().catch((error) => put($("summary"), `The page cannot start: ${error.message}`));
