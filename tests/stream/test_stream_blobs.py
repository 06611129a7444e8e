"""A thousand spoilt states: each is refused with a StateError, and nothing has changed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_cases import inputs, recurrent

from unrolled import UnrolledError, kernels
from unrolled.errors import StateError

pytestmark = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))

CHECK = 16


def signed(body: bytes) -> bytes:
    """Bytes with a check sum that fits."""
    return body + hashlib.sha256(body).digest()[:CHECK]


def spoilt(blob: bytes, foreign: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Bits flipped, bytes cut, added, swapped, of another model, and the same under a check sum that fits."""
    chance = random.Random(seed)
    while count:
        kind, body = chance.randrange(9), bytearray(blob[:-CHECK])
        at = chance.randrange(len(blob))
        if kind == 0:
            made = bytearray(blob)
            made[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            made = bytearray(blob[:at])
        elif kind == 2:
            made = bytearray(blob + chance.randbytes(chance.choice([1, 4, 16, 1000])))
        elif kind == 3:
            made = bytearray(
                chance.choice([b"", b"\x89PNG\r\n", b"PK\3\4", b"\x80\4K\1.", blob[:15], blob[16:]])
                + blob[at:]
            )
        elif kind == 4:
            made = bytearray(
                chance.choice([foreign, foreign[:at] + blob[at:], blob[:at] + foreign[at:], blob[::-1]])
            )
        elif kind == 5:  # from here on the check sum fits
            body[chance.randrange(56)] ^= 1 << chance.randrange(8)  # magic, version, fingerprint, count
            made = bytearray(signed(bytes(body)))
        elif kind == 6:
            made = bytearray(signed(bytes(body[: chance.randrange(len(body))])))
        elif kind == 7:
            made = bytearray(signed(bytes(body) + chance.randbytes(chance.choice([1, 2, 3, 4, 8, 400]))))
        else:
            number = 56 + 4 * chance.randrange((len(body) - 56) // 4)
            body[number : number + 4] = chance.choice(
                [b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\1\0\x80\x7f"]
            )  # NaN, -inf
            made = bytearray(signed(bytes(body)))
        if bytes(made) != blob:
            count -= 1
            yield bytes(made)


def test_a_thousand_spoilt_states_are_refused():
    model, other = recurrent("LSTM", 3, 5, 2), recurrent("LSTM", 3, 5, 2, seed=1)
    session, pool = model.open(), model.pool(2)
    session.run(inputs(9, 3))
    blob, elsewhere, rested = session.save(), other.open().save(), pool.save(1)
    for number, bad in enumerate(spoilt(blob, elsewhere, 1000, seed=1)):
        take = (
            lambda bad: model.open(bad),
            lambda bad: setattr(session, "state", memoryview(bad)),
            lambda bad: pool.restore(1, bytearray(bad)),
        )[number % 3]
        with pytest.raises(UnrolledError) as caught:
            take(bad)
        assert type(caught.value) is StateError, (number, caught.value)
        assert str(caught.value).startswith("state: expected "), number
        assert str(caught.value).isprintable(), number
        assert len(str(caught.value)) < 200, number
        if number % 50 == 0:
            assert session.save() == blob
            assert pool.save(1) == rested
    assert session.save() == blob
    assert pool.save(1) == rested
    assert model.open(blob).save() == blob


@given(st.binary(max_size=300))
def test_no_bytes_from_elsewhere_are_a_state(raw: bytes):
    with pytest.raises(StateError):
        recurrent("GRU", 1, 2).open(raw)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_every_finite_state_comes_back_to_the_bit(numbers: list[float]):
    """Subnormal ones, the largest ones and minus zero too."""
    model = recurrent("GRU", 2, 3, 2)
    h = np.array(numbers, np.float32).reshape(2, 3)
    blob = model.open({"h": h}).save()
    assert model.open(blob).state["h"].tobytes() == h.tobytes()
    assert model.open(memoryview(blob)).save() == blob
