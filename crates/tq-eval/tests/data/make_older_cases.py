#!/usr/bin/env python3
"""Makes older_cases.zip: random cases of single operators at the operator sets in which they had another form, with the
outputs of ONNX Runtime 1.32.

    python -m venv venv && venv/bin/pip install onnx==1.23.2 onnxruntime==1.32.0
    venv/bin/python make_older_cases.py older_cases.zip

In the archive: `<operator>_<operator set>_<number>/model.onnx`, `input_<i>.pb`, `output_<i>.pb`, as in the node cases of
ONNX. Cases that ONNX Runtime refuses (it has no old kernel for some) are counted and printed.
"""

import collections
import random
import sys
import zipfile

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(4)
R, N = random.Random(7), np.random.RandomState(7)


def data(*dims, lo=-1.0, hi=1.0, dtype=np.float32):
    return N.uniform(lo, hi, dims).astype(dtype)


def dims(least=1, most=4):
    return [R.randint(1, 4) for _ in range(R.randint(least, most))]


class Const:
    """An input that is constant."""

    def __init__(self, value):
        self.value = value


def ints(*values):
    return Const(np.array(values, np.int64))


# Every function gives attributes, inputs, and how many outputs there are.


def clip(opset):
    x = data(*dims(), lo=-4, hi=4)
    bounds = {k: v for k, v in (("min", -1.5), ("max", 1.0)) if R.random() < 0.7}
    if opset < 11:
        return bounds, [x], 1
    given = [Const(np.float32(bounds[k])) if k in bounds else None for k in ("min", "max")]
    return {}, [x, *given], 1


def dropout(opset):
    return ({"ratio": 0.3} if opset < 12 else {}), [data(*dims())], 1


def softmax(opset):
    x = data(*dims(1, 4), lo=-3, hi=3)
    # Counting from the end came with 11.
    low = 0 if opset < 11 else -x.ndim
    return ({"axis": R.randint(low, x.ndim - 1)} if R.random() < 0.8 or x.ndim == 1 else {}), [x], 1


def pad(opset):
    x = data(*[R.randint(2, 5) for _ in range(R.randint(1, 4))])
    mode = R.choice(["constant", "reflect", "edge"])
    pads = [R.randint(0, 1) for _ in range(2 * x.ndim)]
    attributes = {"mode": mode}
    if opset < 11:
        return attributes | {"pads": pads} | ({"value": 0.25} if R.random() < 0.5 else {}), [x], 1
    value = [Const(np.float32(0.25))] if R.random() < 0.5 else []
    return attributes, [x, ints(*pads), *value], 1


def slices(opset):
    x = data(*[R.randint(3, 6) for _ in range(R.randint(1, 4))])
    axes = R.sample(range(x.ndim), R.randint(1, x.ndim))
    starts, ends = [R.choice([0, 1, -2]) for _ in axes], [R.choice([2, -1, 1000]) for _ in axes]
    if opset < 10:
        return {"starts": starts, "ends": ends, "axes": axes}, [x], 1
    return {}, [x, ints(*starts), ints(*ends), ints(*axes)], 1


def split(opset):
    x = data(4, 6, 2)
    axis = R.choice([0, 1])
    sizes = R.choice([[2, 2], [1, 3]] if axis == 0 else [[1, 2, 3], [2, 2, 2]])
    if opset < 13:
        return {"axis": axis} | ({"split": sizes} if R.random() < 0.7 or len(set(sizes)) > 1 else {}), [x], len(sizes)
    return {"axis": axis}, [x, ints(*sizes)], len(sizes)


def squeeze(opset):
    axes = R.choice([[0], [2], [0, 2]])
    x = data(1, 3, 1, 2)
    return ({"axes": axes}, [x], 1) if opset < 13 else ({}, [x, ints(*axes)], 1)


def unsqueeze(opset):
    axes = R.choice([[0], [2], [0, 3]])
    x = data(2, 3)
    return ({"axes": axes}, [x], 1) if opset < 13 else ({}, [x, ints(*axes)], 1)


def top_k(opset):
    x, k = data(3, 5, 4), R.randint(1, 3)
    attributes = {"axis": R.choice([0, 1, 2])} if R.random() < 0.7 else {}
    if opset < 10:
        return attributes | {"k": k}, [x], 2
    if opset >= 11:
        attributes["largest"] = R.choice([0, 1])
    return attributes, [x, ints(k)], 2


def upsample(opset):
    x = data(1, 2, 4, 6)
    mode = R.choice(["nearest", "linear"])
    scales = [1.0, 1.0, R.choice([1.0, 2.0, 3.0]), R.choice([1.5, 2.0])]
    if opset < 9:
        return {"mode": mode, "scales": scales}, [x], 1
    return {"mode": mode}, [x, Const(np.array(scales, np.float32))], 1


def resize(opset):
    x = data(1, 2, R.randint(3, 6), R.randint(3, 6))
    mode = R.choice(["nearest", "linear"])
    scales = Const(np.array([1.0, 1.0, R.choice([0.5, 0.6, 2.0]), R.choice([0.7, 1.5, 3.0])], np.float32))
    if opset < 11:
        return {"mode": mode}, [x, scales], 1
    kind = R.choice(["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners", "tf_half_pixel_for_nn"])
    attributes = {"mode": mode, "coordinate_transformation_mode": kind}
    if kind == "tf_half_pixel_for_nn":
        attributes |= {"mode": "nearest", "nearest_mode": "floor"}
    sizes = ints(1, 2, R.randint(2, 9), R.randint(2, 9))
    if kind == "align_corners" or R.random() < 0.5:
        return attributes, [x, Const(np.zeros(0, np.float32)), Const(np.zeros(0, np.float32)), sizes], 1
    scales = Const(np.array([1.0, 1.0, 2.0, 3.0], np.float32))
    return attributes, [x, Const(np.zeros(0, np.float32)), scales], 1


def scatter(opset):
    x, axis = data(4, 5), R.choice([0, 1])
    i = np.stack([N.permutation(x.shape[axis])[:2] for _ in range(3)], axis=1 - axis).astype(np.int64)
    return {"axis": axis}, [x, i, data(*i.shape)], 1


def batch_normalization(opset):
    x = data(2, 3, 4, 5)
    given = [data(3), data(3), data(3), data(3, lo=0.5, hi=2)]
    return {"epsilon": 1e-3} | ({"spatial": 1} if opset < 9 and R.random() < 0.5 else {}), [x, *given], 1


def reduction(op):
    def make(opset):
        x = data(2, 3, 4, lo=0.1, hi=2)
        axes = R.choice([[0], [1, 2], None])
        attributes = {"keepdims": R.choice([0, 1])}
        if opset < (13 if op == "ReduceSum" else 18):
            return attributes | ({"axes": axes} if axes else {}), [x], 1
        return attributes, [x, *([ints(*axes)] if axes else [])], 1

    return make


def pool(op):
    def make(opset):
        n = R.choice([1, 2, 3])
        size, kernel = [R.randint(4, 7) for _ in range(n)], [R.randint(1, 3) for _ in range(n)]
        attributes = {"kernel_shape": kernel, "strides": [R.choice([1, 2]) for _ in range(n)]}
        if R.random() < 0.4:
            attributes["pads"] = [R.randint(0, k - 1) for _ in range(2) for k in kernel]
        elif R.random() < 0.5:
            attributes["auto_pad"] = R.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])
        if opset >= 10:
            attributes["ceil_mode"] = R.choice([0, 1])
        if op == "AveragePool":
            attributes["count_include_pad"] = R.choice([0, 1])
        return attributes, [data(1, 2, *size)], 1

    return make


def conv(opset):
    g = R.choice([1, 2])
    x, w = data(1, 2 * g, 6, 5), data(2 * g, 2, 3, 2)
    attributes = {"group": g, "strides": [R.choice([1, 2]), 1], "dilations": [1, R.choice([1, 2])]}
    attributes |= R.choice([{"pads": [1, 0, 1, 1]}, {"auto_pad": "SAME_UPPER"}, {"kernel_shape": [3, 2]}])
    if attributes.get("auto_pad"):
        attributes["dilations"] = [1, 1]
    return attributes, [x, w] + ([data(2 * g)] if R.random() < 0.5 else []), 1


def gemm(opset):
    a, b = R.choice([0, 1]), R.choice([0, 1])
    x, w = data(*((4, 3) if a else (3, 4))), data(*((5, 4) if b else (4, 5)))
    c = [data(*R.choice([(5,), (3, 5), (1, 5), (3, 1), ()]))]
    return {"transA": a, "transB": b, "alpha": 0.5, "beta": 2.0}, [x, w] + ([] if opset >= 11 and R.random() < 0.5 else c), 1


def broadcast(opset):
    return {}, [data(2, 3, 4, lo=0.5, hi=2), data(*R.choice([(4,), (3, 1), (2, 3, 4), ()]), lo=0.5, hi=2)], 1


def several(opset):
    shapes = [(2, 3)] * 3 if opset < 8 else [(2, 3), (3,), (2, 1)]
    return {}, [data(*s) for s in shapes], 1


def recurrent(op, gates):
    def make(opset):
        s, b, i, h = 4, 2, 3, 5
        direction = R.choice(["forward", "reverse", "bidirectional"])
        d = 2 if direction == "bidirectional" else 1
        attributes = {"hidden_size": h, "direction": direction}
        if op == "GRU":
            attributes["linear_before_reset"] = R.choice([0, 1])
        return attributes, [data(s, b, i), data(d, gates * h, i), data(d, gates * h, h), data(d, 2 * gates * h)], 3 if op == "LSTM" else 2

    return make


def unary(**attributes):
    return lambda opset: (attributes, [data(*dims(1, 3))], 1)


def arg(opset):
    attributes = {"axis": R.choice([0, 1, 2]), "keepdims": R.choice([0, 1])}
    return attributes, [data(2, 3, 4)], 1


def flatten(opset):
    return {"axis": R.randint(0, 3)}, [data(2, 3, 4)], 1


def depth_to_space(opset):
    return {"blocksize": 2} | ({"mode": R.choice(["DCR", "CRD"])} if opset >= 11 else {}), [data(1, 8, 2, 3)], 1


def codes(dtype, *shape):
    return N.randint(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)


def quantize(opset):
    axis = {"axis": 1} if opset >= 13 else {}
    n = 3 if opset >= 13 else 1
    scale = np.float32(0.02) if n == 1 else data(n, lo=0.01, hi=0.05)
    zero = np.uint8(100) if n == 1 else codes(np.uint8, n)
    return axis, [data(2, 3, 4), Const(scale), Const(zero)], 1


def dequantize(opset):
    dtype = R.choice([np.uint8, np.int8])
    return {}, [codes(dtype, 2, 3, 4), Const(np.float32(0.02)), Const(dtype(7))], 1


def qlinear_conv(opset):
    scales = data(4, lo=0.002, hi=0.01)
    given = [np.float32(0.02), np.uint8(117), codes(np.int8, 4, 3, 3, 3) // 2, scales, np.zeros(4, np.int8), np.float32(0.07), np.uint8(120)]
    bias = [N.randint(-900, 900, 4).astype(np.int32)] if R.random() < 0.5 else []
    return {"pads": [1, 1, 1, 1]}, [codes(np.uint8, 1, 3, 5, 6), *(Const(g) for g in given + bias)], 1


def qlinear_matmul(opset):
    given = [np.float32(0.02), np.uint8(117), codes(np.uint8, 6, 5), np.float32(0.01), np.uint8(99), np.float32(0.21), np.uint8(120)]
    return {}, [codes(np.uint8, 4, 6), *(Const(g) for g in given)], 1


def matmul_integer(opset):
    return {}, [codes(np.uint8, 4, 6), codes(np.int8, 6, 5), Const(np.uint8(9))], 1


def conv_integer(opset):
    return {"pads": [1, 1, 1, 1]}, [codes(np.uint8, 1, 3, 5, 6), codes(np.uint8, 2, 3, 3, 3), Const(np.uint8(9))], 1


def one_hot(opset):
    i = N.randint(-4 if opset >= 11 else 0, 4, (2, 3)).astype(np.int64)
    return {"axis": R.choice([-1, 0, 1])}, [i, ints(4), Const(np.array([0.25, 2.0], np.float32))], 1


def gather(opset):
    i = N.randint(-3 if opset >= 11 else 0, 3, (2, 2)).astype(np.int64)
    return {"axis": 1}, [data(4, 3, 2), i], 1


def rms(opset):
    axis = R.choice([-1, -2])
    x = data(2, 3, 4)
    return {"axis": axis, "epsilon": 1e-3}, [x, data(*x.shape[axis:])], 1


# Operator: the function, operator sets, cases at each.
CASES = {
    "Clip": (clip, [7, 10, 11, 12], 3),
    "Dropout": (dropout, [7, 10, 12], 1),
    "Softmax": (softmax, [7, 11, 12, 13], 6),
    "LogSoftmax": (softmax, [7, 11, 12, 13], 3),
    "Hardmax": (softmax, [7, 11, 12, 13], 3),
    "Pad": (pad, [7, 10, 11, 13], 4),
    "Slice": (slices, [7, 9, 10, 11], 4),
    "Split": (split, [7, 11, 12, 13], 3),
    "Squeeze": (squeeze, [7, 11, 12, 13], 2),
    "Unsqueeze": (unsqueeze, [7, 11, 12, 13], 2),
    "TopK": (top_k, [7, 9, 10, 11], 3),
    "Upsample": (upsample, [7, 8, 9], 6),
    "Resize": (resize, [10, 11, 12], 12),
    "Scatter": (scatter, [9, 10], 3),
    "ScatterElements": (scatter, [11, 12], 2),
    "BatchNormalization": (batch_normalization, [7, 8, 9, 13], 2),
    "AveragePool": (pool("AveragePool"), [7, 10, 11], 6),
    "MaxPool": (pool("MaxPool"), [7, 8, 10, 11, 12], 4),
    "LpPool": (pool("LpPool"), [7], 3),
    "Conv": (conv, [7, 11], 4),
    "Gemm": (gemm, [7, 9, 11], 4),
    **{op: (broadcast, [7, 12, 13], 1) for op in ("Add", "Sub", "Mul", "Div", "Pow")},
    "PRelu": (broadcast, [7, 9], 2),
    **{op: (several, [7, 8, 12], 1) for op in ("Max", "Min", "Sum", "Mean")},
    **{op: (reduction(op), [7, 11, 12, 13, 18], 2) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")},
    "LSTM": (recurrent("LSTM", 4), [7, 13], 3),
    "GRU": (recurrent("GRU", 3), [7, 13], 3),
    "RNN": (recurrent("RNN", 1), [7, 13], 2),
    **{op: (unary(), [7, 12], 1) for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Floor", "Ceil", "Softplus", "Softsign", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "Sin", "Cos", "Atan", "Identity")},
    "ArgMax": (arg, [7, 11, 12], 2),
    "ArgMin": (arg, [7, 11, 12], 2),
    "Flatten": (flatten, [7, 9, 11], 2),
    "DepthToSpace": (depth_to_space, [7, 11], 3),
    "QuantizeLinear": (quantize, [10, 13], 2),
    "DequantizeLinear": (dequantize, [10, 13], 2),
    "QLinearConv": (qlinear_conv, [10, 13], 3),
    "QLinearMatMul": (qlinear_matmul, [10, 13], 3),
    "MatMulInteger": (matmul_integer, [10], 2),
    "ConvInteger": (conv_integer, [10], 2),
    "OneHot": (one_hot, [9, 11], 2),
    "Gather": (gather, [7, 11], 2),
    "RMSNormalization": (rms, [23, 25], 3),
    "Swish": (unary(alpha=1.5), [24, 25], 2),
}
INT64 = {("TopK", 1), ("ArgMax", 0), ("ArgMin", 0)}
OTHER = {
    "QuantizeLinear": TensorProto.UINT8, "DequantizeLinear": TensorProto.FLOAT, "MatMulInteger": TensorProto.INT32,
    "ConvInteger": TensorProto.INT32, "OneHot": TensorProto.FLOAT,
}


def build(op, make, opset):
    """The bytes of a model, its inputs and outputs; the message where ONNX Runtime refuses it."""
    attributes, given, count = make(opset)
    names = ["" if a is None else f"i{k}" for k, a in enumerate(given)]
    while names[-1] == "":
        names.pop()
    of = helper.np_dtype_to_tensor_dtype
    fixed = [(n, np.asarray(a.value)) for n, a in zip(names, given) if isinstance(a, Const)]
    inputs = [(n, np.asarray(a)) for n, a in zip(names, given) if a is not None and not isinstance(a, Const)]
    outputs = [f"o{k}" for k in range(count)]
    kind = lambda k: TensorProto.INT64 if (op, k) in INT64 else OTHER.get(op, of(inputs[0][1].dtype))
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **attributes)],
        op,
        [helper.make_tensor_value_info(n, of(a.dtype), a.shape) for n, a in inputs],
        [helper.make_tensor_value_info(o, kind(k), None) for k, o in enumerate(outputs)],
        [numpy_helper.from_array(a, n) for n, a in fixed],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 11
    ).SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return (model, [a for _, a in inputs], session.run(None, dict(inputs))), None
    except Exception as error:  # The class of the errors is not exported.
        return None, str(error).splitlines()[0]


def main(target):
    refused, total = collections.Counter(), 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        def add(name, content):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)

        for op, (make, opsets, count) in CASES.items():
            for opset in opsets:
                for number in range(count):
                    built, why = build(op, make, opset)
                    if built is None:
                        refused[f"{op} {opset}: {why[:140]}"] += 1
                        continue
                    model, inputs, outputs = built
                    name = f"{op}_{opset:02}_{number}"
                    add(f"{name}/model.onnx", model)
                    for kind, arrays in [("input", inputs), ("output", outputs)]:
                        for i, array in enumerate(arrays):
                            add(f"{name}/{kind}_{i}.pb", numpy_helper.from_array(np.asarray(array)).SerializeToString())
                    total += 1
    for what, n in refused.items():
        print(f"refused {n}: {what}")
    print(f"ONNX Runtime {ort.__version__}: {total} cases")


if __name__ == "__main__":
    main(sys.argv[1])
