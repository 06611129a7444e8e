"""`--to c`: a folder of C99 that runs a network step by step.

form.py     the format: writes, checks, compares       text.py     numbers and names as C writes them
plan.py     arrays in the order of the code            check.py    compiled, compared with `unrolled.stream`
reading.py  raw values in, answers out                 scaling.py  numbers standardised as in training
series.py   the same of forecasters                    source.py   model.h, model.c, the weights
fields.py   members of the state                       pages.py    README.md and main.c
user_file.py  what `--check FILE` compares
pieces.c, example.c, harness.c, bind.c                 the C that is put together
"""

from unrolled.export.c.form import CFormat

__all__ = ["CFormat"]
