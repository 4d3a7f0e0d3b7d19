// A server that answers every upload 413 before it has read it, and hangs up: `too_large.mjs PORT`.
import { createServer } from "node:http";

createServer((request, response) => {
  response.writeHead(413, { "content-type": "text/plain", connection: "close" });
  response.end("too large\n", () => request.socket.destroy());
}).listen(Number(process.argv[2]), "127.0.0.1");
