"""The downsides, in the order of the report."""

from __future__ import annotations

from unrolled.lab.remedies import exploding, fading, order, sensitivity, slow
from unrolled.lab.remedies.part import Part

__all__ = ["PARTS"]

PARTS: dict[str, Part] = {
    module.PART.name: module.PART for module in (slow, fading, exploding, order, sensitivity)
}
