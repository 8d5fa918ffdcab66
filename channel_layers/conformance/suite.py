"""All parts of the suite, joined."""

from __future__ import annotations

from .attributes import AttributeTests
from .cancellation import CancellationTests
from .capacity import CapacityTests
from .counting import StatisticsTests
from .delivery import DeliveryTests, PrefixTests
from .expiry import ExpiryTests
from .groups import GroupTests
from .isolation import IsolationTests
from .lifecycle import CloseTests, FlushTests
from .loops import LoopTests
from .memory import MemoryTests
from .messages import MessageTests
from .names import NameTests, NewChannelTests
from .processes import ProcessTests
from .properties import PropertyTests
from .sizes import SizeTests


class ChannelLayerConformance(
    AttributeTests,
    NameTests,
    NewChannelTests,
    MessageTests,
    SizeTests,
    IsolationTests,
    DeliveryTests,
    PrefixTests,
    CancellationTests,
    GroupTests,
    CapacityTests,
    ExpiryTests,
    FlushTests,
    CloseTests,
    LoopTests,
    ProcessTests,
    StatisticsTests,
    MemoryTests,
    PropertyTests,
):
    """The specification as tests, for any channel layer.

    Subclass it, name the subclass ``Test...``, and define :meth:`make_layer`; say in ``features`` what your layer does
    not claim::

        from channel_layers.conformance import ChannelLayerConformance, Features


        class TestMyLayer(ChannelLayerConformance):
            features = Features(cross_process=False)

            def make_layer(self, **config):
                return MyLayer(**config)

    It needs pytest, pytest-asyncio (in either mode) and Hypothesis: ``pip install 'channel_layers[test]'``.
    """
