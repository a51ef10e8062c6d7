"""Models that are no classifiers, frozen, with drawn weights, and samples for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from graphquant_export import LoadedModel

SAMPLES = 128
FRAMES, FFT, HOP, MELS = 16, 128, 64, 24
BINS = FFT // 2 + 1


class Drawn:
    """Layers whose weights and batch norms are drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def vector(self, low: float, high: float, size: int) -> np.ndarray:
        """Uniform values, float32 ``[size]``."""
        return self.random.uniform(low, high, size).astype(np.float32)

    def weight(self, *shape: int, fan_in: int) -> np.ndarray:
        """Normal values of variance 2 / `fan_in`, float32."""
        return self.random.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)

    def conv(self, x: tf.Tensor, out: int, size: int, name: str) -> tf.Tensor:
        """A convolution without bias."""
        channels = int(x.shape[-1])
        weight = self.weight(size, size, channels, out, fan_in=size * size * channels)
        return tf.nn.conv2d(x, weight, 1, "SAME", name=name)

    def block(self, x: tf.Tensor, out: int, name: str) -> tf.Tensor:
        """Convolution, batch norm in inference mode, Relu."""
        statistics = [(0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 1.5)]
        drawn = [self.vector(low, high, out) for low, high in statistics]
        y = tf.nn.fused_batch_norm(self.conv(x, out, 3, name), *drawn, is_training=False)[0]
        return tf.nn.relu(y)

    def up(self, x: tf.Tensor, like: tf.Tensor, name: str) -> tf.Tensor:
        """A transposed convolution to the size of `like`, bias, Relu."""
        channels, (_, height, width, out) = int(x.shape[-1]), like.shape.as_list()
        sizes = tf.stack([tf.shape(like)[0], height, width, out])
        weight = self.weight(2, 2, out, channels, fan_in=channels)
        y = tf.nn.conv2d_transpose(x, weight, sizes, 2, name=name)
        return tf.nn.relu(tf.nn.bias_add(y, self.vector(-0.1, 0.1, out)))


def detector(seed: int) -> tuple[LoadedModel, dict[str, Any]]:
    """Boxes and scores of two feature maps: offsets and sizes around fixed anchors, a sigmoid."""
    with tf.Graph().as_default() as graph:
        draw = Drawn(seed)
        images = tf.placeholder(tf.float32, [None, 32, 32, 3], "images")
        fine = draw.block(tf.nn.max_pool2d(draw.block(images, 8, "stem"), 2, 2, "SAME"), 16, "fine")
        coarse = draw.block(tf.nn.max_pool2d(fine, 2, 2, "SAME"), 24, "coarse")
        boxes, scores = [], []
        for name, features in (("fine", fine), ("coarse", coarse)):
            count = int(features.shape[1]) * int(features.shape[2]) * 3
            bias = draw.vector(-0.1, 0.1, 12), draw.vector(-3, -2, 15)
            box, score = (
                draw.conv(features, 12, 1, f"{name}/box"),
                draw.conv(features, 15, 1, f"{name}/score"),
            )
            boxes.append(tf.reshape(tf.nn.bias_add(box, bias[0]), [-1, count, 4]))
            scores.append(tf.reshape(tf.nn.bias_add(score, bias[1]), [-1, count, 5]))
        offsets = tf.concat(boxes, 1)
        anchors = draw.vector(0, 1, 2 * int(offsets.shape[1])).reshape(1, -1, 2)
        centre, size = anchors + 0.1 * offsets[:, :, :2], 0.1 * tf.exp(0.2 * offsets[:, :, 2:])
        tf.concat([centre - size / 2, centre + size / 2], -1, name="boxes")
        tf.sigmoid(tf.concat(scores, 1), name="scores")
    return LoadedModel(graph.as_graph_def(), ("images",), ("boxes", "scores")), _images(32)


def denoiser(seed: int) -> tuple[LoadedModel, dict[str, Any]]:
    """A U-net of transposed convolutions; what it finds is taken from the image."""
    with tf.Graph().as_default() as graph:
        draw = Drawn(seed)
        images = tf.placeholder(tf.float32, [None, 16, 16, 3], "images")
        outer = draw.block(images, 8, "outer")
        inner = draw.block(tf.nn.avg_pool2d(outer, 2, 2, "VALID"), 16, "inner")
        middle = draw.block(tf.nn.avg_pool2d(inner, 2, 2, "VALID"), 16, "middle")
        x = draw.block(tf.concat([draw.up(middle, inner, "up1"), inner], -1), 16, "merged1")
        x = draw.block(tf.concat([draw.up(x, outer, "up2"), outer], -1), 8, "merged2")
        tf.subtract(images, 0.3 * draw.conv(x, 3, 3, "noise"), name="clean")
    return LoadedModel(graph.as_graph_def(), ("images",), ("clean",)), _images(16)


def audio(seed: int) -> tuple[LoadedModel, dict[str, Any]]:
    """A short-time Fourier transform as a convolution, power, mel bands, logarithm; two blocks."""
    length = HOP * (FRAMES - 1) + FFT
    with tf.Graph().as_default() as graph:
        draw = Drawn(seed)
        wave = tf.placeholder(tf.float32, [None, length], "wave")
        x = tf.reshape(wave, [-1, 1, length, 1])
        x = tf.nn.conv2d(x, _fourier(), [1, 1, HOP, 1], "VALID", name="stft")
        real, imaginary = tf.split(tf.reshape(x, [-1, FRAMES, 2 * BINS]), 2, -1)
        power = tf.reshape(real * real + imaginary * imaginary, [-1, BINS])
        x = 0.2 * tf.log(tf.matmul(power, _mel_bands(), name="mel") + 1e-4)
        x = draw.block(tf.reshape(x, [-1, FRAMES, MELS, 1]), 8, "first")
        x = draw.block(tf.nn.max_pool2d(x, 2, 2, "VALID"), 16, "second")
        weight = draw.weight(16, 10, fan_in=16)
        x = tf.matmul(tf.reduce_mean(x, [1, 2]), weight, name="embedding")
        tf.nn.bias_add(x, draw.vector(-1, 1, 10), name="embeddings")
    return LoadedModel(graph.as_graph_def(), ("wave",), ("embeddings",)), _waves(length)


def _fourier() -> np.ndarray:
    """Windowed cosines and sines, float32 ``[1, FFT, 1, 2 BINS]``."""
    angle = 2 * np.pi * np.outer(np.arange(FFT), np.arange(BINS)) / FFT
    parts = np.concatenate([np.cos(angle), -np.sin(angle)], 1) * np.hanning(FFT)[:, None]
    return parts.astype(np.float32).reshape(1, FFT, 1, 2 * BINS)


def _mel_bands() -> np.ndarray:
    """Triangles between edges that grow geometrically, float32 ``[BINS, MELS]``."""
    edges, bins = np.geomspace(1, BINS - 1, MELS + 2), np.arange(BINS)[:, None]
    rise = (bins - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins) / np.diff(edges)[1:]
    return np.clip(np.minimum(rise, fall), 0, None).astype(np.float32)


def _images(size: int) -> dict[str, Any]:
    """Coarse patches with noise."""
    random = np.random.default_rng(5)
    coarse = random.normal(size=(SAMPLES, size // 4, size // 4, 3)).repeat(4, 1).repeat(4, 2)
    fine = random.normal(size=(SAMPLES, size, size, 3))
    return {"images": (coarse + 0.5 * fine).astype(np.float32)}


def _waves(length: int) -> dict[str, Any]:
    """Four sines of loudness from -60 to 0 dB each, and noise from -80 to -40 dB."""
    random, time = np.random.default_rng(5), np.arange(length)
    shape = (4, SAMPLES, 1)
    loudness, frequency = 10 ** random.uniform(-3, 0, shape), random.uniform(0.01, 0.45, shape)
    tones = loudness * np.sin(2 * np.pi * frequency * time + random.uniform(0, 6, shape))
    noise = 10 ** random.uniform(-4, -2, (SAMPLES, 1)) * random.normal(size=(SAMPLES, length))
    return {"wave": (tones.sum(0) + noise).astype(np.float32)}
