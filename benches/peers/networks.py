"""Times whole networks beside ONNX Runtime, and OpenVINO where it is installed, in turns, on the same file and the same input.

usage: networks.py --tq PROGRAM --case FOLDER MODEL [--case FOLDER MODEL ...] [--isa avx2,avx512vnni] [--rounds N] [--ms MS] [--threads T] [--json]

A case is a folder with `case.json` and the arrays that it names (of which the first row is the input, or all of it where
`case.json` says `"whole": true`), and a quantized model of it, which all run. `--isa` names levels that ours is held to, one column each. Figures are the median of rounds of each
round's median, in milliseconds, and in brackets the least and the largest of the rounds. Before anything is timed the
largest difference of the outputs is printed, in steps of their range over 255.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

import quantize

try:
    import openvino
except ImportError:
    openvino = None


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

    def run(self, x):
        return self.session.run(None, {self.session.get_inputs()[0].name: x})


class OpenVino:
    name = "OpenVINO"

    def __init__(self, model, threads):
        config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        self.model = openvino.Core().compile_model(model, "CPU", config)
        self.request = self.model.create_infer_request()

    def run(self, x):
        return list(self.request.infer([x], share_inputs=True, share_outputs=True).values())


def peers(model, threads):
    """ONNX Runtime, and OpenVINO where it is there and takes the model."""
    found = [OnnxRuntime(model, threads)]
    if openvino:
        try:
            found.append(OpenVino(model, threads))
        except RuntimeError as error:
            print(f"OpenVINO does not take {model}: {str(error).splitlines()[0]}", file=sys.stderr)
    return found


def run_peer(peer, x, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        peer.run(x)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def difference(args, model, array, peer, x, folder):
    out = os.path.join(folder, "out")
    command = [args.tq, "run", model, "--input", array, "--sequences", "--out-dir", out]
    subprocess.run(command, check=True, capture_output=True)
    worst = 0.0
    for name, theirs in zip(peer.outputs, peer.run(x)):
        files = [f for f in os.listdir(out) if f.endswith(".npy")]
        ours = np.load(os.path.join(out, files[0] if len(files) == 1 else name + ".npy")).reshape(theirs.shape)
        step = (float(theirs.max()) - float(theirs.min())) / 255 or 1.0
        worst = max(worst, float(np.abs(ours - theirs).max()) / step)
    return worst


def measure(args, levels, folder, model):
    with open(os.path.join(folder, "case.json")) as file:
        case = json.load(file)
    x = quantize.load(os.path.join(folder, case["eval"]))
    x = quantize.preprocess(x if case.get("whole") else x[:1], case.get("preprocess"))
    with tempfile.TemporaryDirectory() as scratch:
        # A run is given whole.
        array = os.path.join(scratch, "x.npy")
        np.save(array, x[None])
        others = peers(model, args.threads)
        worst = difference(args, model, array, others[0], x, scratch)
        runs = max(5, int(args.ms / run_peer(others[0], x, 5)))
        times = {f"ours{', ' + level if level else ''}": [] for level in levels}
        names = list(times)
        times.update({peer.name: [] for peer in others})
        for turn in range(args.rounds):
            for name in list(times)[:: -1 if turn % 2 else 1]:
                if name in names:
                    level = levels[names.index(name)]
                    times[name].append(run_ours(args, model, array, level, runs)["median_ms"])
                else:
                    times[name].append(run_peer(next(p for p in others if p.name == name), x, runs))
    # The last level named is the best of the machine.
    best = min(np.median(times[peer.name]) for peer in others)
    network = os.path.basename(os.path.normpath(folder))
    mode = os.path.splitext(os.path.basename(model))[0]
    return {"network": network, "model": mode, "ms": times, "ratio": best / np.median(times[names[-1]]),
            "ratio_ort": np.median(times["ONNX Runtime"]) / np.median(times[names[-1]]), "outputs_differ_by": worst}


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
    columns = [f"ours{', ' + l if l else ''}" for l in levels] + ["ONNX Runtime"] + (["OpenVINO"] if openvino else [])
    rows = []
    if not args.json:
        print("| network | file | " + " | ".join(columns) + " | ONNX Runtime / ours | best peer / ours | outputs differ by |")
        print("|---" * (len(columns) + 5) + "|")
    for folder, model in args.case:
        row = measure(args, levels, folder, model)
        rows.append(row)
        show = lambda t: f"{np.median(t):.3f} ({min(t):.3f} to {max(t):.3f})" if t else "-"
        cells = [row["network"], row["model"], *(show(row["ms"].get(name)) for name in columns),
                 f"{row['ratio_ort']:.2f}", f"{row['ratio']:.2f}", f"{row['outputs_differ_by']:.2f}"]
        if not args.json:
            print("| " + " | ".join(cells) + " |", flush=True)
    if args.json:
        print(json.dumps({"onnxruntime": ort.__version__, "openvino": openvino and openvino.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
