"""RNN, GRU and LSTM: one step after the other, unrolled where the sequence is short."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Sequence

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__: list[str] = []

_UNROLLED = 32
_ATTRIBUTES = (
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "layout",
)

_ALPHA = frozenset({"affine", "elu", "hardsigmoid", "leakyrelu", "scaledtanh", "thresholdedrelu"})
_BETA = frozenset({"affine", "hardsigmoid", "scaledtanh"})

_Function = Callable[[Tensor], Tensor]
# (what the input contributes to a step, states) -> states; the first state is the output.
_Step = Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor]]


def _activation(call: Call, name: str, alpha: float | None, beta: float | None) -> _Function:
    kind = name.lower()
    a = alpha
    known: dict[str, _Function] = {
        "relu": tf.nn.relu,
        "tanh": tf.tanh,
        "sigmoid": tf.sigmoid,
        "affine": lambda x: (1.0 if a is None else a) * x + (beta or 0.0),
        "leakyrelu": lambda x: tf.nn.leaky_relu(x, 0.01 if a is None else a),
        "thresholdedrelu": lambda x: tf.where(x > (1.0 if a is None else a), x, 0.0 * x),
        "scaledtanh": lambda x: (
            (1.0 if a is None else a) * tf.tanh((1.0 if beta is None else beta) * x)
        ),
        "hardsigmoid": lambda x: tf.clip_by_value(
            (0.2 if a is None else a) * x + (0.5 if beta is None else beta), 0, 1
        ),
        "elu": lambda x: tf.where(x < 0, (1.0 if a is None else a) * tf.math.expm1(x), x),
        "softsign": tf.nn.softsign,
        "softplus": tf.math.softplus,
    }
    if kind not in known:
        call.fail(f"activation `{name}` is not emitted: known are {', '.join(sorted(known))}")
    return known[kind]


def _activations(call: Call, default: Sequence[str], directions: int) -> list[list[_Function]]:
    """The functions of each direction; alphas and betas go, in order, to those that have them."""
    names = list(call.strings("activations") or [*default] * directions)
    count = len(default)
    if len(names) != count * directions:
        call.fail(f"{len(names)} activations are given: {count * directions} are needed")
    alphas = iter(call.floats("activation_alpha") or ())
    betas = iter(call.floats("activation_beta") or ())
    functions: list[_Function] = []
    for name in names:
        alpha = next(alphas, None) if name.lower() in _ALPHA else None
        beta = next(betas, None) if name.lower() in _BETA else None
        functions.append(_activation(call, name, alpha, beta))
    return [functions[d * count : (d + 1) * count] for d in range(directions)]


def _clipped(call: Call) -> _Function:
    limit = call.number("clip", 0.0)
    if not limit:
        return lambda x: x
    return lambda x: tf.clip_by_value(x, -limit, limit)


def _recurrence(
    call: Call,
    states: int,
    gates: int,
    default: Sequence[str],
    cell: Callable[[int, list[_Function]], tuple[Tensor, Tensor, _Step]],
) -> Sequence[Value]:
    """Run the cell over the sequence, in one or both directions.

    `cell(direction, functions)` gives the input's weight [in, gates * hidden], a bias, the step.
    """
    direction = call.text("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        call.fail(f"direction `{direction}` is unknown")
    directions = 2 if direction == "bidirectional" else 1
    batch_first = bool(call.integer("layout", 0))
    x = call.tensor(0)
    if batch_first:
        x = tf.transpose(x, [1, 0, 2])
    functions = _activations(call, default, directions)
    lengths = cast(call.tensor(4), tf.int32) if call.has(4) else None
    known = call.static(4) if call.has(4) else None
    if known is not None and x.shape[0] is not None and (known == x.shape[0]).all():
        lengths = None
    hidden = call.integer("hidden_size", 0) or (call.value(2).shape or (None,))[-1]
    del gates
    outputs: list[Tensor] = []
    finals: list[list[Tensor]] = []
    for d in range(directions):
        weight, bias, step = cell(d, functions[d])
        backwards = direction == "reverse" or d == 1
        sequence = _reversed(x, lengths) if backwards else x
        projected = _projected(sequence, weight, bias)
        start: list[Tensor] = []
        for s in range(states):
            if call.has(5 + s):
                initial = call.tensor(5 + s)
                start.append(initial[:, d] if batch_first else initial[d])
            else:
                start.append(
                    tf.zeros(tf.stack([tf.shape(x)[1], hidden]), x.dtype)
                    if x.shape[1] is None
                    else tf.zeros([x.shape[1], hidden], x.dtype)
                )
        made, final = _run(projected, start, step, lengths)
        outputs.append(_reversed(made, lengths) if backwards else made)
        finals.append(final)
    y = tf.stack(outputs, 1)
    ends = [tf.stack([final[s] for final in finals], 0) for s in range(states)]
    if batch_first:
        y = tf.transpose(y, [2, 0, 1, 3])
        ends = [tf.transpose(end, [1, 0, 2]) for end in ends]
    return [Value(y), *map(Value, ends)]


def _projected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What the inputs of all steps contribute, as one product."""
    shape = x.shape.as_list()
    if shape.count(None) <= 1:
        flat = tf.reshape(x, [-1, shape[-1]])
        wide = tf.matmul(flat, weight) + bias
        result: Tensor = tf.reshape(
            wide, [-1 if s is None else s for s in shape[:2]] + [weight.shape[-1]]
        )
    else:
        result = tf.einsum("sbi,io->sbo", x, weight) + bias
    return result


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    result: Tensor
    if lengths is None:
        result = tf.reverse(x, [0])
    else:
        result = tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)
    return result


def _run(
    projected: Tensor, start: list[Tensor], step: _Step, lengths: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """All outputs and the last states; shorter sequences keep theirs, and give zeros behind."""

    def advance(t: object, part: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        new = list(step(part, states))
        if lengths is None:
            return new[0], new
        running = tf.expand_dims(tf.less(t, lengths), 1)
        kept = [tf.where(running, n, o) for n, o in zip(new, states, strict=True)]
        return tf.where(running, new[0], tf.zeros_like(new[0])), kept

    length = projected.shape[0]
    if length is not None and length <= _UNROLLED:
        outputs: list[Tensor] = []
        states = start
        for t in range(length):
            output, states = advance(tf.constant(t), projected[t], states)
            outputs.append(output)
        return tf.stack(outputs, 0), states
    count = tf.shape(projected)[0] if length is None else length
    array = tf.TensorArray(projected.dtype, count, element_shape=start[0].shape)

    def body(t: Tensor, collected: object, *states: Tensor) -> tuple[object, ...]:
        output, new = advance(t, tf.gather(projected, t), states)
        return (t + 1, collected.write(t, output), *new)  # type: ignore[attr-defined]

    results = tf.while_loop(
        lambda t, *_: t < count, body, (tf.constant(0), array, *start), maximum_iterations=count
    )
    return results[1].stack(), list(results[2:])


def _matrices(call: Call, d: int) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """W transposed, R transposed, the bias of both or None, and the hidden size."""
    w = call.value(1)
    r = call.value(2)
    if w.array is not None and r.array is not None:
        weight, recurrent = call.placed(w.array[d].T), call.placed(r.array[d].T)
    else:
        weight, recurrent = tf.transpose(w.tensor[d]), tf.transpose(r.tensor[d])
    hidden = int((r.shape or (0,))[-1] or 0)
    bias = call.tensor(3)[d] if call.has(3) else None
    return weight, recurrent, bias, hidden


@operator("RNN", attributes=_ATTRIBUTES)
def _rnn(call: Call) -> Sequence[Value]:
    clip = _clipped(call)

    def cell(d: int, functions: list[_Function]) -> tuple[Tensor, Tensor, _Step]:
        weight, recurrent, bias, hidden = _matrices(call, d)
        added = tf.zeros([hidden], weight.dtype) if bias is None else bias[:hidden] + bias[hidden:]

        def step(part: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
            return [functions[0](clip(part + tf.matmul(states[0], recurrent)))]

        return weight, added, step

    return _recurrence(call, 1, 1, ("Tanh",), cell)


@operator("GRU", attributes=(*_ATTRIBUTES, "linear_before_reset"))
def _gru(call: Call) -> Sequence[Value]:
    """Gates in ONNX's order: z, r, h."""
    clip = _clipped(call)
    after = bool(call.integer("linear_before_reset", 0))

    def cell(d: int, functions: list[_Function]) -> tuple[Tensor, Tensor, _Step]:
        weight, recurrent, bias, hidden = _matrices(call, d)
        zero = tf.zeros([3 * hidden], weight.dtype)
        from_input = zero if bias is None else bias[: 3 * hidden]
        from_state = zero if bias is None else bias[3 * hidden :]
        f, g = functions
        gates, candidate = recurrent[:, : 2 * hidden], recurrent[:, 2 * hidden :]
        # The candidate's own bias stays inside of the reset where that comes after the product.
        outer = from_input + tf.concat(
            [from_state[: 2 * hidden], zero[2 * hidden :] if after else from_state[2 * hidden :]], 0
        )
        inner = from_state[2 * hidden :]

        def step(part: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
            h = states[0]
            both = f(clip(part[:, : 2 * hidden] + tf.matmul(h, gates)))
            z, r = both[:, :hidden], both[:, hidden:]
            if after:
                product = r * (tf.matmul(h, candidate) + inner)
            else:
                product = tf.matmul(r * h, candidate)
            new = g(clip(part[:, 2 * hidden :] + product))
            return [(1 - z) * new + z * h]

        return weight, outer, step

    return _recurrence(call, 1, 3, ("Sigmoid", "Tanh"), cell)


@operator("LSTM", attributes=(*_ATTRIBUTES, "input_forget"))
def _lstm(call: Call) -> Sequence[Value]:
    """Gates in ONNX's order: i, o, f, c; peepholes i, o, f."""
    clip = _clipped(call)
    coupled = bool(call.integer("input_forget", 0))

    def cell(d: int, functions: list[_Function]) -> tuple[Tensor, Tensor, _Step]:
        weight, recurrent, bias, hidden = _matrices(call, d)
        added = (
            tf.zeros([4 * hidden], weight.dtype)
            if bias is None
            else bias[: 4 * hidden] + bias[4 * hidden :]
        )
        peep = call.tensor(7)[d] if call.has(7) else None
        f, g, h = functions

        def step(part: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
            state, memory = states
            i, o, forget, c = tf.split(part + tf.matmul(state, recurrent), 4, -1)
            if peep is not None:
                i = i + peep[:hidden] * memory
                forget = forget + peep[2 * hidden :] * memory
            i = f(clip(i))
            forget = 1 - i if coupled else f(clip(forget))
            new = forget * memory + i * g(clip(c))
            if peep is not None:
                o = o + peep[hidden : 2 * hidden] * new
            return [f(clip(o)) * h(new), new]

        return weight, added, step

    return _recurrence(call, 2, 4, ("Sigmoid", "Tanh", "Tanh"), cell)
