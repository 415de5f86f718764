"""Training steps in Relax: loss and gradients of small networks, with TVM's checkpoints or without.

A network is a list of blocks. TVM's checkpointing keeps what goes from one segment of blocks to the
next, and computes the rest again in the backward pass.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import tvm
    from numpy.typing import NDArray
    from tvm import relax

    Values = tuple[relax.Expr, ...]
    Block = Callable[[Values], Values]

__all__ = ["NETWORKS", "Network", "mlp", "residual", "transformer", "unet"]


class Network:
    """A network to be trained: blocks, each of which maps what the one before it hands on.

    Attributes:
        blocks: the last one hands on the output first.
        inputs: the shape of the input.
        outputs: the shape of the output, and of what the loss compares it with.
        parameters: variables that gradients are wanted for.
    """

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.blocks: list[Block] = []
        self.parameters: list[relax.Var] = []

    def parameter(self, *shape: int) -> relax.Var:
        """A new one."""
        from tvm import relax

        name = f"w{len(self.parameters)}"
        self.parameters.append(relax.Var(name, relax.TensorType(shape, "float32")))
        return self.parameters[-1]

    def module(self, segment: int = 0) -> tvm.IRModule:
        """Forward and backward; checkpoints around every `segment` blocks, none at 0.

        The last segment is not computed again: its backward pass comes first.
        """
        from tvm import relax
        from tvm.relax.op.grad import end_checkpoint, start_checkpoint

        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType(self.inputs, "float32"))
        y = relax.Var("y", relax.TensorType(self.outputs, "float32"))
        with builder.function("main", [x, y, *self.parameters]):
            with builder.dataflow():
                values: Values = (x,)
                size = segment or len(self.blocks)
                for begin in range(0, len(self.blocks), size):
                    again = begin + size < len(self.blocks)
                    if again:
                        values = tuple(builder.emit(start_checkpoint(v)) for v in values)
                    for block in self.blocks[begin : begin + size]:
                        values = tuple(builder.emit(v) for v in block(values))
                    if again:
                        values = tuple(builder.emit(end_checkpoint(v)) for v in values)
                difference = builder.emit(relax.op.subtract(values[0], y))
                square = relax.op.multiply(difference, difference)
                loss = builder.emit_output(relax.op.mean(square))
            builder.emit_func_output(loss)
        return relax.transform.Gradient("main", require_grads=self.parameters)(builder.get())

    def arguments(self, seed: int = 0) -> list[NDArray[np.float32]]:
        """Random arguments; parameters are scaled so that values neither vanish nor overflow."""
        rng = np.random.default_rng(seed)
        shapes = [tuple(int(dim) for dim in w.ty.shape) for w in self.parameters]
        scales = [np.sqrt(2.0 / np.prod(s[1:] if len(s) > 2 else s[:1])) for s in shapes]
        given = [rng.standard_normal(shape) for shape in (self.inputs, self.outputs)]
        given += [scale * rng.standard_normal(s) for s, scale in zip(shapes, scales, strict=True)]
        return [array.astype(np.float32) for array in given]


def mlp(layers: int = 8, batch: int = 1024, width: int = 128) -> Network:
    """Dense layers with ReLU."""
    from tvm import relax

    net = Network((batch, width), (batch, width))

    def layer(w: relax.Var, b: relax.Var) -> Block:
        return lambda v: (relax.op.nn.relu(relax.op.add(relax.op.matmul(v[0], w), b)),)

    for _ in range(layers):
        net.blocks.append(layer(net.parameter(width, width), net.parameter(width)))
    return net


def residual(blocks: int = 6, batch: int = 4, channels: int = 8, size: int = 24) -> Network:
    """Residual convolutions at one resolution, between two convolutions."""
    from tvm import relax

    net = Network((batch, 3, size, size), (batch, 3, size, size))

    def conv(x: relax.Expr, w: relax.Var) -> relax.Expr:
        return relax.op.nn.conv2d(x, w, padding=1)

    def ends(w: relax.Var) -> Block:
        return lambda v: (conv(v[0], w),)

    def block(first: relax.Var, second: relax.Var) -> Block:
        return lambda v: (
            relax.op.add(v[0], conv(relax.op.nn.relu(conv(relax.op.nn.relu(v[0]), first)), second)),
        )

    net.blocks.append(ends(net.parameter(channels, 3, 3, 3)))
    for _ in range(blocks):
        w = [net.parameter(channels, channels, 3, 3) for _ in range(2)]
        net.blocks.append(block(*w))
    net.blocks.append(ends(net.parameter(3, channels, 3, 3)))
    return net


def transformer(
    layers: int = 4, batch: int = 4, length: int = 64, width: int = 64, heads: int = 4
) -> Network:
    """Encoder layers: attention and a two-layer perceptron, each normalised before and added."""
    from tvm import relax

    op = relax.op
    net = Network((batch, length, width), (batch, length, width))
    each = width // heads

    def normalised(x: relax.Expr) -> relax.Expr:
        centred = op.subtract(x, op.mean(x, axis=-1, keepdims=True))
        variance = op.mean(op.multiply(centred, centred), axis=-1, keepdims=True)
        return op.divide(centred, op.sqrt(op.add(variance, relax.const(1e-5))))

    def split(x: relax.Expr) -> relax.Expr:
        return op.permute_dims(op.reshape(x, [batch, length, heads, each]), [0, 2, 1, 3])

    def attention(x: relax.Expr, w: list[relax.Var]) -> relax.Expr:
        inner = normalised(x)
        q, k, v = (split(op.matmul(inner, each)) for each in w[:3])
        scores = op.matmul(q, op.permute_dims(k, [0, 1, 3, 2]))
        weights = op.nn.softmax(op.multiply(scores, relax.const(each**-0.5)))
        joined = op.permute_dims(op.matmul(weights, v), [0, 2, 1, 3])
        return op.add(x, op.matmul(op.reshape(joined, [batch, length, width]), w[3]))

    def perceptron(x: relax.Expr, first: relax.Var, second: relax.Var) -> relax.Expr:
        hidden = op.nn.silu(op.matmul(normalised(x), first))
        return op.add(x, op.matmul(hidden, second))

    def layer(w: list[relax.Var]) -> Block:
        return lambda v: (perceptron(attention(v[0], w[:4]), w[4], w[5]),)

    for _ in range(layers):
        square = [net.parameter(width, width) for _ in range(4)]
        wide = [net.parameter(width, 4 * width), net.parameter(4 * width, width)]
        net.blocks.append(layer([*square, *wide]))
    return net


def unet(levels: int = 3, batch: int = 4, channels: int = 8, size: int = 32) -> Network:
    """Down by pooling, up by repetition, and a skip connection at every level."""
    from tvm import relax

    op = relax.op
    net = Network((batch, 3, size, size), (batch, 3, size, size))

    def conv(x: relax.Expr, w: relax.Var) -> relax.Expr:
        return op.nn.relu(op.nn.conv2d(x, w, padding=1))

    def down(first: relax.Var, second: relax.Var) -> Block:
        def block(v: Values) -> Values:
            builder = relax.BlockBuilder.current()
            assert builder is not None
            kept = builder.emit(conv(conv(v[0], first), second))
            return op.nn.max_pool2d(kept, [2, 2], [2, 2]), kept, *v[1:]

        return block

    def up(first: relax.Var, second: relax.Var, at: int, wide: int) -> Block:
        def block(v: Values) -> Values:
            grown = op.broadcast_to(
                op.reshape(v[0], [batch, wide, at, 1, at, 1]), [batch, wide, at, 2, at, 2]
            )
            grown = op.reshape(grown, [batch, wide, 2 * at, 2 * at])
            return conv(conv(op.concat([grown, v[1]], axis=1), first), second), *v[2:]

        return block

    widths = [channels << level for level in range(levels + 1)]
    before = 3
    for width in widths[:-1]:
        net.blocks.append(
            down(net.parameter(width, before, 3, 3), net.parameter(width, width, 3, 3))
        )
        before = width
    bottom = net.parameter(widths[-1], before, 3, 3)
    net.blocks.append(lambda v: (conv(v[0], bottom), *v[1:]))
    for level in reversed(range(levels)):
        width = widths[level]
        first = net.parameter(width, widths[level + 1] + width, 3, 3)
        second = net.parameter(width, width, 3, 3)
        net.blocks.append(up(first, second, size >> (level + 1), widths[level + 1]))
    last = net.parameter(3, channels, 1, 1)
    net.blocks.append(lambda v: (op.nn.conv2d(v[0], last),))
    return net


NETWORKS: dict[str, Callable[[], Network]] = {
    "mlp": mlp,
    "residual": residual,
    "transformer": transformer,
    "unet": unet,
}
