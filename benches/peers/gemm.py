#!/usr/bin/env python3
"""Matrix products with requantization: our kernels against ONNX Runtime's QLinearMatMul, one thread.

    cargo build --release -p benches --example products
    python gemm.py [--program target/release/examples/products] [--rounds 5] [--ms 60] [--json]

Needs numpy, onnx and onnxruntime. The contestants take turns, pinned to one processor, and the order of a round is that of the
one before turned round. A figure is the fastest call of a burst in multiply-adds a second: the median over the rounds and
the best of them. Our side runs three times: with codes up to 127 (what a range reduced by a bit gives, mode A1), with codes up to
255 and weights whose pairs cannot saturate 16 bits (A2), and with codes up to 255 and any weights (B); ONNX Runtime's time does
not depend on the codes. On processors without VNNI its u8 by s8 products saturate and are
wrong; "exact" is its u8 by u8 form, which is right everywhere. `TQ_ISA=avx2` holds our side to that level.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SHAPES = [
    (256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048),
    (3136, 576, 64), (784, 1152, 128), (196, 2304, 256), (49, 4608, 512), (3136, 64, 64),
    (16, 768, 768), (16, 768, 3072), (128, 768, 3072), (128, 3072, 768),
    (1, 768, 3072), (1, 4096, 4096),
]

MODES = ("A1", "A2", "B")


class Session:
    """A model of ONNX Runtime with one input `x` and one output `y`, one thread."""

    def __init__(self, model, x):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.x = x
        self.binding.bind_cpu_input("x", self.x)
        self.binding.bind_output("y", "cpu")

    def burst(self, milliseconds):
        until, best = time.perf_counter() + milliseconds / 1e3, float("inf")
        while time.perf_counter() < until:
            start = time.perf_counter()
            self.session.run_with_iobinding(self.binding)
            best = min(best, time.perf_counter() - start)
        return best


class OnnxRuntime(Session):
    def __init__(self, m, k, n, signed):
        rng = np.random.default_rng(3)
        weights = rng.normal(size=(k, n))
        codes = np.round(weights / np.abs(weights).max(0) * 127).astype(np.int8)
        if not signed:
            codes = (codes.astype(np.int16) + 128).astype(np.uint8)
        # One scale and zero point for unsigned weights: the form that has a kernel.
        zero = np.zeros(n, np.int8) if signed else np.uint8(128)
        scale = np.full(n, 0.01, np.float32) if signed else np.float32(0.01)
        constants = {"xs": np.float32(0.02), "xz": np.uint8(0), "w": codes, "ws": scale, "wz": zero,
                     "ys": np.float32(k * 0.01), "yz": np.uint8(128)}
        node = helper.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
        graph = helper.make_graph([node], "product", [value("x", [m, k])], [value("y", [m, n])],
                                  [numpy_helper.from_array(v, name) for name, v in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        super().__init__(model, rng.integers(0, 256, (m, k)).astype(np.uint8))


class Ours:
    def __init__(self, program):
        self.program = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def burst(self, shape, mode, milliseconds):
        print(*shape, mode, milliseconds, file=self.program.stdin, flush=True)
        kernel, nanoseconds, *shares = self.program.stdout.readline().split()
        return int(nanoseconds) / 1e9, kernel, [float(s) for s in shares]


def arguments(about):
    """What the command line says; the process keeps to one processor from here on."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/examples/products")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=int, default=60)
    parser.add_argument("--processor", type=int, default=os.cpu_count() - 1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.processor})
    return args


def main():
    args = arguments(__doc__)
    ours, rows, kernel = Ours(args.program), [], ""
    for shape in SHAPES:
        m, k, n = shape
        peers = {"ort": OnnxRuntime(m, k, n, True), "ort exact": OnnxRuntime(m, k, n, False)}
        times = {name: [] for name in (*MODES, *peers)}
        shares = {}
        for name in MODES:
            ours.burst(shape, name, 1)
        for turn in range(args.rounds):
            for name in list(times)[:: -1 if turn % 2 else 1]:
                if name in peers:
                    times[name].append(peers[name].burst(args.ms))
                else:
                    seconds, kernel, shares[name] = ours.burst(shape, name, args.ms)
                    times[name].append(seconds)
        speed = {name: [m * k * n / t / 1e9 for t in seconds] for name, seconds in times.items()}
        median = {name: statistics.median(s) for name, s in speed.items()}
        rows.append({"shape": shape, "median": median, "best": {n: max(s) for n, s in speed.items()},
                     "shares": shares})
        if not args.json:
            if len(rows) == 1:
                print(f"{kernel}, ONNX Runtime {onnxruntime.__version__}; 10^9 multiply-adds a second, median (best)")
                print(f"{'M x K x N':>16} {'A1':>15} {'A2':>15} {'B':>15} {'ORT u8 s8':>15} {'ORT u8 u8':>15}   "
                      "A1/ORT A2/ORT  B/ORT  B/exact   B two/one/plain %")
            cell = lambda name: f"{median[name]:7.1f} ({rows[-1]['best'][name]:5.1f})"
            of = "/".join(f"{100 * s:.0f}" for s in shares["B"])
            print(f"{'x'.join(map(str, shape)):>16} {cell('A1')} {cell('A2')} {cell('B')} {cell('ort')} {cell('ort exact')}   "
                  f"{median['A1'] / median['ort']:6.2f} {median['A2'] / median['ort']:6.2f} {median['B'] / median['ort']:6.2f} "
                  f"{median['B'] / median['ort exact']:7.2f}   {of}", flush=True)
    mean = lambda name, peer: statistics.geometric_mean([r["median"][name] / r["median"][peer] for r in rows])
    if args.json:
        print(json.dumps({"kernel": kernel, "onnxruntime": onnxruntime.__version__, "rows": rows}))
    else:
        print(f"geometric means: A1/ORT {mean('A1', 'ort'):.2f}, A2/ORT {mean('A2', 'ort'):.2f}, B/ORT {mean('B', 'ort'):.2f}, "
              f"B/exact {mean('B', 'ort exact'):.2f}")


if __name__ == "__main__":
    main()
