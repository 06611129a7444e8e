"""ONNX: whole sequences in its own recurrent operators, or one step; run in ONNX Runtime, and compared.

format.py    the formats, and their check   drawing.py  each task as a graph     layers.py  recurrent layers
stepping.py  one step, its states explicit  scaling.py  raw channels in a graph  graph.py   nodes and weights
running.py   an exported file in ONNX Runtime
"""

from unrolled.export.onnx.format import OnnxSequences, OnnxStep
from unrolled.export.onnx.running import OnnxModel

__all__ = ["OnnxModel", "OnnxSequences", "OnnxStep"]
