// A Socket.IO server on polling alone: `polling.mjs serve PORT`, which echoes; and its client:
// `polling.mjs connect URL SECONDS`, which prints what it lived through, as JSON.
// `require`, for `import` does not look where NODE_PATH says.
import { createRequire } from "node:module";
import { createServer } from "node:http";

const require = createRequire(process.env.MODULES + "/");
const [what, where, seconds] = process.argv.slice(2);

if (what === "serve") {
  const { Server } = require("socket.io");
  const server = createServer();
  new Server(server, { transports: ["polling"] })
    .on("connection", (socket) => socket.on("echo", (text, answer) => answer(text)));
  server.listen(Number(where), "127.0.0.1");
} else {
  const { io } = require("socket.io-client");
  const seen = { connects: 0, ends: [], errors: [], echoes: 0 };
  const socket = io(where, { transports: ["polling"] });
  socket.on("connect", () => (seen.connects += 1));
  socket.on("disconnect", (why) => seen.ends.push(why));
  socket.on("connect_error", (error) => seen.errors.push(error.message));
  const echo = async () => {
    const text = `echo ${seen.echoes}`;
    if ((await socket.timeout(10_000).emitWithAck("echo", text)) === text) seen.echoes += 1;
  };
  await new Promise((resolve) => socket.once("connect", resolve));
  await echo();
  // Silent in between, as most clients are.
  setTimeout(async () => {
    await echo().catch((error) => seen.errors.push(String(error)));
    console.log(JSON.stringify({ ...seen, connected: socket.connected }));
    process.exit(0);
  }, Number(seconds) * 1000);
}
