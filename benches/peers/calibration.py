#!/usr/bin/env python3
"""Calibration of one model on one set of arrays: `tq calibrate` against ONNX Runtime, in time and peak memory.

    python calibration.py MODEL.onnx [NAME=]DATA.npz... [--tq PATH] [--scale S] [--mean A,B,C] [--std A,B,C]

DATA is an .npy file, or an .npz file with one array, for each input of the model; NAME is the input's, and may be left out
where there is one. Bytes become (x * scale - mean) / std, channels on axis 1. Needs numpy, onnx, sympy and onnxruntime.

Every run is a process of its own; the contestants take turns, so that whatever else the machine does falls on all of
them. Time is of the work: of all of `tq`, from its start to its end, and of ONNX Runtime from the moment that Python has
imported everything. Memory is the peak of the process, by the kernel's account.

Each of ONNX Runtime's methods runs twice: as its `quantize_static` calls it, with all data in one call, and with one
batch a call, which takes less memory.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--tq", default="target/release/tq", help="the program, built in release mode")
    parser.add_argument("--observers", default="histogram", help="of tq, with commas between them")
    parser.add_argument("--scale", default="1")
    parser.add_argument("--mean", default="0")
    parser.add_argument("--std", default="1")
    parser.add_argument("--batch", type=int, default=8, help="rows a batch, for all")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", nargs=2, metavar=("METHOD", "CHUNK"), help=argparse.SUPPRESS)
    return parser.parse_args()


def peer(args):
    """One calibration by ONNX Runtime; prints the seconds it took."""
    import numpy as np
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator
    from onnxruntime.quantization.registry import QDQRegistry

    def numbers(text):
        return np.array([float(v) for v in text.split(",")], np.float32)

    class Reader(CalibrationDataReader):
        def __init__(self, batches):
            self.batches = iter(batches)

        def get_next(self):
            batch = next(self.batches, None)
            return batch and {name: prepared(values) for name, values in batch.items()}

    def prepared(values):
        if values.dtype not in (np.uint8, np.int8):
            return values
        shape = (1, -1) + (1,) * (values.ndim - 2)
        mean, std = numbers(args.mean).reshape(shape), numbers(args.std).reshape(shape)
        return (values * np.float32(args.scale) - mean) / std

    def array(path):
        data = np.load(path)
        return data if isinstance(data, np.ndarray) else data[data.files[0]]

    method, chunk = args.peer
    onnxruntime.set_default_logger_severity(3)
    given = [text.rpartition("=") for text in args.data]
    data = {name: array(path) for name, _, path in given}
    rows = len(next(iter(data.values())))
    start = time.perf_counter()
    # What the library prints is no result.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        calibrator = create_calibrator(
            args.model,
            list(QDQRegistry.keys()),
            augmented_model_path=os.path.join(folder, "augmented.onnx"),
            calibrate_method=getattr(CalibrationMethod, method),
        )
        first = calibrator.infer_session.get_inputs()[0].name
        batches = [
            {name or first: values[i : i + args.batch] for name, values in data.items()}
            for i in range(0, rows, args.batch)
        ]
        for part in [batches] if chunk == "all" else [[b] for b in batches]:
            calibrator.collect_data(Reader(part))
        ranges = calibrator.compute_data()
        tensors = len(ranges.data)
        del calibrator
    print(json.dumps({"seconds": time.perf_counter() - start, "tensors": tensors}))


def measure(command):
    """Runs a command; gives its seconds, its peak memory in MiB, and what it printed."""
    start = time.perf_counter()
    errors = tempfile.TemporaryFile("w+")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        errors.seek(0)
        sys.exit(f"{' '.join(command)}\n{errors.read()}")
    return seconds, usage.ru_maxrss / 1024, json.loads(out)


def run_tq(args, observer):
    with tempfile.TemporaryDirectory() as folder:
        command = [args.tq, "calibrate", args.model, "--calib", *args.data, "--observer", observer]
        command += ["-o", os.path.join(folder, "state.json"), "--batch", str(args.batch)]
        command += [f"--scale={args.scale}", f"--mean={args.mean}", f"--std={args.std}", "--json"]
        seconds, memory, report = measure(command)
    return seconds, memory, report["tensors"]


def run_peer(args, method, chunk):
    _, memory, report = measure([sys.executable, __file__, *sys.argv[1:], "--peer", method, chunk])
    return report["seconds"], memory, report["tensors"]


def main():
    args = arguments()
    if args.peer:
        return peer(args)
    contestants = {f"tq, {o}": (lambda o=o: run_tq(args, o)) for o in args.observers.split(",")}
    for method in ("Percentile", "Entropy"):
        for chunk, words in (("all", "all data a call"), ("batch", "one batch a call")):
            contestants[f"ONNX Runtime, {method.lower()}, {words}"] = lambda m=method, c=chunk: run_peer(args, m, c)
    results = {name: [] for name in contestants}
    for _ in range(args.repeat):
        for name, run in contestants.items():
            results[name].append(run())
    ours = next(iter(results.values()))

    def middle(runs, i):
        return statistics.median(r[i] for r in runs)

    rows = []
    for name, runs in results.items():
        row = {"calibration": name, "tensors": runs[0][2], "runs": len(runs)}
        for key, i in (("seconds", 0), ("peak_mib", 1)):
            values = [r[i] for r in runs]
            row[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            row[f"{key}_ratio"] = middle(runs, i) / middle(ours, i)
        rows.append(row)
    if args.json:
        return print(json.dumps(rows, indent=2))
    print("| calibration | tensors | seconds | | peak MiB | |\n|---|---|---|---|---|---|")
    for r in rows:
        s, m = r["seconds"], r["peak_mib"]
        print(
            f"| {r['calibration']} | {r['tensors']} "
            f"| {s['median']:.2f} ({s['min']:.2f} to {s['max']:.2f}) | {r['seconds_ratio']:.1f}× "
            f"| {m['median']:.0f} ({m['min']:.0f} to {m['max']:.0f}) | {r['peak_mib_ratio']:.1f}× |"
        )


if __name__ == "__main__":
    main()
