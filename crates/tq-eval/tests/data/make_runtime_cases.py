#!/usr/bin/env python3
"""Makes runtime_cases.zip: random cases of single operators, with the outputs of ONNX Runtime 1.32.

    python -m venv venv && venv/bin/pip install onnx==1.16.2 onnxruntime==1.32.0
    venv/bin/python make_runtime_cases.py runtime_cases.zip

In the archive: `<operator>_<number>/model.onnx`, `input_<i>.pb`, `output_<i>.pb`, as in the node cases of ONNX. They
have what those leave out: all directions, functions and optional inputs of recurrent operators, groups and padding of
transposed convolutions, coordinates and roundings of Resize, equations of Einsum, equal elements in TopK, updates of
the same element in scatter operators that reduce.
"""

import random
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(4)
R, N = random.Random(1), np.random.RandomState(1)


def data(*dims, lo=-1.0, hi=1.0, dtype=np.float32):
    return N.uniform(lo, hi, dims).astype(dtype)


def maybe(p, value):
    """`value()` with probability p."""
    return value() if R.random() < p else None


def recurrent(op, gates, functions):
    s, b, i, h = R.choice([1, 2, 5]), R.choice([1, 2, 4]), R.choice([1, 3]), R.randint(1, 5)
    direction = R.choice(["forward", "reverse", "bidirectional"])
    d = 2 if direction == "bidirectional" else 1
    attributes = {"hidden_size": h, "direction": direction}
    bounded = ["Tanh", "Sigmoid", "ScaledTanh", "HardSigmoid", "Softsign"]
    if R.random() < 0.5:
        chosen = [R.choice(bounded + ["Elu", "LeakyRelu", "Affine", "Relu"]) for _ in range(d * functions)]
        attributes["activations"] = chosen
        first = {"ScaledTanh", "HardSigmoid", "Elu", "LeakyRelu", "Affine"}
        second = {"ScaledTanh", "HardSigmoid", "Affine"}
        attributes["activation_alpha"] = [R.choice([0.3, 0.7]) for f in chosen if f in first]
        attributes["activation_beta"] = [R.choice([0.1, 0.5]) for f in chosen if f in second]
        attributes = {k: v for k, v in attributes.items() if v != []}
    if R.random() < 0.3:
        attributes["clip"] = R.choice([0.2, 0.5])
    if op == "GRU":
        attributes["linear_before_reset"] = R.choice([0, 1])
    lens = maybe(0.5, lambda: np.array([R.randint(0, s) for _ in range(b)], np.int32))
    inputs = [data(s, b, i), data(d, gates * h, i), data(d, gates * h, h) * np.float32(0.5)]
    inputs += [maybe(0.7, lambda: data(d, 2 * gates * h)), lens, maybe(0.6, lambda: data(d, b, h))]
    if op == "LSTM":
        attributes["input_forget"] = R.choice([0, 0, 1])
        inputs += [maybe(0.6, lambda: data(d, b, h)), maybe(0.5, lambda: data(d, 3 * h))]
    return attributes, inputs, 3 if op == "LSTM" else 2


def conv_transpose():
    n, g = R.choice([1, 2, 3]), R.choice([1, 1, 2])
    channels, filters = g * R.randint(1, 3), R.randint(1, 3)
    size, kernel = [R.randint(1, 5) for _ in range(n)], [R.randint(1, 3) for _ in range(n)]
    stride, dilation = [R.choice([1, 2, 3]) for _ in range(n)], [R.choice([1, 1, 2]) for _ in range(n)]
    attributes = {"group": g, "strides": stride, "dilations": dilation}
    reach = [(k - 1) * d for k, d in zip(kernel, dilation)]
    kind = R.choice(["pads", "same", "shape", "valid"])
    if kind == "pads":
        attributes["pads"] = [R.randint(0, min(2, r)) for _ in range(2) for r in reach]
        attributes["output_padding"] = [R.randint(0, s - 1) for s in stride]
    elif kind == "same" and all(r + 1 >= s for r, s in zip(reach, stride)):
        attributes["auto_pad"] = R.choice(["SAME_UPPER", "SAME_LOWER"])
    elif kind == "shape":
        full = [(x - 1) * s + r + 1 for x, s, r in zip(size, stride, reach)]
        attributes["output_shape"] = [max(1, f - R.randint(0, 1)) for f in full]
    inputs = [data(R.choice([1, 2]), channels, *size), data(channels, filters, *kernel)]
    return attributes, inputs + [maybe(0.5, lambda: data(g * filters))], 1


def pool(op, opset):
    n = R.choice([1, 2, 3])
    size, kernel = [R.randint(3, 7) for _ in range(n)], [R.randint(1, 3) for _ in range(n)]
    attributes = {"kernel_shape": kernel, "strides": [R.choice([1, 2, 3]) for _ in range(n)]}
    if R.random() < 0.5:
        attributes["pads"] = [R.randint(0, k - 1) for _ in range(2) for k in kernel]
    elif R.random() < 0.5:
        attributes["auto_pad"] = R.choice(["SAME_UPPER", "SAME_LOWER"])
    if "auto_pad" not in attributes and (op == "MaxPool" or opset >= 19):
        attributes["dilations"] = [R.choice([1, 2]) if s >= 2 * k - 1 else 1 for s, k in zip(size, kernel)]
    if op != "LpPool" or opset >= 18:
        attributes["ceil_mode"] = R.choice([0, 1])
    if op == "LpPool":
        attributes["p"] = R.choice([1, 2, 3])
    if op == "AveragePool":
        attributes["count_include_pad"] = R.choice([0, 1])
    if op == "MaxPool":
        attributes["storage_order"] = R.choice([0, 1])
    return attributes, [data(R.choice([1, 2]), R.choice([1, 3]), *size)], 2 if op == "MaxPool" else 1


def normalization(op):
    dims = [R.choice([2, 3]), 6] + [R.randint(2, 4) for _ in range(R.randint(1, 2))]
    x = data(*dims, lo=-3, hi=5)
    if op == "LayerNormalization":
        axis = R.randint(-len(dims), len(dims) - 1)
        own = dims[axis % len(dims) :]
        return {"axis": axis, "epsilon": 1e-3}, [x, data(*own), maybe(0.5, lambda: data(*own))], 3
    attributes = {"epsilon": 1e-3}
    if op == "GroupNormalization":
        attributes["num_groups"] = R.choice([1, 2, 3])
    return attributes, [x, data(6), data(6)], 1


def resize(opset):
    mode = R.choice(["nearest", "linear", "cubic"])
    kinds = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"]
    kind = R.choice(kinds + (["half_pixel_symmetric"] if opset >= 19 else []))
    attributes = {"mode": mode, "coordinate_transformation_mode": kind}
    if mode == "nearest":
        rounding = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
        attributes["nearest_mode"] = R.choice(rounding)
    if mode == "cubic":
        attributes |= {"cubic_coeff_a": R.choice([-0.5, -0.75]), "exclude_outside": R.choice([0, 1])}
    size = [R.randint(2, 6) for _ in range(2)]
    out = [R.choice([n for n in range(1, 10) if n != s]) for s in size]
    if opset >= 18 and mode != "nearest" and kind != "tf_crop_and_resize":
        attributes["antialias"] = R.choice([0, 1])
    roi = scales = sizes = None
    ones = [] if opset >= 18 and R.random() < 0.5 else [1, 1]
    if not ones:
        attributes["axes"] = [2, 3]
    if R.random() < 0.5:
        sizes = np.array(ones + out, np.int64)
        sizes[: len(ones)] = [1, 2][: len(ones)]
    else:
        # Scales that give whole elements: elsewhere ONNX and ONNX Runtime differ on what the length is.
        factors = [R.choice([2.0, 3.0, 0.5] if s % 2 == 0 else [2.0, 3.0]) for s in size]
        scales = np.array([1.0 for _ in ones] + factors, np.float32)
    if kind == "tf_crop_and_resize":
        begin, end = [R.choice([0.0, 0.25, -0.5]) for _ in size], [R.choice([1.0, 0.75, 1.5]) for _ in size]
        roi = np.array([0.0 for _ in ones] + begin + [1.0 for _ in ones] + end, np.float32)
        attributes["extrapolation_value"] = 10.0
    return attributes, [data(1, 2, *size), roi, scales, sizes], 1


def einsum():
    sizes = {c: R.choice([1, 2, 3, 4]) for c in "abcde"}
    dtype, wide = R.choice([np.float32, np.float32, np.float64, np.int32]), R.random() < 0.3
    middle, terms, inputs = [R.choice([1, 2, 3]) for _ in range(2)], [], []
    for _ in range(R.choice([1, 2, 2, 3])):
        letters = [R.choice("abcde") for _ in range(R.randint(1, 3))]
        if R.random() < 0.7:
            letters = list(dict.fromkeys(letters))
        at = R.randint(0, len(letters))
        own = [R.choice([m, 1]) for m in middle] if wide else []
        terms.append("".join(letters[:at]) + ("..." if wide else "") + "".join(letters[at:]))
        dims = [sizes[c] for c in letters[:at]] + own + [sizes[c] for c in letters[at:]]
        inputs.append(data(*dims, lo=-4, hi=4).astype(dtype))
    equation = ",".join(terms)
    if R.random() < 0.6:
        letters = sorted(set("".join(terms)) - {"."})
        R.shuffle(letters)
        equation += "->" + ("..." if wide else "") + "".join(letters[: R.randint(0, 3)])
    return {"equation": equation}, inputs, 1


def suppression():
    n = R.choice([1, 8, 20])
    center = R.choice([0, 1])
    boxes = np.concatenate([data(2, n, 2, lo=0, hi=10), data(2, n, 2, lo=1 if center else 0, hi=8)], 2)
    scores = np.round(data(2, 2, n, lo=0, hi=1), R.choice([1, 3]))
    limit, iou, least = np.array([R.choice([1, 3, 50])]), R.choice([0.1, 0.5]), R.choice([0.0, 0.3])
    inputs = [boxes, scores, limit, np.array(iou, np.float32), maybe(0.6, lambda: np.array([least], np.float32))]
    return {"center_point_box": center}, inputs, 1


def numbers(*dims):
    """Of one of several types; many are equal."""
    return np.round(data(*dims, lo=-9, hi=9), R.choice([0, 0, 1])).astype(R.choice([np.float32, np.float64, np.int32, np.int64]))


def top_k():
    dims = [R.randint(1, 5) for _ in range(R.randint(1, 3))]
    axis = R.randint(-len(dims), len(dims) - 1)
    k = np.array([R.randint(1, dims[axis])], np.int64)
    return {"axis": axis, "largest": R.choice([0, 1])}, [numbers(*dims), k], 2


def scatter(op, opset):
    dims = [R.randint(1, 4) for _ in range(R.randint(1, 3))]
    # Without a reduction the result of updates of the same element is not defined.
    reductions = {13: ["none"], 16: ["none", "add", "mul"], 18: ["add", "mul", "max", "min"]}
    reduction = R.choice(reductions[opset])
    attributes = {} if reduction == "none" else {"reduction": reduction}
    x = numbers(*dims)
    if op == "ScatterElements":
        axis = R.randrange(len(dims))
        attributes["axis"] = axis - R.choice([0, len(dims)])
        own = [R.randint(1, d) for d in dims]
        own[axis] = R.randint(1, 2 * dims[axis] if reduction != "none" else dims[axis])
        lines = np.moveaxis(np.zeros(own, np.int64), axis, -1)
        for at in np.ndindex(*lines.shape[:-1]):
            n = lines.shape[-1]
            picked = R.sample(range(dims[axis]), n) if reduction == "none" else [R.randrange(dims[axis]) for _ in range(n)]
            lines[at] = [i - R.choice([0, 0, dims[axis]]) for i in picked]
        indices = np.moveaxis(lines, -1, axis).copy()
        updates = indices.shape
    else:
        depth = R.randint(1, len(dims))
        places = list(np.ndindex(*dims[:depth]))
        n = R.randint(1, len(places))
        picked = R.sample(places, n) if reduction == "none" else [R.choice(places) for _ in range(2 * n)]
        signed = [[i - R.choice([0, 0, d]) for i, d in zip(place, dims)] for place in picked]
        indices = np.array(signed, np.int64).reshape(len(picked), depth)
        updates = [len(picked)] + dims[depth:]
    return attributes, [x, indices, np.round(data(*updates, lo=-4, hi=4), 1).astype(x.dtype)], 1


def case(op, opset):
    if op in ("LSTM", "GRU", "RNN"):
        return recurrent(op, *{"LSTM": (4, 3), "GRU": (3, 2), "RNN": (1, 1)}[op])
    if op in ("MaxPool", "AveragePool", "LpPool"):
        return pool(op, opset)
    if op.endswith("Normalization"):
        return normalization(op)
    return {
        "ConvTranspose": conv_transpose,
        "Resize": lambda: resize(opset),
        "Einsum": einsum,
        "NonMaxSuppression": suppression,
        "TopK": top_k,
        "ScatterElements": lambda: scatter(op, opset),
        "ScatterND": lambda: scatter(op, opset),
    }[op]()


COUNTS = {
    "LSTM": (40, [13, 14, 21]),
    "GRU": (30, [13, 14, 21]),
    "RNN": (15, [13, 14, 21]),
    "ConvTranspose": (40, [13, 21]),
    "MaxPool": (15, [13, 21]),
    "AveragePool": (20, [13, 19, 21]),
    "LpPool": (20, [13, 18, 21]),
    "LayerNormalization": (12, [17, 21]),
    "InstanceNormalization": (6, [13, 21]),
    "GroupNormalization": (10, [21]),
    "Resize": (80, [13, 18, 19, 21]),
    "Einsum": (60, [13, 21]),
    "NonMaxSuppression": (20, [13, 21]),
    "TopK": (30, [13]),
    "ScatterElements": (40, [13, 16, 18]),
    "ScatterND": (40, [13, 16, 18]),
}
# Types of outputs that are not those of the first input.
TYPES = {
    ("MaxPool", 1): TensorProto.INT64,
    ("NonMaxSuppression", 0): TensorProto.INT64,
    ("TopK", 1): TensorProto.INT64,
}


def build(op, opset):
    """The bytes of a model, its inputs and outputs; None where ONNX Runtime refuses it."""
    attributes, arrays, count = case(op, opset)
    given = [(f"i{k}", a) for k, a in enumerate(arrays) if a is not None]
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(arrays)]
    while names[-1] == "":
        names.pop()
    outputs = [f"o{k}" for k in range(count)]
    of = helper.np_dtype_to_tensor_dtype
    # What acts as an attribute is constant.
    fixed = {"Resize": {"i1", "i2", "i3"}, "TopK": {"i1"}}.get(op, set())
    inputs = [(n, a) for n, a in given if n not in fixed]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **attributes)],
        op,
        [helper.make_tensor_value_info(n, of(a.dtype), a.shape) for n, a in inputs],
        [helper.make_tensor_value_info(o, TYPES.get((op, k), of(arrays[0].dtype)), None) for k, o in enumerate(outputs)],
        [numpy_helper.from_array(a, n) for n, a in given if n in fixed],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 10
    ).SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        results = session.run(None, dict(inputs))
    except Exception:  # The class of the errors is not exported.
        return None
    return model, [a for _, a in inputs], results


def main(target):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        def add(name, content):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)

        total = 0
        for op, (count, opsets) in COUNTS.items():
            done = 0
            while done < count:
                built = build(op, R.choice(opsets))
                if built is None:
                    continue
                name = f"{op}_{done:03}"
                model, inputs, outputs = built
                add(f"{name}/model.onnx", model)
                for kind, arrays in [("input", inputs), ("output", outputs)]:
                    for i, array in enumerate(arrays):
                        add(f"{name}/{kind}_{i}.pb", numpy_helper.from_array(array).SerializeToString())
                done += 1
            total += done
    print(f"ONNX Runtime {ort.__version__}: {total} cases")


if __name__ == "__main__":
    main(sys.argv[1])
