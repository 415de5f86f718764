"""OR-Tools' CP-SAT, loaded so that it also works where TensorFlow was loaded before it.

Both bring an Abseil and a Protobuf of their own.  TensorFlow's symbols are global: bound to those,
OR-Tools (9.15, with TensorFlow 2.21) dies in its solver sooner or later.  So it is told to look
into its own libraries first.  Loaded before TensorFlow it needs no such help; and a sanitizer's
runtime takes none.
"""

from __future__ import annotations

import os
import sys

__all__ = ["cp_model"]

_flags = sys.getdlopenflags()
if "tensorflow" in sys.modules and hasattr(os, "RTLD_DEEPBIND"):
    sys.setdlopenflags(_flags | os.RTLD_DEEPBIND)
try:
    from ortools.sat.python import cp_model
finally:
    sys.setdlopenflags(_flags)
