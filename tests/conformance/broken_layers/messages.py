"""Layers that break a rule of messages: their types, their values, and who shares them."""

from __future__ import annotations

import base64
import copy
import unicodedata
from typing import Any, ClassVar

from channel_layers.exceptions import InvalidMessage
from channel_layers.memory import _Shared
from channel_layers.messages import plain_copy

from .base import BrokenLayer

# Who shares an object with whom


class SharesWithTheSender(
    BrokenLayer,
    caught_by="test_a_message_sent_twice_arrives_as_two test_a_waiting_receiver_does_not_share_with_the_sender "
    "test_sending_does_not_change_the_message test_the_sender_changes_its_group_message_afterwards "
    "test_the_sender_changes_its_message_afterwards",
    also="MessageTests",
):
    """Isolation: the receiver gets the very dict that was sent."""

    def serialize(self, message: dict[str, Any]) -> Any:
        message.update(plain_copy(message))  # made plain in place, so that nothing else is wrong with it
        return message


class SharesNestedWithTheSender(
    BrokenLayer,
    caught_by="test_the_sender_changes_its_message_afterwards test_the_sender_changes_its_group_message_afterwards",
):
    """Isolation: what is nested in the message is the sender's own."""

    def serialize(self, message: dict[str, Any]) -> Any:
        plain = plain_copy(message)
        return {key: message[key] if _is_plain(message[key], value) else value for key, value in plain.items()}


class MembersShareTheMessage(
    BrokenLayer,
    caught_by="test_members_do_not_share test_flat_group_messages_are_not_shared",
):
    """Isolation: the members of a group get one dict together."""

    def deserialize(self, payload: Any) -> dict[str, Any]:
        return payload.message if isinstance(payload, _Shared) else payload


class MembersShareWhatIsNested(BrokenLayer, caught_by="test_members_do_not_share"):
    """Isolation: the members of a group get a dict each, with the same objects in it."""

    def deserialize(self, payload: Any) -> dict[str, Any]:
        return payload.message.copy() if isinstance(payload, _Shared) else payload


def _is_plain(value: Any, plain: Any) -> bool:
    """Whether a message is of plain types all through, so that sharing it breaks nothing else."""
    if value.__class__ is not plain.__class__:
        return False
    if isinstance(value, dict):
        return all(_is_plain(item, plain[key]) for key, item in value.items())
    return not isinstance(value, list) or all(map(_is_plain, value, plain))


# What arrives is what was sent


class _Changes(BrokenLayer):
    """Changes the values of one kind on their way."""

    def serialize(self, message: dict[str, Any]) -> Any:
        return {key: self._changed(value) for key, value in plain_copy(message).items()}

    def _changed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._changed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._changed(item) for item in value]
        return self.change(value)

    def change(self, value: Any) -> Any:
        raise NotImplementedError


class BytesBecomeText(
    _Changes,
    caught_by="test_any_legal_message_arrives test_value_arrives test_values_arrive_through_a_group",
    also="IsolationTests",
):
    """Types: byte strings arrive as str."""

    def change(self, value: Any) -> Any:
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value


class BoolsBecomeInts(_Changes, caught_by="test_value_arrives"):
    """Types: booleans arrive as integers."""

    def change(self, value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value


class WholeFloatsBecomeInts(_Changes, caught_by="test_value_arrives"):
    """Types: floats without a fraction arrive as integers."""

    def change(self, value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value


class LargeIntsLosePrecision(_Changes, caught_by="test_value_arrives"):
    """Values: integers of more than 53 bits are rounded."""

    def change(self, value: Any) -> Any:
        return int(float(value)) if isinstance(value, int) and abs(value) > 2**53 else value


class NormalisesText(_Changes, caught_by="test_value_arrives"):
    """Values: text arrives in another Unicode form."""

    def change(self, value: Any) -> Any:
        return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


class TextEndsAtNull(_Changes, caught_by="test_value_arrives"):
    """Values: text is cut at a null character."""

    def change(self, value: Any) -> Any:
        return value.partition("\0")[0] if isinstance(value, str) else value


class EmptyKeysAreDropped(BrokenLayer, caught_by="test_keys_arrive"):
    """Keys: any str is a key; here an empty one is left out."""

    def serialize(self, message: dict[str, Any]) -> Any:
        return {key: value for key, value in plain_copy(message).items() if key}


class DropsNone(BrokenLayer, caught_by="test_value_arrives"):
    """Values: keys whose value is None are left out."""

    def serialize(self, message: dict[str, Any]) -> Any:
        return {key: value for key, value in plain_copy(message).items() if value is not None}


class _Keeps(BrokenLayer):
    """Lets values of one kind pass as they are, where they should arrive as a plain type."""

    def kept(self, value: Any) -> bool:
        raise NotImplementedError

    def serialize(self, message: dict[str, Any]) -> Any:
        return self._kept(message, plain_copy(message))

    def _kept(self, value: Any, plain: Any) -> Any:
        if isinstance(plain, dict):
            return {key: self._kept(item, plain[str(key)]) for key, item in value.items()}
        if isinstance(plain, list):
            return type(value if self.kept(value) else plain)(map(self._kept, value, plain))
        return value if self.kept(value) else plain


class TuplesStay(_Keeps, caught_by="test_value_arrives test_subclass_arrives_as_plain_type"):
    """Types: tuples arrive as tuples, not as lists."""

    def kept(self, value: Any) -> bool:
        return isinstance(value, tuple)


class BytearraysStay(
    _Keeps,
    caught_by="test_subclass_arrives_as_plain_type test_the_sender_changes_its_bytearray_afterwards",
    also="IsolationTests",
):
    """Types: bytearray arrives as such, not as bytes."""

    def kept(self, value: Any) -> bool:
        return isinstance(value, bytearray)


class SubclassesStay(_Keeps, caught_by="test_subclass_arrives_as_plain_type"):
    """Types: an object of a subclass arrives as such, not as the plain type."""

    def kept(self, value: Any) -> bool:
        return isinstance(value, (str, int, float)) and type(value) not in (str, int, float, bool)


# What no backend could carry


class _Forgives(BrokenLayer):
    """Lets pass what should be refused, by the words of the refusal."""

    forgiven: ClassVar[str]

    def serialize(self, message: dict[str, Any]) -> Any:
        try:
            return plain_copy(message)
        except InvalidMessage as error:
            if self.forgiven in error.problem:
                return self.repair(message)
            raise

    def repair(self, message: Any) -> Any:
        return copy.deepcopy(message)


class SetsAllowed(
    _Forgives,
    caught_by="test_a_refused_message_changes_nothing test_any_foreign_value_is_refused test_value_is_refused",
    also="StatisticsTests",
):
    """Refused types: a set passes."""

    forgiven = "set cannot"


class DatetimesAllowed(_Forgives, caught_by="test_value_is_refused"):
    """Refused types: a datetime passes."""

    forgiven = "datetime cannot"


class HugeIntsAllowed(_Forgives, caught_by="test_value_is_refused"):
    """Refused values: integers outside 64 bits pass."""

    forgiven = "64-bit"


class SurrogatesAllowed(_Forgives, caught_by="test_value_is_refused test_key_is_refused"):
    """Refused values: a lone surrogate passes."""

    forgiven = "surrogate"


class AnyDepthAllowed(_Forgives, caught_by="test_too_deep_messages_are_refused"):
    """Refused values: nesting beyond 128 levels passes."""

    forgiven = "nested deeper"


class DeepMessagesRefused(BrokenLayer, caught_by="test_deep_messages_arrive"):
    """Values: a message may be nested to 128 levels; here to 64."""

    def serialize(self, message: dict[str, Any]) -> Any:
        plain = plain_copy(message)
        if _depth(plain) > 64:
            raise InvalidMessage("message", "nested too deep")
        return plain


def _depth(value: Any) -> int:
    if isinstance(value, (dict, list)):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


class DictSubclassesRefused(BrokenLayer, caught_by="test_a_subclass_of_dict_is_a_message"):
    """Types: a message may be of a subclass of dict; here it may not."""

    def serialize(self, message: dict[str, Any]) -> Any:
        if isinstance(message, dict) and type(message) is not dict:
            raise InvalidMessage("message", "not a dict")
        return plain_copy(message)


class KeysBecomeText(_Forgives, caught_by="test_key_is_refused"):
    """Refused keys: an integer key is turned into a str."""

    forgiven = "keys must be str"

    def repair(self, message: Any) -> Any:
        if isinstance(message, dict):
            return {str(key): self.repair(value) for key, value in message.items()}
        return [self.repair(item) for item in message] if isinstance(message, list) else message


class AnythingIsAMessage(_Forgives, caught_by="test_a_message_must_be_a_dict"):
    """A message is a dict: here anything may be sent, and arrives in one."""

    forgiven = "is not a dict"

    def repair(self, message: Any) -> Any:
        return {"value": copy.deepcopy(message)}


class RefusalsNameNoPath(BrokenLayer, caught_by="test_refusal_names_the_path"):
    """A refusal names the path of the value: here it does not."""

    def serialize(self, message: dict[str, Any]) -> Any:
        try:
            return plain_copy(message)
        except InvalidMessage:
            raise InvalidMessage from None


class NothingIsCheckedForAnEmptyGroup(BrokenLayer, caught_by="test_a_message_must_be_a_dict"):
    """Refused types: group_send refuses them whoever listens; here not where nobody does."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._admit_group(group)
        if self._groups.members(group):
            await super().group_send(group, message)
        else:
            self._sent.accept()
