"""`--to c`: a folder of C99 that runs a network step by step.

form.py     the format: writes, checks, compares       text.py     numbers and names as C writes them
plan.py     arrays in the order of the code            check.py    compiled, compared with `unrolled.stream`
reading.py  raw values in, answers out                 scaling.py  numbers standardised as in training
series.py   the same of forecasters                    source.py   model.c, and weights as arrays
fields.py   a member of the state; what a reader is    state.py    the state; saved and loaded
header.py   model.h                                    weights_file.py  model.bin
pages.py    README.md and main.c                       user_file.py  what `--check FILE` compares
pieces.c, example.c, harness.c, bind.c                 the C that is put together
"""

from unrolled.export.c.form import CFormat

__all__ = ["CFormat"]
