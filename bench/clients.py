"""Our layers in programs that exist, beside the same programs on torch.nn.

    python bench/clients.py programs                          # whole trainings and training steps
    python bench/clients.py programs --only recurrent_ppo --seeds 3
    python bench/clients.py programs --only bilstm_crf --conll DATA/conll2000/train.txt
    python bench/clients.py grid                              # layer by layer, over shapes

Both sides run in turn in one process. `--clock cpu` gives CPU seconds of the process, for a machine with
other work on it. `--keep` writes bench/clients.json, for docs/clients/when-it-helps.md (`make docs`).

client_programs.py   the programs: RecurrentPPO, DeepAR, a forecaster, a tagger with a CRF, opacus
client_record.py     bench/clients.json
shape_grid.py        single layers and cells, over shapes
"""

from __future__ import annotations

import argparse
import importlib
import sys

PARTS = {  # a command: the file that measures it
    "programs": ("client_programs", "whole programs, on torch.nn and on our layers"),
    "grid": ("shape_grid", "single layers and cells, over shapes"),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parts = {}
    for name, (file, words) in PARTS.items():
        parts[name] = importlib.import_module(file)
        parts[name].add_arguments(commands.add_parser(name, help=words, description=words))
    asked = parser.parse_args()
    code: int = parts[asked.command].run(asked)
    return code


if __name__ == "__main__":
    sys.exit(main())
