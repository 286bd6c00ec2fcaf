#!/usr/bin/env python3
"""Makes the archives of node test cases from those of the `onnx` package.

`onnx_node_cases.zip`: the cases that the package carries as files (up to 1.16.2). `onnx_newer_cases.zip`: cases of a
newer package, which generates them, that the first archive does not know. Run:

    python -m venv old && old/bin/pip install onnx==1.16.2
    old/bin/python make_node_cases.py onnx_node_cases.zip
    python -m venv new && new/bin/pip install onnx==1.23.2
    new/bin/python make_node_cases.py onnx_newer_cases.zip onnx_node_cases.zip

In an archive: `<case>/model.onnx`, `<case>/input_<i>.pb`, `<case>/output_<i>.pb` (TensorProto messages, one a graph
input or output, in order), `same.txt`: a line `<file> <other file>` for every file that is left out because another
one has the same bytes, `operators.txt`: a line `<case>: <operators of the model>` for every case, and `skipped.txt`: a
line `<case>: <reason>` for every case that has one of our operators in it and was left out. The second archive has
`known.txt` too: a line `<operator> <first operator set>` for every operator of ONNX's own domain that is not
deprecated. The same packages give the same archives.
"""

import pathlib
import re
import sys
import zipfile

import onnx
from onnx import TensorProto

# One a line, in order: those that the import knows.
OPERATORS = set(
    """
    Abs
    Acos
    Acosh
    Add
    And
    ArgMax
    ArgMin
    Asin
    Asinh
    Atan
    Atanh
    AveragePool
    BatchNormalization
    BitShift
    BitwiseAnd
    BitwiseNot
    BitwiseOr
    BitwiseXor
    Cast
    CastLike
    Ceil
    Celu
    Clip
    Concat
    Constant
    ConstantOfShape
    Conv
    ConvInteger
    ConvTranspose
    Cos
    Cosh
    CumSum
    DepthToSpace
    DequantizeLinear
    Div
    Dropout
    DynamicQuantizeLinear
    Einsum
    Elu
    Equal
    Erf
    Exp
    Expand
    EyeLike
    Flatten
    Floor
    GRU
    Gather
    GatherElements
    GatherND
    Gelu
    Gemm
    GlobalAveragePool
    GlobalLpPool
    GlobalMaxPool
    Greater
    GreaterOrEqual
    GroupNormalization
    HardSigmoid
    HardSwish
    Hardmax
    Identity
    InstanceNormalization
    IsInf
    IsNaN
    LRN
    LSTM
    LayerNormalization
    LeakyRelu
    Less
    LessOrEqual
    Log
    LogSoftmax
    LpPool
    MatMul
    MatMulInteger
    Max
    MaxPool
    Mean
    MeanVarianceNormalization
    Min
    Mish
    Mod
    Mul
    Neg
    NonMaxSuppression
    NonZero
    Not
    OneHot
    Or
    PRelu
    Pad
    Pow
    QLinearConv
    QLinearMatMul
    QuantizeLinear
    RMSNormalization
    RNN
    Range
    Reciprocal
    ReduceL1
    ReduceL2
    ReduceLogSum
    ReduceLogSumExp
    ReduceMax
    ReduceMean
    ReduceMin
    ReduceProd
    ReduceSum
    ReduceSumSquare
    Relu
    Reshape
    Resize
    Round
    ScatterElements
    ScatterND
    Selu
    Shape
    Sigmoid
    Sign
    Sin
    Sinh
    Size
    Slice
    Softmax
    Softplus
    Softsign
    SpaceToDepth
    Split
    Sqrt
    Squeeze
    Sub
    Sum
    Swish
    Tan
    Tanh
    ThresholdedRelu
    Tile
    TopK
    Transpose
    Trilu
    Unsqueeze
    Where
    Xor
    """.split()
)
MIN_OPSET, MAX_OPSET = 7, 25
TOO_NEW_TYPES = ["float4e2m1", "float8e8m0", "int2", "uint2", "bfloat16"]
NO_TYPES = {TensorProto.STRING: "strings", TensorProto.COMPLEX64: "complex numbers", TensorProto.COMPLEX128: "complex numbers"}
for unread in ("FLOAT4E2M1", "FLOAT8E8M0"):
    if unread in TensorProto.DataType.keys():
        NO_TYPES[TensorProto.DataType.Value(unread)] = unread.lower()


def nodes_of(graph):
    """All nodes, those of sub-graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes_of(inner)


def mentioned(model):
    return {node.op_type for node in nodes_of(model.graph)}


def reason_to_skip(model, inputs):
    """Why a case is left out, or None."""
    others = sorted(mentioned(model) - OPERATORS)
    if others:
        return "operators " + " ".join(others)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            return f"domain {node.domain}"
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "BatchNormalization" and attributes.get("training_mode"):
            return "BatchNormalization in training mode"
        if node.op_type == "Dropout" and len(node.input) == 3:
            # What turns training on is an input of these graphs, so it is not known before they run.
            on = onnx.numpy_helper.to_array(onnx.load_tensor_from_string(inputs[2])).item()
            return f"Dropout whose training_mode is not a constant (it is {str(on).lower()})"
        if node.op_type == "Cast" and attributes["to"] in NO_TYPES:
            return NO_TYPES[attributes["to"]]
        if any(name.startswith("value_string") for name in attributes):
            return "strings"
    for info in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            return kind.replace("_type", "") + " types"
        if info.type.tensor_type.elem_type in NO_TYPES:
            return NO_TYPES[info.type.tensor_type.elem_type]
    for info in model.graph.input:
        if not info.type.tensor_type.HasField("shape"):
            return "an input without a rank"
    opset = opset_of(model)
    if opset > MAX_OPSET:
        return lower(model)
    # An older case counts where its operators are still the same at the lowest operator set that is read.
    for op in sorted(mentioned(model)):
        if opset < MIN_OPSET and onnx.defs.get_schema(op, MIN_OPSET).since_version > opset:
            return f"{op} of opset {opset}"
    return None


def opset_of(model):
    return next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))


def lower(model):
    """Brings a model to the highest operator set that is read; why that is not possible, or None.

    What the operator sets up to 28 changed since 25 is more element types and attributes, which the checker sees, or
    says what was left open; the remainder of floats with the sign of the divisor is new.
    """
    opset = opset_of(model)
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
    if mentioned(model) == {"Mod"} and model.graph.input[0].type.tensor_type.elem_type in floats:
        if not any(a.name == "fmod" and a.i for a in model.graph.node[0].attribute):
            return f"opset {opset}: Mod of floats without fmod is newer than opset {MAX_OPSET}"
    for entry in model.opset_import:
        entry.version = MAX_OPSET
    model.ir_version = min(model.ir_version, 12)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return f"opset {opset}: {complaint(model, str(error))} opset {MAX_OPSET}"
    return None


def complaint(model, words):
    """What the checker does not find at the highest operator set that is read, as the beginning of a reason."""
    kinds = [TensorProto.DataType.Name(i.type.tensor_type.elem_type).lower() for i in [*model.graph.input, *model.graph.output]]
    op, kind = re.search(r"op_type: ?(\w+)", words), re.search(r"unsupported type: tensor\((\w+)\)", words)
    attribute = re.search(r"Unrecognized attribute: (\w+) for operator (\w+)", words)
    for name in TOO_NEW_TYPES:
        if name in words or name in kinds:
            return f"{name} is newer than"
    if attribute:
        return f"attribute {attribute[1]} of {attribute[2]} is newer than"
    if op and kind:
        return f"{op[1]} of {kind[1]} is newer than"
    if op and "differ in dimension" in words:
        return f"{op[1]} has another shape at"
    return "not valid at"


def numbered(folder, kind):
    """The contents of `<kind>_<i>.pb` in the order of i."""
    files = folder.glob(f"{kind}_*.pb")
    return [p.read_bytes() for p in sorted(files, key=lambda p: int(re.search(r"(\d+)\.pb$", p.name)[1]))]


def carried():
    """Name, bytes of the model, inputs and outputs of the cases that the package carries."""
    node_cases = pathlib.Path(onnx.__file__).parent / "backend/test/data/node"
    for folder in sorted(node_cases.iterdir()):
        sets = sorted(folder.glob("test_data_set_*"))
        assert len(sets) == 1, folder
        model = (folder / "model.onnx").read_bytes()
        yield folder.name, model, numbered(sets[0], "input"), numbered(sets[0], "output")


def generated(known):
    """The same of the cases that the package generates and that are not `known`."""
    import onnx.backend.test.case.node as node

    for case in sorted(node.collect_testcases(None), key=lambda c: c.name):
        if case.name in known:
            continue
        assert len(case.data_sets) == 1, case.name
        inputs, outputs = case.data_sets[0]
        write = lambda values, infos: [tensor(v, i) for v, i in zip(values, infos, strict=True)]
        model = case.model
        yield case.name, model.SerializeToString(), write(inputs, model.graph.input), write(outputs, model.graph.output)


def tensor(value, info):
    """The message of an input or output; empty where it is no tensor."""
    if isinstance(value, onnx.TensorProto):
        return value.SerializeToString()
    if not hasattr(value, "dtype") or info.type.WhichOneof("value") != "tensor_type":
        return b""
    return onnx.numpy_helper.from_array(value, info.name).SerializeToString()


def names_in(archive):
    """The cases that an archive has or has left out."""
    with zipfile.ZipFile(archive) as file:
        lines = file.read("operators.txt") + file.read("skipped.txt")
    return {line.split(":")[0] for line in lines.decode().splitlines()}


def main(target, older=None):
    cases = carried() if older is None else generated(names_in(older))
    entries, operators, skipped = [], [], []
    for name, content, inputs, outputs in cases:
        model = onnx.load_model_from_string(content)
        if not mentioned(model) & (OPERATORS - {"Constant"}) and mentioned(model) != {"Constant"}:
            continue
        before = opset_of(model)
        reason = reason_to_skip(model, inputs)
        if reason:
            skipped.append(f"{name}: {reason}\n")
            continue
        assert len(inputs) == len(model.graph.input) and len(outputs) == len(model.graph.output), name
        operators.append(f"{name}: {' '.join(sorted(mentioned(model)))}\n")
        entries.append((f"{name}/model.onnx", model.SerializeToString() if before > MAX_OPSET else content))
        for kind, tensors in [("input", inputs), ("output", outputs)]:
            entries += [(f"{name}/{kind}_{i}.pb", t) for i, t in enumerate(tensors)]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        def add(name, data):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)

        add("operators.txt", "".join(operators))
        add("skipped.txt", "".join(skipped))
        if older is not None:
            add("known.txt", known_operators())
        first, same = {}, []
        for name, data in entries:
            if data in first:
                same.append(f"{name} {first[data]}\n")
            else:
                first[data] = name
                add(name, data)
        add("same.txt", "".join(same))
    print(f"onnx {onnx.__version__}: {len(operators)} cases taken, {len(skipped)} skipped")


def known_operators():
    schemas = onnx.defs.get_all_schemas_with_history()
    newest, first, gone = {}, {}, set()
    for schema in schemas:
        if schema.domain == "":
            newest[schema.name] = max(schema.since_version, newest.get(schema.name, 0))
    for schema in schemas:
        if schema.domain == "":
            first[schema.name] = min(schema.since_version, first.get(schema.name, schema.since_version))
            if schema.deprecated and schema.since_version == newest[schema.name]:
                gone.add(schema.name)
    return "".join(f"{name} {first[name]}\n" for name in sorted(set(first) - gone))


if __name__ == "__main__":
    main(*sys.argv[1:])
