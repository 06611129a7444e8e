"""Experiments: tasks that need memory, and networks that solve them.

tasks/         the tasks              network.py     a recurrent stack with a read-out
recipes.py     settings that work     solving.py     train until solved
"""

__all__: list[str] = []
