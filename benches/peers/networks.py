"""Times whole networks beside ONNX Runtime, and OpenVINO, PyTorch and LiteRT where they are installed, in turns, on the same network and the same input.

usage: networks.py --tq PROGRAM --case FOLDER MODEL [--case FOLDER MODEL ...] [--isa avx2,avx512vnni] [--rounds N] [--ms MS] [--threads T] [--json]

A case is a folder with `case.json` and the arrays that it names (of which the first row is the input, or all of it where
`case.json` says `"whole": true`), and a model of it, which all run. `--isa` names levels that ours is held to, one column each. Figures are the median of rounds of each
round's median, in milliseconds, and in brackets the least and the largest of the rounds. Ratios are of the fastest rounds, which other work on the machine
touches least. Before anything is timed the largest difference of the outputs is found, in steps of their range over 255.

Where a folder's `float.onnx` is named before its quantized models, these are held to it: "f32 / ours" has how many times as long ours takes in
float, and the better one of ONNX Runtime and OpenVINO in float.

A dynamic LSTM in QDQ form is no integer operator of ONNX Runtime's: it runs what its own `quantize_dynamic` makes of `float.onnx` in its place
(weights per channel), and with `A1.onnx` peers run the `B.onnx` beside it, whose clamps they fuse. PyTorch and LiteRT read no ONNX:
`qdq.py` gives them the layers of the file, where they have them all; dynamic layers PyTorch quantizes by itself (`dynamic.py`). PyTorch's operators are
called one by one from Python, which costs it some microseconds each. What a peer fails at is told and left out.

With several threads each contestant begins 0.3 seconds after the one before, whose threads may still be looking for work.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic

import dynamic
import qdq
import quantize

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def run_ours(args, model, array, isa, runs):
    env = dict(os.environ, **({"TQ_ISA": isa} if isa else {}))
    command = [args.tq, "bench", model, "--input", array, "--sequences", "--threads", str(args.threads), "--runs", str(runs), "--json"]
    return json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


class OnnxRuntime:
    name = "ONNX Runtime"

    def __init__(self, model, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.input = self.session.get_inputs()[0].name

    def run(self, x):
        return self.session.run(None, {self.input: x})


class OpenVino:
    name = "OpenVINO"

    def __init__(self, model, threads):
        import openvino

        config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        self.model = openvino.Core().compile_model(model, "CPU", config)
        self.request = self.model.create_infer_request()

    def run(self, x):
        return list(self.request.infer([x], share_inputs=True, share_outputs=True).values())


def is_dynamic_lstm(folder, model):
    return "dynamic-lstm" in os.path.basename(os.path.normpath(folder)) and not model.endswith("float.onnx")


def for_peers(folder, model, scratch):
    """The file that peers run in place of `model`: the form of the same network that suits them."""
    if is_dynamic_lstm(folder, model):
        theirs = os.path.join(scratch, "theirs.onnx")
        quantize_dynamic(os.path.join(folder, "float.onnx"), theirs, per_channel=True, weight_type=QuantType.QInt8)
        return theirs
    # Half of the codes leave room above a ReLU6, so that it stays an operator, which they do not fuse. No other time depends on codes.
    full = os.path.join(folder, "B.onnx")
    return full if os.path.basename(model) == "A1.onnx" and os.path.isfile(full) else model


def peers(folder, model, theirs, threads, x):
    """ONNX Runtime, and each of the others where it is there and takes `theirs`, which they run in place of `model`: it has run once."""
    is_float = model.endswith("float.onnx")
    is_dynamic = os.path.basename(os.path.normpath(folder)).startswith("dynamic-") and not is_float
    found = [OnnxRuntime(theirs, threads)]
    y = found[0].run(x)[0]
    read = lambda: qdq.Network(theirs, (float(y.min()), float(y.max())))
    others = {"openvino": lambda: OpenVino(theirs, threads)}
    if is_dynamic:
        others["torch"] = lambda: dynamic.Torch(os.path.join(folder, "float.onnx"), threads)
    elif not is_float:
        others["torch"] = lambda: qdq.Torch(read(), threads)
        others["ai_edge_litert"] = lambda: qdq.LiteRt(read(), x, threads)
    for package, make in others.items():
        if importlib.util.find_spec(package) is None:
            continue
        try:
            peer = make()
            peer.run(x)
            found.append(peer)
        except Exception as error:  # Whatever another program fails with, it is left out and the rest goes on.
            print(f"{package} does not run {model}: {type(error).__name__}: {str(error).splitlines()[:1]}", file=sys.stderr)
    return found


def run_peer(peer, x, runs, pause=0.0):
    time.sleep(pause)
    peer.run(x)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        peer.run(x)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def differences(args, model, array, others, x, folder):
    """How far the outputs of each are from ours, in steps of their range over 255."""
    out = os.path.join(folder, "out")
    command = [args.tq, "run", model, "--input", array, "--sequences", "--out-dir", out]
    subprocess.run(command, check=True, capture_output=True)
    files = [f for f in os.listdir(out) if f.endswith(".npy")]
    worst = {}
    for peer in others:
        for i, theirs in enumerate(peer.run(x)):
            name = files[0] if len(files) == 1 else others[0].outputs[i] + ".npy"
            ours = np.load(os.path.join(out, name)).reshape(theirs.shape)
            step = (float(theirs.max()) - float(theirs.min())) / 255 or 1.0
            worst[peer.name] = max(worst.get(peer.name, 0.0), float(np.abs(ours - theirs).max()) / step)
    return worst


def measure(args, levels, folder, model, floats):
    with open(os.path.join(folder, "case.json")) as file:
        case = json.load(file)
    x = quantize.load(os.path.join(folder, case["eval"]))
    x = quantize.preprocess(x if case.get("whole") else x[:1], case.get("preprocess"))
    with tempfile.TemporaryDirectory() as scratch:
        # A run is given whole.
        array = os.path.join(scratch, "x.npy")
        np.save(array, x[None])
        theirs = for_peers(folder, model, scratch)
        others = peers(folder, model, theirs, args.threads, x)
        # Outputs are compared of the same network with the same codes.
        compared = others if theirs == model else [OnnxRuntime(model, 1)]
        worst = {} if is_dynamic_lstm(folder, model) else differences(args, model, array, compared, x, scratch)
        # Threads of the one before may look for work a while before they sleep.
        pause = 0.3 if args.threads > 1 else 0.0
        runs = max(5, int(args.ms / run_peer(others[0], x, 5)))
        times = {f"ours{', ' + level if level else ''}": [] for level in levels}
        names = list(times)
        times.update({peer.name: [] for peer in others})
        for turn in range(args.rounds):
            for name in list(times)[:: -1 if turn % 2 else 1]:
                if name in names:
                    level = levels[names.index(name)]
                    time.sleep(pause)
                    times[name].append(run_ours(args, model, array, level, runs)["median_ms"])
                else:
                    times[name].append(run_peer(next(p for p in others if p.name == name), x, runs, pause))
    # The last level named is the best of the machine.
    ours = min(times[names[-1]])
    best = min(min(times[peer.name]) for peer in others)
    network = os.path.basename(os.path.normpath(folder))
    mode = os.path.splitext(os.path.basename(model))[0]
    row = {"network": network, "model": mode, "ms": times, "ratio": best / ours, "ratio_ort": min(times["ONNX Runtime"]) / ours,
           "outputs_differ_by": worst}
    if mode == "float":
        floats[network] = (ours, best)
    elif network in floats:
        row["f32_ratios"] = [t / ours for t in floats[network]]
    return row


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--tq", required=True)
    parser.add_argument("--case", nargs=2, action="append", required=True, metavar=("FOLDER", "MODEL"))
    parser.add_argument("--isa", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=float, default=400.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    levels = args.isa.split(",") if args.isa else [""]
    installed = {"openvino": OpenVino.name, "torch": qdq.Torch.name, "ai_edge_litert": qdq.LiteRt.name}
    there = [OnnxRuntime.name] + [name for package, name in installed.items() if importlib.util.find_spec(package)]
    columns = [f"ours{', ' + l if l else ''}" for l in levels] + there
    rows = []
    if not args.json:
        print("| network | file | " + " | ".join(columns)
              + " | ONNX Runtime / ours | best peer / ours | f32 / ours: ours, best peer | outputs differ by |")
        print("|---" * (len(columns) + 6) + "|", flush=True)
    floats = {}
    for folder, model in args.case:
        row = measure(args, levels, folder, model, floats)
        rows.append(row)
        show = lambda t: f"{np.median(t):.3f} ({min(t):.3f} to {max(t):.3f})" if t else "-"
        cells = [row["network"], row["model"], *(show(row["ms"].get(name)) for name in columns),
                 f"{row['ratio_ort']:.2f}", f"{row['ratio']:.2f}",
                 ", ".join(f"{ratio:.2f}" for ratio in row.get("f32_ratios", [])) or "-",
                 ", ".join(f"{row['outputs_differ_by'][name]:.2f}" for name in there if name in row["outputs_differ_by"]) or "-"]
        if not args.json:
            print("| " + " | ".join(cells) + " |", flush=True)
    if args.json:
        print(json.dumps({"onnxruntime": ort.__version__, "contestants": columns, "rows": rows}))


if __name__ == "__main__":
    main()
