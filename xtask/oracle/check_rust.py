"""Checks exported files at operator set 13 in tract and rten. Run by `cargo xtask oracle-rust`.

usage: check_rust.py ORACLE_RUST TQ FORMS_DIR MODELS_DIR WORK_DIR

FORMS_DIR holds single forms as the test `exported_forms` of tq-runtime leaves them; MODELS_DIR holds real models, which are
quantized with calibrated ranges. Both programs quantize by a multiplication with 1/scale, tract computes everything between
Dequantize and Quantize in float, and rten's integer kernels saturate on AVX2: for each file the share of elements within one
code of ours is told, and for real models the figure. In tract it has to be within 0.3 points or one sample of ours, or of
what ONNX Runtime has without optimizations where Quantize multiplies by 1/scale in the file itself: codes that this rounding
moves are not the file's fault. A file that a program does not run is told with the reason; none may be a file that tract does
not run.
"""

import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

from check_export import preprocess
from check_forms import code, tensors
from check_models import BATCH, Classes, case_of, folders
from check_targets import LEVELS, output_step, session, tq

ROWS = 128
TYPES = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}


def write(path, arrays):
    header, body = {}, b""
    for name, x in arrays.items():
        x = np.ascontiguousarray(x)
        end = len(body) + x.nbytes
        header[name] = {"dtype": TYPES[x.dtype], "shape": list(x.shape), "data_offsets": [len(body), end]}
        body += x.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + body)


def run(program, folder):
    """What does not run, by program and name."""
    said = subprocess.run([program, folder], check=True, capture_output=True, text=True).stdout
    refused = {}
    for line in said.splitlines():
        where, _, why = line.partition(": ")
        path, _, which = where.rpartition(" ")
        refused[os.path.basename(path)[: -len(".onnx")], which] = why
    return refused


def compare(folder, names, refused, which):
    """Of each file that runs how many elements there are, and how many of them are more than one code away."""
    found = {}
    for name in names:
        if (name, which) in refused:
            print(f"  {name}, {which}: not run: {refused[name, which][:200]}")
            continue
        y = tensors(os.path.join(folder, name + ".safetensors"))["y"]
        theirs = np.fromfile(os.path.join(folder, f"{name}.{which}"), np.float32)
        step = code(onnx.load(os.path.join(folder, name + ".onnx")), y)
        same = theirs.size == y.size
        found[name] = y.size, int((np.abs(theirs - y.reshape(-1)) > step * 1.001).sum()) if same else y.size
    return found


def by_reciprocals(source, target):
    """Writes the file again with each Quantize as a multiplication by 1/scale and a Quantize by one."""
    model = onnx.load(source)
    graph, nodes = model.graph, []
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for i, node in enumerate(graph.node):
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants:
            scale = constants[node.input[1]]
            product, reciprocal, one = f"{i}.product", f"{i}.reciprocal", f"{i}.one"
            graph.initializer.append(numpy_helper.from_array(np.asarray(np.float32(1) / scale, np.float32), reciprocal))
            graph.initializer.append(numpy_helper.from_array(np.ones_like(scale), one))
            nodes.append(helper.make_node("Mul", [node.input[0], reciprocal], [product]))
            node.input[0], node.input[1] = product, one
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, target)


def main():
    program, tq_path, forms, models, work = sys.argv[1:]
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    own = os.path.join(work, "forms")
    os.makedirs(own)
    names = []
    for file in sorted(os.listdir(forms)):
        name, extension = os.path.splitext(file)
        if extension != ".safetensors":
            continue
        model = onnx.load(os.path.join(forms, name + ".onnx"))
        if model.opset_import[0].version == 13:
            names.append(name)
            for extension in (".onnx", ".safetensors"):
                shutil.copy(os.path.join(forms, name + extension), own)
    problems = []
    refused = run(program, own)
    for which in ("tract", "rten"):
        found = compare(own, names, refused, which)
        off = {n: f"{bad} of {size}" for n, (size, bad) in found.items() if bad > max(1, size // 1000)}
        print(f"{which}: {len(found)} of {len(names)} forms run; all but one element or 0.1 % within one code in "
              f"{len(found) - len(off)}; others: {off}", flush=True)
        if which == "tract" and not found:
            problems.append("tract runs nothing")
    for folder in folders(models):
        case = case_of(folder, work, tq_path)
        if not isinstance(case, Classes):
            continue
        quantized, recipe = case.quantize()
        if recipe != "int8":
            continue
        name = case.name
        here = os.path.join(work, name)
        os.makedirs(here)
        tq(tq_path, "export", quantized, "-o", os.path.join(here, name + ".onnx"), "--opset", 13, "--target", "tract", "--json")
        x = case.inputs[0][case.json["input"]][:ROWS]
        case.inputs, case.labels = [{case.json["input"]: x}], case.labels[:ROWS]
        ours = case.ours(quantized)
        write(os.path.join(here, name + ".safetensors"), {case.json["input"]: preprocess(x, case.how), "y": ours})
        refused = run(program, here)
        mine, sample = case.figure(ours)
        step = output_step(onnx.load(quantized)) or 0.0
        for which in ("tract", "rten"):
            if (name, which) in refused:
                print(f"  {name}, {which}: not run: {refused[name, which][:300]}")
                if which == "tract":
                    problems.append(f"{name}: tract does not run it")
                continue
            theirs = np.fromfile(os.path.join(here, f"{name}.{which}"), np.float32).reshape(ours.shape)
            their, _ = case.figure(theirs)
            equal = case.equal(ours, theirs, step)
            print(f"  {name}, {which}: ours {mine:.2f}, theirs {their:.2f}; {equal:.2f} % decided equally", flush=True)
            near = lambda figure: abs(figure - their) <= max(0.3, sample) + 1e-9
            if which == "tract" and not near(mine):
                rewritten = os.path.join(work, "reciprocals.onnx")
                by_reciprocals(os.path.join(here, name + ".onnx"), rewritten)
                rounded, _ = case.figure(case.theirs(session(rewritten, LEVELS["disabled"])))
                print(f"  {name}, ONNX Runtime with multiplications by 1/scale: {rounded:.2f}", flush=True)
                if not near(rounded):
                    problems.append(f"{name}: tract has {their:.2f} instead of {mine:.2f}, or {rounded:.2f} by 1/scale")
    for problem in problems:
        print(f"  {problem}")
    if problems:
        sys.exit(f"{len(problems)} problems")


if __name__ == "__main__":
    main()
