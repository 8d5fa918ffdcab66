"""What `pip install channel_layers` alone must give: a working in-memory layer, and nothing else installed."""

import asyncio
import importlib.util
import pathlib
import sys

import channel_layers
from channel_layers import InvalidChannelLayerError
from channel_layers.conformance import Features  # without the test tools, too
from channel_layers.memory import InMemoryChannelLayer
from channel_layers.redis import RedisChannelLayer  # its modules import without their extra


async def main() -> None:
    async with InMemoryChannelLayer() as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "hello"})
        if await layer.receive(channel) != {"type": "hello"}:
            sys.exit("the in-memory layer does not deliver")


where = pathlib.Path(channel_layers.__file__)
if "site-packages" not in where.parts:
    sys.exit(f"this is not the installed wheel but {where}")
if not where.with_name("py.typed").exists():
    sys.exit("the wheel lacks py.typed")
for module in ("django", "channels", "pytest", "hypothesis", "msgpack", "redis", "hiredis"):
    if importlib.util.find_spec(module):
        sys.exit(f"{module} was installed, though nothing needs it")
asyncio.run(main())
try:
    RedisChannelLayer()
except InvalidChannelLayerError as error:
    if "pip install 'channel_layers[redis]'" not in str(error):
        sys.exit(f"the error for a missing extra does not say how to install it: {error}")
else:
    sys.exit("a Redis layer was built without redis-py")
if Features() != Features.from_mapping({}):
    sys.exit("the claims of a layer cannot be made")
print("the wheel alone works")
