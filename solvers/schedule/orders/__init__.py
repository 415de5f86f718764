"""Named orders: the heuristics that users run today, and those that start our search."""
