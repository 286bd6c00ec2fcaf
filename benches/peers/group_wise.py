#!/usr/bin/env python3
"""Products with 4-bit weights in groups: our kernels against ONNX Runtime's MatMulNBits, one thread.

    cargo build --release -p benches --example products
    python group_wise.py [--program target/release/examples/products] [--rounds 5] [--ms 60] [--json]

Needs numpy, onnx and onnxruntime. The contestants take turns, pinned to one processor, and the order of a round is that of the
one before turned round. A figure is the fastest call of a burst in multiply-adds a second: the median over the rounds and
the best of them. MatMulNBits takes real activations; with accuracy level 4 it makes 8-bit codes of them, a scale for every group of
a row, and that is part of its time ("int8"), while ours begins with codes. With level 0 it computes in float ("f32").
`TQ_ISA=avx2` holds our side to that level.
"""

import json
import statistics

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from gemm import Ours, Session, arguments

SHAPES = [
    (1, 768, 3072), (1, 4096, 4096), (16, 768, 3072), (128, 768, 3072), (128, 3072, 768), (512, 512, 512), (1024, 1024, 1024),
]
GROUPS = (32, 128)


class OnnxRuntime(Session):
    def __init__(self, m, k, n, group, level):
        rng = np.random.default_rng(3)
        constants = {"w": rng.integers(0, 256, (n, k // group, group // 2), dtype=np.uint8),
                     "s": (0.01 + 0.005 * rng.random(n * (k // group))).astype(np.float32)}
        node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=k, N=n, bits=4,
                                block_size=group, accuracy_level=level)
        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph([node], "product", [value("x", [m, k])], [value("y", [m, n])],
                                  [numpy_helper.from_array(v, name) for name, v in constants.items()])
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        super().__init__(model, rng.normal(size=(m, k)).astype(np.float32))


def main():
    args = arguments(__doc__)
    ours, rows, kernel = Ours(args.program), [], ""
    for group in GROUPS:
        for shape in SHAPES:
            m, k, n = shape
            peers = {"int8": OnnxRuntime(m, k, n, group, 4), "f32": OnnxRuntime(m, k, n, group, 0)}
            times = {name: [] for name in ("ours", *peers)}
            ours.burst(shape, f"G{group}", 1)
            for turn in range(args.rounds):
                for name in list(times)[:: -1 if turn % 2 else 1]:
                    if name in peers:
                        times[name].append(peers[name].burst(args.ms))
                    else:
                        seconds, kernel, _ = ours.burst(shape, f"G{group}", args.ms)
                        times[name].append(seconds)
            speed = {name: [m * k * n / t / 1e9 for t in seconds] for name, seconds in times.items()}
            median = {name: statistics.median(s) for name, s in speed.items()}
            best = {name: max(s) for name, s in speed.items()}
            rows.append({"shape": shape, "group": group, "median": median, "best": best})
            if not args.json:
                if len(rows) == 1:
                    print(f"{kernel}, ONNX Runtime {onnxruntime.__version__}; 10^9 multiply-adds a second, median (best)")
                    print(f"{'M x K x N':>16} group {'ours':>15} {'ORT int8':>15} {'ORT f32':>15}   ours/int8")
                cell = lambda name: f"{median[name]:7.1f} ({best[name]:5.1f})"
                print(f"{'x'.join(map(str, shape)):>16} {group:5} {cell('ours')} {cell('int8')} {cell('f32')}   "
                      f"{median['ours'] / median['int8']:6.2f}", flush=True)
    if args.json:
        print(json.dumps({"kernel": kernel, "onnxruntime": onnxruntime.__version__, "rows": rows}))
    else:
        mean = statistics.geometric_mean([r["median"]["ours"] / r["median"]["int8"] for r in rows])
        print(f"geometric mean: ours/int8 {mean:.2f}")


if __name__ == "__main__":
    main()
