"""The garbage collector, which stops everybody for as long as it looks."""

import gc


def spare_what_is_here() -> None:
    """Have it look only at what comes from now on: what a program has when it has started it has until it ends.

    Fifty thousand objects, most of them of modules, are looked at for 25 ms each time that it looks at everything.
    """
    gc.collect()
    gc.freeze()
