"""Flatbuffers of any schema, verified before use: what readers and writers of such files share.

    schema = Schema.parse(text, root="Model", identifier=b"TFL3")
    root = verify(data, schema)          every byte that `root` will ever look at was checked
    root.tables("subgraphs")[0].text("name")

The schema, given as compact text, drives the verifier, the reader, the comparison and the list of
the ranges that objects occupy. Nothing is copied before it was checked.
"""

from lowtide.flatbuffer.comparison import differences
from lowtide.flatbuffer.schema import Field, Kind, Schema, TableType
from lowtide.flatbuffer.table import Table
from lowtide.flatbuffer.verifier import Limits, Range, Verified, verify
from lowtide.flatbuffer.writer import Node, write

__all__ = [
    "Field",
    "Kind",
    "Limits",
    "Node",
    "Range",
    "Schema",
    "Table",
    "TableType",
    "Verified",
    "differences",
    "verify",
    "write",
]
