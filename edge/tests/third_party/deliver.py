"""A text said over one transport is read over the other: deliver.py WEBSOCKET_URL QUIC_ADDRESS.

Each watcher counts its place in the log from `Subscribed` on, and finds the text at the offset that the author was told.
"""

import asyncio
import sys

import peers
import vectors
import wire

# Vectors of client.json whose texts take a round; the last is a text of 4096 bytes.
TEXTS = ["publish", "publish_every_script", "publish_longest"]


async def welcomed(peer, frames):
    await peer.send(frames["hello"].bytes)
    await next_of(peer, wire.WELCOME)
    await peer.send(frames["subscribe"].bytes)
    return wire.Subscribed(await next_of(peer, wire.SUBSCRIBED))


async def next_of(peer, kind):
    while True:
        frame = await peer.next()
        assert frame[0] not in (wire.REFUSED, wire.ERROR), frame.hex()
        if frame[0] == kind:
            return frame


async def find(watcher, position, text):
    """The offset of the next message, which has to be this one."""
    while True:
        batch = wire.Batch((await next_of(watcher, wire.BATCH))[1:])
        batch.locate(position)
        for message in batch.messages:
            assert message.text == text, f"{message.text!r} came instead of {text!r}"
            return message.offset


async def deliver(author, watcher, frames):
    alias = (await welcomed(author, frames)).alias
    position = (await welcomed(watcher, frames)).position
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
    print(f"{2 * len(TEXTS)} texts delivered")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
