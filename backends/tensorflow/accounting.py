"""What counts towards the peak of a call of a TensorFlow function."""

from __future__ import annotations

from lowtide.ir import Accounting

__all__ = ["ACCOUNTING"]

# What a call allocates: its results stay, its arguments are the caller's.
ACCOUNTING = Accounting(inputs_in_arena=False, outputs_live_to_end=True, alignment=1)
