"""uWebSockets, by the Python package that carries it (socketify): one topic that every connection is subscribed to.

    python server.py BATCH_MS

What fans out is uWebSockets' own topic tree, in C++: it drains once per turn of its loop, and joins what one connection gets
within a turn. Python runs once per publication. BATCH_MS above 0 is the application's own batching on top: what is said
within so many milliseconds goes out as one frame.
Prints "listening PORT" when it takes connections.
"""
import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

BATCH_MS = int(sys.argv[1])
waiting = []
app = App()


def send(frame):
    app.publish("room", frame, OpCode.BINARY, False)


def flush(_):
    if waiting:
        send(b"\n".join(waiting))
        waiting.clear()


def say(_socket, message, _opcode):
    if BATCH_MS == 0:
        send(message)
    else:
        waiting.append(message)


COMMON = {"compression": CompressOptions.DISABLED, "max_payload_length": 1 << 20}
app.ws("/speak", COMMON | {"message": say, "idle_timeout": 120})
app.ws("/", COMMON | {
    # So that a rate ends at the latency that it costs and not at a cut: as much as one viewer of NATS may
    # lag.
    "max_backpressure": 64 << 20,
    # Seconds without traffic before a viewer is cut; a viewer that only listens sends nothing but pongs.
    "idle_timeout": 120,
    "open": lambda socket: socket.subscribe("room"),
})
app.listen(AppListenOptions(host="127.0.0.1", port=0), lambda config: print(f"listening {config.port}", flush=True))
# The package's own `run` turns asyncio and asks the sockets now and then; nothing here is asynchronous, so
# that their loop runs alone, asleep when there is nothing to do.
loop = app.loop.uv_loop
timer = loop.create_timer(BATCH_MS, BATCH_MS, flush, None) if BATCH_MS else None
loop.run()
