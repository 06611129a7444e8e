"""Tasks that need memory, each after its definition, with the score that needs none.

adding.py      two marked numbers, summed      recall.py      one marked symbol, named at the end
copying.py     ten symbols, repeated           mnist1d.py     ten curves in noise, told apart
task.py        what a task is
"""

from unrolled.lab.tasks.adding import Adding
from unrolled.lab.tasks.copying import Copying
from unrolled.lab.tasks.mnist1d import Mnist1d
from unrolled.lab.tasks.recall import Recall
from unrolled.lab.tasks.task import Examples, Task, solved_by

__all__ = ["Adding", "Copying", "Examples", "Mnist1d", "Recall", "Task", "solved_by"]
