"""Roles that tests run again with other values."""

import contextlib


@contextlib.contextmanager
def changed_back(run, harmless=("--check",)):
    """Give a function that runs a play with other values; run it without them at the end, if something changed."""
    changed = []

    def change(*arguments, **values):
        if not {*harmless} & {*arguments}:
            changed.append(values)
        return run(*arguments, **values)

    yield change
    if changed:
        done = run()
        assert done.returncode == 0, done.stdout
