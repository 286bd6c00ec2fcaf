#!/usr/bin/env python3
"""Quantizes trained networks in the three modes of the benchmarks and tells the accuracy of each.

usage: modes.py --tq PROGRAM --out FOLDER CASE_FOLDER [CASE_FOLDER ...]

CASE_FOLDER holds `model.onnx` and `case.json`, which names arrays to calibrate with and to evaluate with, labels, and how both are
prepared. FOLDER gets a folder of each case's name, with `A1.onnx` (activations with the scale of codes 0 to 127, which is no clamp), `A2.onnx` (all 8 bits, overflow-safe
weights), `B.onnx` (all 8 bits, any weights), `float.onnx` and `case.json`: what `networks.py` times, and what `gemm.py --layers`
takes weights from. A2 and B are of the recipe int8, A1 of its rules but for these codes; accuracy is that of `tq eval`, in percent of the rows.
"""

import argparse
import json
import os
import shutil
import subprocess

NARROW = '[global.activation]\nobserver = "min_max"\nspec = { dtype = "u8", quant_max = 127 }\n'


def prepared(case):
    """The options of `tq` that prepare data as the case says."""
    how = case.get("preprocess") or {}
    words = ["--scale", str(how["scale"])] if "scale" in how else []
    for key in ("mean", "std"):
        if key in how:
            words += [f"--{key}", ",".join(map(str, how[key]))]
    return words


def run(words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--tq", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("cases", nargs="+", metavar="CASE_FOLDER")
    args = parser.parse_args()
    print("| network | float | A1 | A2 | B |\n|---|---|---|---|---|")
    for folder in args.cases:
        with open(os.path.join(folder, "case.json")) as file:
            case = json.load(file)
        path = lambda name: os.path.abspath(os.path.join(folder, name))
        out = os.path.join(args.out, os.path.basename(os.path.normpath(folder)))
        os.makedirs(out, exist_ok=True)
        shutil.copyfile(path("model.onnx"), os.path.join(out, "float.onnx"))
        with open(os.path.join(out, "case.json"), "w") as file:
            json.dump({"eval": path(case["eval"]), "preprocess": case.get("preprocess")}, file)
        config = os.path.join(out, "A1.toml")
        with open(config, "w") as file:
            file.write(NARROW)
        how = {"A1": ["--config", config], "A2": ["--recipe", "int8", "--weights", "overflow-safe"], "B": ["--recipe", "int8"]}
        accuracy = []
        for mode in ("float", *how):
            model = os.path.join(out, f"{mode}.onnx")
            if mode in how:
                run([args.tq, "quantize", path("model.onnx"), "--calib", path(case["calib"]), *prepared(case), *how[mode], "-o", model])
            said = run([args.tq, "eval", model, "--input", path(case["eval"]), "--labels", path(case["labels"]), *prepared(case), "--json"])
            accuracy.append(json.loads(said)["points"])
        print(f"| {os.path.basename(out)} | " + " | ".join(f"{a:.2f}" for a in accuracy) + " |", flush=True)


if __name__ == "__main__":
    main()
