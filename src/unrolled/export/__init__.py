"""A trained network where Python, or this package, is not: written, run there, and compared with ours.

    export("runs/pump", to="onnx", out="pump.onnx")

exporting.py  export: places, errors, the report     formats.py    the formats by name: `Format`, `register`
subject.py    what is exported                        checks.py     what a comparison found
interface.py, sequences.py  inputs and outputs of each task; examples, and our answers
plain.py, plain_model.py    plain torch: weights and a script     keras.py, full_rows.py      Keras, both ways
onnx/         for ONNX Runtime and what reads ONNX    tagging.py    tags of an exported tagger's scores
c/            for C99: microcontrollers, audio plug-ins
"""

from unrolled.export.c import CFormat as CFormat  # for bench; not public
from unrolled.export.checks import Check
from unrolled.export.exporting import Exported, export
from unrolled.export.formats import Format, register
from unrolled.export.keras import KerasModel, from_keras, to_keras
from unrolled.export.onnx import OnnxModel, OnnxSequences, OnnxStep
from unrolled.export.plain import TorchScript
from unrolled.export.subject import Subject, subject_of

__all__ = [
    "Check",
    "Exported",
    "Format",
    "OnnxModel",
    "Subject",
    "export",
    "from_keras",
    "register",
    "subject_of",
    "to_keras",
]

register(OnnxSequences())
register(OnnxStep())
register(TorchScript())
register(KerasModel())
register(CFormat())
