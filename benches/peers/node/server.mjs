// The Node peers: one room in which everybody hears what anybody says.
//
//   node server.mjs socketio|ws BATCH_MS
//
// socketio: Socket.IO as its "performance tuning" page says: WebSocket only, no per-message deflate (the
// default),
//           bufferutil beside it, the first HTTP request let go; io.to("room").emit, which encodes once.
// ws:       the library below it, alone: one frame for every client of the server. The floor of Node.
//
// BATCH_MS above 0 is the application's own batching, which neither library does: what is said within so many
// milliseconds goes out as one event. Prints "listening PORT" when it takes connections, and ends with its
// standard input.
import { createServer } from "node:http";

const [kind, batchMs] = [process.argv[2], Number(process.argv[3] ?? 0)];
const http = createServer((_request, response) => response.writeHead(404).end());
const send = kind === "socketio" ? await socketio() : await ws();
let waiting = [];

function say(text) {
  if (batchMs === 0) return send([text]);
  if (waiting.push(text) === 1) setTimeout(flush, batchMs);
}

function flush() {
  send(waiting);
  waiting = [];
}

async function socketio() {
  const { Server } = await import("socket.io");
  const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false, pingInterval: 25000 });
  io.engine.on("connection", (raw) => { raw.request = null; });
  io.on("connection", (socket) => {
    socket.on("join", () => { socket.join("room"); socket.emit("in"); });
    socket.on("say", say);
  });
  return (texts) => io.to("room").emit("m", ...texts);
}

async function ws() {
  const { WebSocketServer } = await import("ws");
  const server = new WebSocketServer({ server: http, perMessageDeflate: false, clientTracking: false });
  const room = new Set();
  server.on("connection", (socket, request) => {
    if (request.url === "/speak") return socket.on("message", (data) => say(data.toString("latin1")));
    room.add(socket);
    socket.on("close", () => room.delete(socket));
  });
  return (texts) => {
    const frame = Buffer.from(texts.join("\n"), "latin1");
    for (const client of room) client.send(frame);
  };
}

// Thousands arrive at once; the default backlog is 511.
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(`listening ${http.address().port}`));
