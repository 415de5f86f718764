"""Device profiles: the memories of real boards, and what a plan may use of them.

A profile is a YAML file beside this one, or the user's own (`device.schema.json` has the format).
"""

from lowtide.devices.load import available, load_device
from lowtide.devices.memories import Placement, place_arena, pool_problem, pools_of
from lowtide.devices.profile import KERNEL_LIBRARIES, MEMORY_KINDS, Device, Memory

__all__ = [
    "KERNEL_LIBRARIES",
    "MEMORY_KINDS",
    "Device",
    "Memory",
    "Placement",
    "available",
    "load_device",
    "place_arena",
    "pool_problem",
    "pools_of",
]
