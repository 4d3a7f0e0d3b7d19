// A WebSocket of the page, which can be closed and opened again, and what all of them have counted.

import { VERSIONS } from "./versions.js";

export const totals = { sent: 0, received: 0 };

export class Socket {
  /**
   * `http1` is whether the URL is that of the port for HTTP/1.1. `onEcho(socket, data, milliseconds)` is called
   * for every message that comes back.
   */
  constructor(number, http1, url, onEcho) {
    this.number = number;
    this.http1 = http1;
    this.url = url;
    this.onEcho = onEcho;
    this.echoes = 0;
    this.open();
  }

  open() {
    this.state = "opening";
    this.failed = false;
    this.carrier = null;
    this.roundTrip = null;
    this.openedIn = null;
    /** What was sent and has not come back. The server keeps the order. */
    this.pending = [];
    const began = performance.now();
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.openedIn = performance.now() - began;
    };
    // The first message describes the connection.
    socket.onmessage = ({ data }) => {
      if (this.carrier) return this.#echo(data);
      this.carrier = JSON.parse(data);
      this.state = "open";
      this.greet();
    };
    socket.onclose = ({ code, wasClean }) => {
      this.state = "closed";
      this.code = code;
      this.failed = !wasClean;
    };
    this.socket = socket;
  }

  /** Sends what shows that both kinds of messages come back as they were. */
  greet() {
    this.send(`WebSocket ${this.number}`);
    this.send(new Uint8Array([0, 1, 2, this.number & 255]));
  }

  send(data, byHand = false) {
    if (this.state !== "open") return;
    this.pending.push({ data, byHand, at: performance.now() });
    this.socket.send(data);
    totals.sent += 1;
  }

  close() {
    if (this.state === "closed") return;
    this.state = "closing";
    this.socket.close(1000, "closed by hand");
  }

  #echo(data) {
    const sent = this.pending.shift();
    totals.received += 1;
    if (!sent || !same(sent.data, data)) {
      this.wrong = true;
      return;
    }
    this.echoes += 1;
    this.roundTrip = performance.now() - sent.at;
    this.onEcho(this, sent, this.roundTrip);
  }

  get version() {
    if (!this.carrier) return null;
    const { transport } = this.carrier;
    return VERSIONS.find((version) => version.transport === transport)?.name ?? transport;
  }

  /** A name for the TCP connection, which is different for each. */
  get connection() {
    return this.carrier && `${this.carrier.transport} ${this.carrier.connection}`;
  }

  get condition() {
    if (this.wrong) return "wrong echo";
    if (this.state !== "closed") return this.state;
    return this.failed ? `failed ${this.code}` : `closed ${this.code}`;
  }
}

function same(sent, received) {
  if (typeof sent === "string") return sent === received;
  if (!(received instanceof ArrayBuffer)) return false;
  const bytes = new Uint8Array(received);
  return bytes.length === sent.length && bytes.every((byte, at) => byte === sent[at]);
}
