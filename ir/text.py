r"""The text form: print and parse, one line per tensor definition or op, golden-testable.

    graph "net" {
      %x = input float32[1,3,8,8]
      %w = constant float32[4,3,3,3]
      conv: (%a float32[1,4,8,8]) = onnx.Conv(%x, %w, _) {group = 1} workspace(64)
      relu: (%b float32[1,4,8,8]) = onnx.Relu(%a) in_place(0<-0)
      view: (%c float32[256] alias %b+0) = onnx.Reshape(%b) view
      return %c
    }

`workspace(?)` is scratch that is not modelled. A name that is not made of letters, digits and
`_ . / : -` is written as a JSON string. `bytes(n)` follows a tensor whose size is not the dense
one. Costs and sources are not printed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.ir.dtype import nbytes as dense_nbytes
from lowtide.ir.graph import Graph
from lowtide.ir.op import InPlace, Traits
from lowtide.ir.tensor import Alias, Role

if TYPE_CHECKING:
    from lowtide.ir.op import Attribute, Op
    from lowtide.ir.tensor import Tensor

__all__ = ["parse", "print_graph"]

_PLAIN = re.compile(r"[A-Za-z0-9_./:\-]*[A-Za-z0-9_./\-]\Z")
_TRAITS = ("pinned", "random", "once", "view", "commutes")


def print_graph(graph: Graph) -> str:
    """The graph as text; `parse` gives an equal graph back."""
    lines = [f"graph {json.dumps(graph.name)} {{"]
    lines.extend(
        f"  {_reference(t)} = {t.role} {_type(t)}" for t in graph.tensors if t.producer is None
    )
    lines.extend("  " + _op_line(op) for op in graph.ops)
    lines.append("  return " + ", ".join(_reference(t) for t in graph.outputs))
    lines.append("}")
    return "\n".join(lines) + "\n"


def _name(name: str) -> str:
    return name if _PLAIN.match(name) and name != "_" else json.dumps(name)


def _reference(tensor: Tensor | None) -> str:
    return "_" if tensor is None else "%" + _name(tensor.name)


def _type(tensor: Tensor) -> str:
    text = f"{tensor.dtype}[{','.join(map(str, tensor.shape))}]"
    if tensor.nbytes != dense_nbytes(tensor.dtype, tensor.shape):
        text += f" bytes({tensor.nbytes})"
    if tensor.alias is not None:
        text += f" alias {_reference(tensor.alias.base)}+{tensor.alias.offset}"
    return text


def _op_line(op: Op) -> str:
    results = ", ".join(f"{_reference(t)} {_type(t)}" for t in op.outputs)
    operands = ", ".join(map(_reference, op.inputs))
    line = f"{_name(op.name)}: ({results}) = {_name(op.qualified)}({operands})"
    if op.attributes:
        pairs = (f"{_name(k)} = {json.dumps(v)}" for k, v in op.attributes.items())
        line += " {" + ", ".join(pairs) + "}"
    line += "".join(f" {trait}" for trait in _TRAITS if getattr(op.traits, trait))
    if op.in_place:
        line += " in_place(" + ", ".join(f"{c.output}<-{c.input}" for c in op.in_place) + ")"
    if not op.workspace_known:
        line += " workspace(?)"
    elif op.workspace_bytes:
        line += f" workspace({op.workspace_bytes})"
    if op.flops:
        line += f" flops({op.flops})"
    return line


_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
        |(?P<arrow><-)
        |(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![A-Za-z0-9_./:\-]))
        |(?P<word>[A-Za-z0-9_./\-](?:[A-Za-z0-9_./:\-]*[A-Za-z0-9_./\-])?)
        |(?P<mark>[{}()\[\],=%:+?]))""",
    re.VERBOSE,
)


class _Reader:
    """Tokens of one text, with what is needed to say where it went wrong."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                rest = text[position:].lstrip()
                line = text.count("\n", 0, len(text) - len(rest)) + 1
                raise InputError(f"text IR, line {line}: cannot read `{rest[:20]}`")
            line = text.count("\n", 0, match.start(match.lastgroup)) + 1
            self.tokens.append((match.lastgroup, match.group(match.lastgroup), line))
            position = match.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        if self.at >= len(self.tokens):
            raise InputError(f"text IR ends where {' or '.join(expected) or 'more'} is expected")
        _, token, line = self.tokens[self.at]
        if expected and token not in expected:
            raise InputError(
                f"text IR, line {line}: found `{token}`, expected {' or '.join(expected)}"
            )
        self.at += 1
        return token

    def name(self) -> str:
        token = self.take()
        if token.startswith('"'):
            text: str = json.loads(token)
            return text
        return token

    def number(self) -> int:
        token = self.take()
        if not re.fullmatch(r"\d+", token):
            line = self.tokens[self.at - 1][2]
            raise InputError(f"text IR, line {line}: `{token}` is not a whole number")
        return int(token)

    def accept(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False


def parse(text: str) -> Graph:
    """The graph that `text` describes.

    Raises:
        InputError: the text does not follow the form; the message names the line.
    """
    reader = _Reader(text)
    reader.take("graph")
    graph = Graph(reader.name())
    reader.take("{")
    while reader.peek() != "return":
        if reader.accept("%"):
            name = reader.name()
            reader.take("=")
            role = Role(reader.take(Role.INPUT, Role.CONSTANT, Role.STATE))
            _define(reader, graph, name, role)
        else:
            _parse_op(reader, graph)
    reader.take("return")
    while reader.accept("%"):
        graph.add_output(_lookup(reader, graph))
        reader.accept(",")
    reader.take("}")
    return graph


def _lookup(reader: _Reader, graph: Graph) -> Tensor:
    name = reader.name()
    if name not in graph:
        line = reader.tokens[reader.at - 1][2]
        raise InputError(f"text IR, line {line}: `%{name}` is not defined above")
    return graph.tensor(name)


def _define(reader: _Reader, graph: Graph, name: str, role: Role) -> Tensor:
    dtype = reader.take()
    reader.take("[")
    dims: list[int] = []
    while not reader.accept("]"):
        dims.append(reader.number())
        reader.accept(",")
    size = None
    if reader.accept("bytes"):
        reader.take("(")
        size = reader.number()
        reader.take(")")
    alias = None
    if reader.accept("alias"):
        reader.take("%")
        base = _lookup(reader, graph)
        reader.take("+")
        alias = Alias(base, reader.number())
    return graph.add_tensor(name, dtype, dims, role=role, nbytes=size, alias=alias)


def _parse_op(reader: _Reader, graph: Graph) -> None:
    name = reader.name()
    reader.take(":")
    reader.take("(")
    results: list[Tensor] = []
    while reader.accept("%"):
        results.append(_define(reader, graph, reader.name(), Role.ACTIVATION))
        reader.accept(",")
    reader.take(")")
    reader.take("=")
    dialect, _, kind = reader.name().rpartition(".")
    reader.take("(")
    operands: list[Tensor | None] = []
    while not reader.accept(")"):
        if reader.accept("_"):
            operands.append(None)
        else:
            reader.take("%")
            operands.append(_lookup(reader, graph))
        reader.accept(",")
    attributes = _parse_attributes(reader)
    flags = dict.fromkeys(_TRAITS, False)
    while reader.peek() in flags:
        flags[reader.take()] = True
    in_place: list[InPlace] = []
    if reader.accept("in_place"):
        reader.take("(")
        while not reader.accept(")"):
            output = reader.number()
            reader.take("<-")
            in_place.append(InPlace(output, reader.number()))
            reader.accept(",")
    numbers = {"workspace": 0, "flops": 0}
    known = True
    while reader.peek() in numbers:
        key = reader.take()
        reader.take("(")
        if key == "workspace" and reader.accept("?"):
            known = False
        else:
            numbers[key] = reader.number()
        reader.take(")")
    graph.add_op(
        name,
        dialect,
        kind,
        operands,
        results,
        attributes=attributes,
        traits=Traits(**flags),
        in_place=tuple(in_place),
        workspace_bytes=numbers["workspace"],
        workspace_known=known,
        flops=numbers["flops"],
    )


def _parse_attributes(reader: _Reader) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {}
    if not reader.accept("{"):
        return attributes
    while not reader.accept("}"):
        key = reader.name()
        reader.take("=")
        if reader.accept("["):
            items: list[int | float | str] = []
            while not reader.accept("]"):
                items.append(json.loads(reader.take()))
                reader.accept(",")
            attributes[key] = tuple(items)  # type: ignore[assignment]
        else:
            attributes[key] = json.loads(reader.take())
        reader.accept(",")
    return attributes
