"""Quantizes a model with ONNX Runtime's own quantizer, in all its forms.

usage: quantize.py CASE_FOLDER OUT_FOLDER [--rows N] [--forms NAME,NAME]

CASE_FOLDER holds `model.onnx`, `case.json` and arrays to calibrate with: what `calib` and `preprocess` name, or, where the
case names none, `calib_ids_i64.npy` and `calib_mask_i64.npy` (tokens) or `calib_frames_f32.npy` (clips, each a run of its own
with states of zeros). OUT_FOLDER gets a file `<form>.onnx` for each form:

    qdq-u8s8, qdq-u8s8-pc, qdq-s8s8-pc, qdq-u8u8, qdq-u8s8-reduced     QDQ; pc: weights per channel
    qop-u8s8, qop-u8s8-pc, qop-u8u8, qop-u8s8-reduced                  operators on codes
    dynamic-u8, dynamic-s8, dynamic-s8-pc                              ranges at run time
    nbits4                                                             MatMulNBits, blocks of 32 (needs onnx_ir)

A form that the quantizer fails at is told and left out.
"""

import argparse
import contextlib
import json
import logging
import os
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

logging.disable(logging.WARNING)
TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
STATIC = [
    "qdq-u8s8", "qdq-u8s8-pc", "qdq-s8s8-pc", "qdq-u8u8", "qdq-u8s8-reduced",
    "qop-u8s8", "qop-u8s8-pc", "qop-u8u8", "qop-u8s8-reduced",
]
DYNAMIC = ["dynamic-u8", "dynamic-s8", "dynamic-s8-pc"]
FORMS = STATIC + DYNAMIC + ["nbits4"]


def load(path):
    data = np.load(path)
    return data[data.files[0]] if hasattr(data, "files") else data


def preprocess(x, how):
    """`(x * scale - mean) / std`, by channel, as the cases say it."""
    if x.dtype == np.float32 or not how:
        return x.astype(np.float32)
    x = x.astype(np.float32) * np.float32(how.get("scale", 1.0))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    for key, apply in (("mean", np.subtract), ("std", np.divide)):
        if key in how:
            x = apply(x, np.array(how[key], np.float32).reshape(shape))
    return x


def calibration(folder, case, inputs, rows, batch=8):
    """What the model is run on to find ranges, a dictionary of inputs for each run."""
    of = lambda name: load(os.path.join(folder, name))[:rows]
    if "calib" in case:
        arrays = {inputs[0]: preprocess(of(case["calib"]), case.get("preprocess"))}
    elif os.path.exists(os.path.join(folder, "calib_ids_i64.npy")):
        arrays = {"input_ids": of("calib_ids_i64.npy"), "attention_mask": of("calib_mask_i64.npy")}
    else:
        zero = np.zeros((1, 1, 128), np.float32)
        return [{"input": clip, "h": zero, "c": zero} for clip in of("calib_frames_f32.npy")]
    n = len(next(iter(arrays.values())))
    return [{k: x[i : i + batch] for k, x in arrays.items()} for i in range(0, n, batch)]


class Reader(CalibrationDataReader):
    def __init__(self, runs):
        self.batches = iter(runs)

    def get_next(self):
        return next(self.batches, None)


def first_line(error):
    """What an error says, or its class where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def static(source, target, form, runs):
    kind, types, *rest = form.split("-")
    quantize_static(
        source, target, Reader(runs),
        quant_format={"qdq": QuantFormat.QDQ, "qop": QuantFormat.QOperator}[kind],
        activation_type=TYPES[types[:2]], weight_type=TYPES[types[2:]],
        per_channel="pc" in rest, reduce_range="reduced" in rest,
    )


def n_bits(source, target):
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=False, accuracy_level=1, bits=4)
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    model = quantizer.model.model
    if not any(n.op_type == "MatMulNBits" for n in model.graph.node):
        raise ValueError("the model has no MatMul with constant weights")
    onnx.save(model, target)


def make(folder, out, rows=64, forms=FORMS):
    """Writes the files; gives the forms that were made."""
    folder, out = os.path.abspath(folder), os.path.abspath(out)
    case = json.load(open(os.path.join(folder, "case.json")))
    os.makedirs(out, exist_ok=True)
    made = []
    # Preparing a model that it does not know leaves files where it stands.
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        source = os.path.join(folder, case["model"])
        ready = os.path.join(work, "ready.onnx")
        try:
            quant_pre_process(source, ready)
        except Exception as error:  # It does not know all models; the quantizer may do without.
            print(f"{case['case']}: not preprocessed: {first_line(error)}")
            ready = source
        runs = calibration(folder, case, [i.name for i in onnx.load(ready).graph.input], rows)
        for form in forms:
            target = os.path.join(out, form + ".onnx")
            try:
                if form in STATIC:
                    static(ready, target, form, runs)
                elif form in DYNAMIC:
                    kind = TYPES[form.split("-")[1]]
                    quantize_dynamic(ready, target, weight_type=kind, per_channel=form.endswith("-pc"))
                else:
                    n_bits(ready, target)
                made.append(form)
            except Exception as error:  # The classes of its errors are many.
                print(f"{case['case']}: {form}: the quantizer fails: {first_line(error)}")
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("out")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--forms", type=lambda text: text.split(","), default=FORMS)
    args = parser.parse_args()
    print("made:", " ".join(make(args.case, args.out, args.rows, args.forms)))


if __name__ == "__main__":
    main()
