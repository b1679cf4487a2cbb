"""Shows the dead letters of the consumer beside it; with the argument ``return`` moves them back.

An idempotent consumer may get a message again at any time, so returning one is always safe.
"""

import asyncio
import os
import sys

import aio_pika

QUEUE, DEAD, BACK = "consumer.erasure", "consumer.erasure.dead", "consumer.erasure.return"


async def main(returning: bool) -> None:
    """Take as many as are there now, one after another."""
    async with await aio_pika.connect(os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel(on_return_raises=True)  # confirms are the default
        back = await channel.declare_exchange(BACK, "fanout", durable=True)
        await (await channel.declare_queue(QUEUE, passive=True)).bind(back)
        letters = await channel.declare_queue(DEAD, passive=True)
        for _ in range(letters.declaration_result.message_count or 0):
            letter = await letters.get(fail=False)
            if letter is None:
                break
            death = letter.headers.get("x-death", [{}])[0]
            print(letter.message_id, death.get("reason"), death.get("time"), letter.body[:60])
            if returning:
                await back.publish(letter, routing_key="")
                await letter.ack()  # those that are not acknowledged stay, when the connection ends


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] == ["return"]))
