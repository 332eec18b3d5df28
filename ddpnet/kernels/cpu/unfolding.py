"""The loops between images and their unfolded matrices (P, rows, M, columns); see convolution.py for the layout."""

from __future__ import annotations

from ddpnet.kernels.cpu.compiled import compiled


@compiled
def pad(x, padded, top, left):
    padded[...] = 0
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for row in range(x.shape[2]):
                source, target = x[n, c, row], padded[n, c, row + top, left : left + x.shape[3]]
                for k in range(source.size):
                    target[k] = source[k]


@compiled
def copy_runs(x, unfolded, kh, kw, dh, dw, width):
    images, run = unfolded.shape[2:]
    for n in range(x.shape[0]):
        product, image = n // images, n % images
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    start = i * dh * width + j * dw
                    source = x[n, c, start : start + run]
                    target = unfolded[product, (c * kh + i) * kw + j, image]
                    for k in range(run):
                        target[k] = source[k]


@compiled
def add_runs(unfolded, x, kh, kw, dh, dw, width):
    images, run = unfolded.shape[2:]
    for n in range(x.shape[0]):
        product, image = n // images, n % images
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    start = i * dh * width + j * dw
                    source = unfolded[product, (c * kh + i) * kw + j, image]
                    target = x[n, c, start : start + run]
                    for k in range(run):
                        target[k] += source[k]


@compiled
def gather(x, unfolded, kh, kw, sh, sw, dh, dw, oh, ow):
    images = unfolded.shape[2]
    for n in range(x.shape[0]):
        product, image = n // images, n % images
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    out = unfolded[product, (c * kh + i) * kw + j, image]
                    for row in range(oh):
                        line = x[n, c, row * sh + i * dh]
                        for col in range(ow):
                            out[row * ow + col] = line[col * sw + j * dw]


@compiled
def scatter(unfolded, x, kh, kw, sh, sw, dh, dw, oh, ow):
    images = unfolded.shape[2]
    for n in range(x.shape[0]):
        product, image = n // images, n % images
        for c in range(x.shape[1]):
            for i in range(kh):
                for j in range(kw):
                    source = unfolded[product, (c * kh + i) * kw + j, image]
                    for row in range(oh):
                        line = x[n, c, row * sh + i * dh]
                        for col in range(ow):
                            line[col * sw + j * dw] += source[row * ow + col]


@compiled
def narrow_with_bias(wide, bias, y, row_length):
    """The wanted columns of (P, O, M, columns) as (N, O, OH, OW), with the bias added."""
    images, width = wide.shape[2], y.shape[3]
    for n in range(y.shape[0]):
        for o in range(y.shape[1]):
            b = bias[o]
            line = wide[n // images, o, n % images]
            for row in range(y.shape[2]):
                source = line[row * row_length : row * row_length + width]
                target = y[n, o, row]
                for k in range(width):
                    target[k] = source[k] + b


@compiled
def widen(g, wide, row_length):
    """(N, O, OH, OW) as (P, O, M, columns), with zeros between the rows."""
    images, width = wide.shape[2], g.shape[3]
    zero = g.dtype.type(0)
    for n in range(g.shape[0]):
        for o in range(g.shape[1]):
            line = wide[n // images, o, n % images]
            for row in range(g.shape[2]):
                source = g[n, o, row]
                target = line[row * row_length : (row + 1) * row_length]
                for k in range(width):
                    target[k] = source[k]
                for k in range(width, target.size):
                    target[k] = zero
