"""Fourier transforms and the mel scale; windows come from ONNX's own definitions."""

from __future__ import annotations

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast, dtype_of
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__: list[str] = []


def _complex(x: Tensor) -> Tensor:
    """[..., 1] or [..., 2] as complex numbers."""
    dtype = x.dtype
    wide = cast(x, tf.float32) if dtype.name not in ("float32", "float64") else x
    real = wide[..., 0]
    imaginary = wide[..., 1] if x.shape[-1] == 2 else tf.zeros_like(real)
    result: Tensor = tf.complex(real, imaginary)
    return result


def _pair(x: Tensor, dtype: object) -> Tensor:
    """Complex numbers as [..., 2]."""
    return cast(tf.stack([tf.math.real(x), tf.math.imag(x)], -1), dtype)


def _fitted(x: Tensor, length: Tensor) -> Tensor:
    """The last axis cut, or padded with zeros, to a length."""
    have = tf.shape(x)[-1]
    cut = x[..., : tf.minimum(have, length)]
    rank = x.shape.rank
    missing = tf.maximum(length - have, 0)
    pairs = tf.concat([tf.zeros([rank - 1, 2], tf.int32), [[0, missing]]], 0)
    result: Tensor = tf.pad(cut, pairs)
    return result


@operator("DFT", attributes=("axis", "inverse", "onesided"))
def _dft(call: Call) -> Value:
    x = call.tensor(0)
    rank = call.rank(0)
    if call.has(2):
        axis = int(call.constant(2, "axis").reshape(-1)[0])
    else:
        axis = call.integer("axis", 1 if call.version < 20 else -2)
    axis = call.axis(axis, rank)
    inverse, onesided = bool(call.integer("inverse", 0)), bool(call.integer("onesided", 0))
    data = _complex(x)
    order = [a for a in range(rank - 1) if a != axis] + [axis]
    moved = tf.transpose(data, order)
    if call.has(1):
        length = tf.reshape(cast(call.tensor(1), tf.int32), [])
    else:
        length = tf.shape(moved)[-1]
        length = 2 * (length - 1) if inverse and onesided else length
    back = [order.index(a) for a in range(rank - 1)]
    if inverse and onesided:
        half = _fitted(moved, length // 2 + 1)
        real = tf.signal.irfft(half, tf.reshape(length, [1]))
        return Value(cast(tf.expand_dims(tf.transpose(real, back), -1), x.dtype))
    fitted = _fitted(moved, length)
    result = tf.signal.ifft(fitted) if inverse else tf.signal.fft(fitted)
    if onesided:
        result = result[..., : length // 2 + 1]
    return Value(_pair(tf.transpose(result, back), x.dtype))


@operator("STFT", attributes=("onesided",))
def _stft(call: Call) -> Value:
    """signal, frame_step, window, frame_length: frames, weighted, transformed."""
    x = call.tensor(0)
    step = int(call.constant(1, "frame_step").reshape(-1)[0])
    window = call.tensor(2) if call.has(2) else None
    if call.has(3):
        length = int(call.constant(3, "frame_length").reshape(-1)[0])
    elif window is not None and window.shape[0] is not None:
        length = int(window.shape[0])
    else:
        call.fail("neither frame_length nor a window of known size is given")
    data = _complex(x) if x.shape.rank == 3 else _complex(tf.expand_dims(x, -1))
    frames = tf.signal.frame(data, length, step)
    if window is not None:
        frames = frames * tf.cast(window, frames.dtype)
    result = tf.signal.fft(frames)
    if call.integer("onesided", 1):
        result = result[..., : length // 2 + 1]
    return Value(_pair(result, x.dtype))


@operator("MelWeightMatrix", attributes=("output_datatype",))
def _mel(call: Call) -> Value:
    """bands, dft_length, sample_rate, lower and upper edge; all constant."""
    names = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
    bins, length, rate, low, high = (
        call.constant(i, name).reshape(-1)[0] for i, name in enumerate(names)
    )
    count = int(bins)
    spectrogram = int(length) // 2 + 1
    edges = 2595 * np.log10(1 + np.array([float(low), float(high)]) / 700)
    mel = np.arange(count + 2) * ((edges[1] - edges[0]) / (count + 2)) + edges[0]
    hertz = 700 * (np.power(10, mel / 2595) - 1)
    places = ((int(length) + 1) * hertz // int(rate)).astype(int)
    weights = np.zeros((spectrogram, count), np.float64)
    for band in range(count):
        first, center, end = places[band], places[band + 1], places[band + 2]
        if center == first:
            weights[center, band] = 1
        else:
            for j in range(first, center + 1):
                weights[j, band] = (j - first) / (center - first)
        if end > center:
            for j in range(center, end):
                weights[j, band] = (end - j) / (end - center)
    dtype = dtype_of(call.integer("output_datatype", 1))
    return Value(cast(tf.constant(weights), dtype))
