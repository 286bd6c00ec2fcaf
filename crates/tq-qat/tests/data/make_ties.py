#!/usr/bin/env python3
"""Fake quantization by PyTorch of values of which many lie halfway between two codes, with gradients.

    python make_ties.py > fake_quantize_ties.json

Needs PyTorch (2.5.1 made the file); the cases have the form of fake_quantize.json.
"""

import json
import math

import torch


def tensor(x):
    return {"shape": list(x.shape), "data": x.flatten().tolist()}


def case(lo, hi, shape, axis):
    n = 1 if axis is None else shape[axis]
    scale = torch.exp(torch.rand(n) * 8 - 6).requires_grad_()
    zero_point = torch.randint(lo, hi + 1, (n,)).float().requires_grad_()
    rows = [1] * len(shape)
    if axis is not None:
        rows[axis] = n
    codes = torch.floor(torch.rand(shape) * (hi - lo) * 1.6 + lo - (hi - lo) * 0.3)
    codes = torch.where(torch.rand(shape) < 0.6, codes + 0.5, codes + torch.rand(shape))
    x = ((codes - zero_point.reshape(rows)) * scale.reshape(rows)).detach().requires_grad_()
    factor = 1 / math.sqrt(x.numel() * max(hi, 1))
    if axis is None:
        y = torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero_point, lo, hi, factor)
    else:
        y = torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, axis, lo, hi, factor)
    gradient = torch.randn(shape)
    y.backward(gradient)
    return {
        "op": "learnable_per_tensor" if axis is None else "learnable_per_channel",
        "quant_min": lo,
        "quant_max": hi,
        "axis": axis,
        "grad_factor": factor,
        "scale": tensor(scale.detach()),
        "zero_point": tensor(zero_point.detach()),
        "x": tensor(x.detach()),
        "grad_out": tensor(gradient),
        "y": tensor(y.detach()),
        "grad_x": tensor(x.grad),
        "grad_scale": tensor(scale.grad),
        "grad_zero_point": tensor(zero_point.grad),
    }


def main():
    torch.manual_seed(20)
    torch.set_num_threads(1)
    ranges = [(0, 255), (-128, 127), (-8, 7), (0, 15), (-2, 1)]
    shapes = [([37], None), ([3, 5, 4], 1), ([2, 4, 3, 3], 0)]
    cases = [case(lo, hi, shape, axis) for lo, hi in ranges for shape, axis in shapes]
    print(json.dumps({"source": f"torch {torch.__version__}", "cases": cases}))


if __name__ == "__main__":
    main()
