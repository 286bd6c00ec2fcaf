#!/usr/bin/env python3
"""Matrix products with requantization: our kernels against ONNX Runtime's QLinearMatMul, one thread.

    cargo build --release -p benches --example products
    python gemm.py [--program target/release/examples/products] [--rounds 5] [--ms 60] [--layers FOLDER ...] [--json]

Needs numpy, onnx and onnxruntime. The contestants take turns, pinned to one processor, and the order of a round is that of the
one before turned round. A figure is the fastest call of a burst in multiply-adds a second: the median over the rounds and
the best of them. Our side runs three times: with codes up to 127 (what a range reduced by a bit gives, mode A1), with codes up to
255 and weights whose pairs cannot saturate 16 bits (A2), and with codes up to 255 and any weights (B); ONNX Runtime's time does
not depend on the codes. On processors without VNNI its u8 by s8 products saturate and are
wrong; "exact" is its u8 by u8 form, which is right everywhere. `TQ_ISA=avx2` holds our side to that level.

Weights are normally distributed. With `--layers` they are those of trained networks instead: FOLDER is one that `modes.py` wrote, and the
shapes are those of its largest convolutions and products, A2 with the weights of its `A2.onnx`, A1 and B with those of `B.onnx`, whose weights do not
depend on the codes of activations. Codes are still by chance.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
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


def normal(k, n):
    weights = np.random.default_rng(3).normal(size=(k, n))
    return np.round(weights / np.abs(weights).max(0) * 127).astype(np.int8)


def layers(folder, count=8):
    """Name, shape and weights `[k, n]` by mode of a network's largest dense layers of a million products or more, one of each shape."""
    of = lambda mode: onnx.shape_inference.infer_shapes(onnx.load(os.path.join(folder, f"{mode}.onnx")))
    safe, model = of("A2"), of("B")
    arrays = lambda model: {t.name: t for t in model.graph.initializer}
    made_by = lambda model: {node.output[0]: node for node in model.graph.node}
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}

    def weights(model, node):
        reals = made_by(model).get(node.input[1])
        codes = arrays(model).get(reals.input[0]) if reals is not None and reals.op_type == "DequantizeLinear" else None
        if codes is None or codes.data_type != TensorProto.INT8:
            return None
        codes = numpy_helper.to_array(codes)
        if node.op_type == "Conv":
            # Channels last, as sessions walk over a window.
            return np.moveaxis(codes, 1, -1).reshape(len(codes), -1).T
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return codes.T if transposed else codes

    found, others = {}, {node.name: node for node in safe.graph.node}
    for node in model.graph.node:
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if node.op_type not in ("Conv", "Gemm", "MatMul") or groups > 1 or node.name not in others:
            continue
        b, a2 = weights(model, node), weights(safe, others[node.name])
        if b is None or a2 is None or b.shape != a2.shape:
            continue
        if node.output[0] not in shapes and node.op_type != "Gemm":
            continue
        dims = shapes.get(node.output[0], [1, 1])
        m = int(np.prod(dims[2:])) if node.op_type == "Conv" else int(np.prod(dims[:-1]))
        if m * b.size > 1 << 20:
            found.setdefault((m, *b.shape), {"A1": b, "A2": a2, "B": b})
    name = os.path.basename(os.path.normpath(folder))
    if not found:
        print(f"SKIPPED {folder}: it has no layers of a million products and weights of i8 codes", file=sys.stderr)
    largest = sorted(found, key=np.prod, reverse=True)[:count]
    return [(name, shape, found[shape]) for shape in largest]


class OnnxRuntime(Session):
    def __init__(self, m, k, n, signed, codes=None):
        rng = np.random.default_rng(3)
        codes = normal(k, n) if codes is None else codes
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

    def burst(self, shape, mode, milliseconds, weights=""):
        print(*shape, mode, milliseconds, weights, file=self.program.stdin, flush=True)
        kernel, nanoseconds, *shares = self.program.stdout.readline().split()
        return int(nanoseconds) / 1e9, kernel, [float(s) for s in shares]


def arguments(about, more=lambda parser: None):
    """What the command line says, with what `more` adds to it; the process keeps to one processor from here on."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/examples/products")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=int, default=60)
    parser.add_argument("--processor", type=int, default=os.cpu_count() - 1)
    parser.add_argument("--json", action="store_true")
    more(parser)
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.processor})
    return args


def main():
    args = arguments(__doc__, lambda parser: parser.add_argument("--layers", action="append", default=[], metavar="FOLDER"))
    ours, rows, kernel = Ours(args.program), [], ""
    trained = [layer for folder in args.layers for layer in layers(folder)]
    if args.layers and not trained:
        raise SystemExit("none of these networks has layers to be timed")
    scratch = tempfile.TemporaryDirectory()
    for name, shape, weights in trained or [("", shape, {}) for shape in SHAPES]:
        m, k, n = shape
        files = {}
        for mode, codes in weights.items():
            files[mode] = os.path.join(scratch.name, f"{len(rows)}{mode}")
            codes.T.tofile(files[mode])
        peers = {"ort": OnnxRuntime(m, k, n, True, weights.get("B")), "ort exact": OnnxRuntime(m, k, n, False, weights.get("B"))}
        times = {name: [] for name in (*MODES, *peers)}
        shares = {}
        for mode in MODES:
            ours.burst(shape, mode, 1, files.get(mode, ""))
        for turn in range(args.rounds):
            for contestant in list(times)[:: -1 if turn % 2 else 1]:
                if contestant in peers:
                    times[contestant].append(peers[contestant].burst(args.ms))
                else:
                    seconds, kernel, shares[contestant] = ours.burst(shape, contestant, args.ms, files.get(contestant, ""))
                    times[contestant].append(seconds)
        speed = {name: [m * k * n / t / 1e9 for t in seconds] for name, seconds in times.items()}
        median = {name: statistics.median(s) for name, s in speed.items()}
        rows.append({"network": name, "shape": shape, "median": median, "best": {n: max(s) for n, s in speed.items()},
                     "shares": shares})
        if not args.json:
            if len(rows) == 1:
                print(f"{kernel}, ONNX Runtime {onnxruntime.__version__}; 10^9 multiply-adds a second, median (best)")
                print(f"{'M x K x N':>16} {'A1':>15} {'A2':>15} {'B':>15} {'ORT u8 s8':>15} {'ORT u8 u8':>15}   "
                      "A1/ORT A2/ORT  B/ORT  B/exact   B two/one/plain %")
            cell = lambda name: f"{median[name]:7.1f} ({rows[-1]['best'][name]:5.1f})"
            of = "/".join(f"{100 * s:.0f}" for s in shares["B"])
            if trained and (len(rows) == 1 or rows[-2]["network"] != name):
                print(name)
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
