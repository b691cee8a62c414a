"""A text said over one transport is read over the other, plain and compressed: deliver.py WEBSOCKET_URL QUIC_ADDRESS.

Each watcher counts its place in the log from `Subscribed` on, and finds the text at the offset that the author was told.
"""

import asyncio
import collections
import sys

import peers
import vectors
import wire

# Vectors of client.json whose texts take a round; the last is a text of 4096 bytes.
TEXTS = ["publish", "publish_every_script", "publish_longest"]


# How many batches came compressed, and how many plain.
COMPRESSED = collections.Counter()


async def welcomed(peer, frames, offers=0):
    await peer.send(wire.hello(offers) if offers else frames["hello"].bytes)
    granted = wire.capabilities(await next_of(peer, wire.WELCOME))
    assert granted == offers & wire.DEFLATE_1, granted
    await peer.send(frames["subscribe"].bytes)
    return wire.Subscribed(await next_of(peer, wire.SUBSCRIBED))


async def next_of(peer, kind):
    while True:
        frame = await peer.next()
        if frame[0] == wire.COMPRESSED_BATCH and kind == wire.BATCH:
            return frame
        assert frame[0] not in (wire.REFUSED, wire.ERROR), frame.hex()
        if frame[0] == kind:
            return frame


async def find(watcher, position, text):
    """The offset of the next message, which has to be this one."""
    while True:
        frame = await next_of(watcher, wire.BATCH)
        COMPRESSED.update([frame[0] == wire.COMPRESSED_BATCH])
        batch = wire.Batch(wire.opened(frame)[1:])
        batch.locate(position)
        for message in batch.messages:
            assert message.text == text, f"{message.text!r} came instead of {text!r}"
            return message.offset


async def deliver(author, watcher, frames, offers=0):
    alias = (await welcomed(author, frames)).alias
    position = (await welcomed(watcher, frames, offers)).position
    for name in TEXTS:
        vector = frames[name]
        await author.send(vector.with_alias(alias))
        published = wire.Published(await next_of(author, wire.PUBLISHED))
        offset = await find(watcher, position, vector.frame["text"])
        assert (published.epoch, published.offset) == (position.epoch, offset), vars(published)
    await author.close()
    await watcher.close()


async def main(url, address):
    frames = vectors.client_frames()
    await deliver(await peers.WebSocket.open(url), await peers.Quic.open(address), frames)
    await deliver(await peers.Quic.open(address), await peers.WebSocket.open(url), frames)
    assert COMPRESSED[True] == 0, "nobody offered to open compressed batches"
    # The highest bit is a capability that nobody knows (V-3).
    await deliver(await peers.Quic.open(address), await peers.WebSocket.open(url), frames, wire.DEFLATE_1 | 1 << 63)
    await deliver(await peers.WebSocket.open(url), await peers.Quic.open(address), frames, wire.DEFLATE_1)
    # What does not shrink comes plain.
    assert COMPRESSED[True] >= 2, COMPRESSED
    print(f"{4 * len(TEXTS)} texts delivered, {COMPRESSED[True]} of them compressed")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
