"""Holds every conversation of protocol/vectors against a node: converse.py TRANSPORT ADDRESS [FINGERPRINT].

The steps are those of protocol/vectors/README.md; what is expected may come in any order.
"""

import asyncio
import sys

import peers
import vectors
import wire

TRANSPORTS = {"websocket": peers.WebSocket, "quic": peers.Quic}


class Failed(Exception):
    """The node did something else than the conversation says."""


class Talk:
    """One conversation as far as it has gone."""

    def __init__(self, peer, frames):
        self.peer, self.frames = peer, frames
        self.alias, self.passed = 0, []
        # The text of the last frame, if it had one: the batch that is due brings it.
        self.said = None

    async def step(self, step):
        if "send" in step:
            vector = self.frames[step["send"]]
            self.said = (vector.frame or {}).get("text")
            await self.peer.send(vector.with_alias(self.alias))
        elif "send_text" in step:
            await self.peer.send_text(step["send_text"])
        elif "send_zeros" in step:
            await self.peer.send(bytes(step["send_zeros"]))
        elif "send_raw" in step:
            await self.peer.send_raw(bytes.fromhex(step["send_raw"]))
        elif "expect" in step:
            await self.expect(step["expect"], step.get("reason"))
        elif "close" in step:
            await self.expect_close("ours", step["close"])
        elif "websocket_close" in step:
            await self.expect_close("websocket", step["websocket_close"])
        else:
            raise Failed(f"an unknown step: {step}")

    async def expect(self, kind, reason):
        frame = next((f for f in self.passed if self.is_due(kind, f)), None)
        if frame is not None:
            self.passed.remove(frame)
        while frame is None:
            try:
                come = await self.peer.next()
            except peers.Closed as closed:
                raise Failed(f"{kind} was due, but it closed: {closed}") from closed
            if self.is_due(kind, come):
                frame = come
            else:
                self.passed.append(come)
        if kind == "Subscribed":
            self.alias = wire.Subscribed(frame).alias
        elif kind == "Refused" and reason not in (None, wire.refusal(frame)):
            raise Failed(f"refused with {wire.refusal(frame)} instead of {reason}")

    def is_due(self, kind, frame):
        if wire.KINDS.get(frame[0]) != kind:
            return False
        if kind != "Batch":
            return True
        batch = wire.Batch(frame[1:])
        if batch.alias != self.alias:
            raise Failed(f"a batch of room {batch.alias}, but {self.alias} was given")
        # A batch may still bring what was said before this conversation.
        return self.said is None or self.said in [message.text for message in batch.messages]

    async def expect_close(self, whose, code):
        while True:
            try:
                come = await self.peer.next()
            except peers.Closed as closed:
                if (closed.whose, closed.code) != (whose, code):
                    raise Failed(f"{whose} {code} was due, but it closed: {closed}") from closed
                return
            # C-1: the notice before the close bears the same code.
            if come[0] == wire.ERROR and whose == "ours" and wire.error_code(come) != code:
                raise Failed(f"the notice says {wire.error_code(come)} instead of {code}")


async def hold(opener, conversation, frames):
    peer = await opener()
    talk = Talk(peer, frames)
    for step in conversation["steps"]:
        try:
            await talk.step(step)
        except asyncio.TimeoutError as error:
            come = [wire.KINDS.get(frame[0]) for frame in talk.passed]
            raise Failed(f"waited in vain at {step}; not expected, but come: {come}") from error
    await peer.close()


async def main(transport, address, fingerprint=None):
    frames, failed, held = vectors.client_frames(), [], 0
    for conversation in vectors.read("conversations.json"):
        if conversation["transport"] not in ("any", transport):
            continue
        held += 1
        try:
            await hold(lambda: TRANSPORTS[transport].open(address, fingerprint), conversation, frames)
        except (Failed, wire.Fault, AssertionError) as error:
            failed.append(f"{conversation['name']} ({conversation['clause']}): {error}")
    print("\n".join([*failed, f"{held} conversations over {transport}, {len(failed)} failed"]))
    return 1 if failed or held <= 50 else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
