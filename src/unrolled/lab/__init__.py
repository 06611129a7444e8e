"""The lecture's claims and questions, answered by measurement: `lab.run(LabConfig(...))`, `unrolled lab`.

An experiment is a module with NAME, TITLE, CONSTANTS, cells(), summary(), report() and figures(); the
protocol `Experiment` says what each gives, `sentences/` is an example, and `registry.py` lists them.

    cells(config)          the plan: `Cell(key, settings, work)` each. A cell's result is a function of its
                           settings alone (give it its "seed", steps, sizes); torch is seeded before each, and
                           takes "threads" threads where that is among the settings.
                           What the clock says stands under a key "timing" in the result, however deep.
    work(settings)         does one cell: trains for real, gives a dictionary that JSON can hold (None for
                           what is not finite). A function of the module, silent (`train.run` takes
                           observers=[]), capped by steps where it can be. A run that diverged is a result,
                           no error. A path that its result does not depend on comes in by functools.partial.
    summary(done)          every number that the report prints, from the cells: `pick(done, model="lstm")`
                           gives the runs, `spread(values)` median and ends, `within_cap(values, cap)`
                           also how many got there; None is a run that did not: censored, never left out.
    report(summary)        Markdown from the summary alone: `number`, `spread_text`, `within_text` print.
    figures(done, folder)  PNG files by `unrolled.figures`, named NAME-….png.

The core does the rest: cells that are done, with these settings, are kept in OUT/results.json, which is
replaced after each cell; signals, the lock on OUT, progress, the report's head, machine and versions.
A test takes every number of report.md and looks for it among the summary, settings and CONSTANTS.

cells.py    Cell, Done, Experiment, pick       store.py    results.json
spread.py   aggregates, and how they print     report.py   report.md
run.py      plan, run, sum up                  machine.py  where it was run
tasks/      what needs memory, with controls   network.py  a network for a task
solving.py  training until solved              recipes.py  settings that solve each task
"""

from unrolled.lab.cells import Cell, Done, Experiment, pick
from unrolled.lab.run import Lab, run
from unrolled.lab.spread import number, spread, spread_text, within_cap, within_text

__all__ = [
    "Cell",
    "Done",
    "Experiment",
    "Lab",
    "number",
    "pick",
    "run",
    "spread",
    "spread_text",
    "within_cap",
    "within_text",
]
