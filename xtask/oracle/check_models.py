"""Checks the exported files of real models against onnx.checker and ONNX Runtime. Run by `cargo xtask oracle`.

usage: check_models.py TQ MODELS_DIR WORK_DIR [CASE ...]

MODELS_DIR holds one folder a case (model.onnx, case.json, arrays), or is itself such a folder. Each model is quantized with
calibrated ranges, those with recurrent layers with ranges of every run, and written for ONNX Runtime in every form at
the lowest operator set that has words for it and at 19, 21 and 25. Fails unless, for every file,
 * onnx.checker accepts it with full checks;
 * the number of integer nodes in ONNX Runtime's optimized graph is the linter's forecast;
and, at the lowest operator set and each of ONNX Runtime's levels of optimization, with exact integers,
 * its figure (top-1, AUC, Spearman's correlation of pairs, each in points) is within 0.3 points or one sample of ours;
 * it decides as our session does on at least 99 % of the samples: the same class, the same side of one half, or, of
   embeddings, a cosine of 99 %. Where our two best scores are within one code of each other either one is the same.
Without extended optimizations ONNX Runtime computes in float between Dequantize and Quantize, and is as far from its own
integers: a figure there passes also where it is no further from ours than from that of all optimizations.
A table of it goes to WORK_DIR/models.md. TQ_ORACLE_SAMPLES limits the samples of each case.
"""

import json
import os
import sys

import numpy as np
import onnx

from check_export import flags, load, preprocess
from check_targets import LEVELS, check_file, forms, output_step, session, tq

BATCH = 32


def limited(x):
    return x[: int(os.environ.get("TQ_ORACLE_SAMPLES", "0")) or len(x)]


class Case:
    """A model and its data: `runs` are lists of inputs by name, each answered by itself."""

    def __init__(self, folder, work, program):
        self.json = json.load(open(os.path.join(folder, "case.json")))
        self.name, self.work, self.program = self.json["case"], work, program
        self.how = self.json.get("preprocess")
        self.model = os.path.join(folder, self.json["model"])
        self.file = lambda name: os.path.join(folder, name)
        self.nudge = None
        self.setup()

    def setup(self):
        """One array of samples, and a class for each."""
        x = limited(load(self.file(self.json["eval"])))
        self.labels = limited(load(self.file(self.json["labels"])))
        self.inputs = [{self.json["input"]: x}]
        self.calib = [self.file(self.json["calib"]), *flags(self.how)]
        self.words = flags(self.how)

    def quantize(self):
        out = os.path.join(self.work, self.name + ".int8.onnx")
        recurrent = any(n.op_type in ("LSTM", "GRU", "RNN") for n in onnx.load(self.model).graph.node)
        how = ["--recipe", "int8-dynamic"] if recurrent else ["--calib", *self.calib]
        tq(self.program, "quantize", self.model, "-o", out, "--json", *how)
        return out, "int8-dynamic" if recurrent else "int8"

    def ours(self, model):
        """What our session answers, a row a sample."""
        output = onnx.load(model, load_external_data=False).graph.output[0].name
        clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in output)
        rows = []
        for inputs in self.inputs:
            words = []
            for name, x in inputs.items():
                file = os.path.join(self.work, f"in_{len(words)}.npy")
                np.save(file, x)
                words.append(f"{name}={file}")
            folder = os.path.join(self.work, "ours")
            tq(self.program, "run", model, "--input", *words, "--out-dir", folder, *self.words)
            rows.append(np.load(os.path.join(folder, clean + ".npy")))
        return np.concatenate(rows)

    def theirs(self, run):
        """What ONNX Runtime answers."""
        rows = []
        for inputs in self.inputs:
            n = len(next(iter(inputs.values())))
            for i in range(0, n, BATCH):
                part = {k: x[i : i + BATCH] for k, x in inputs.items()}
                rows.append(self.answer(run, {k: preprocess(x, self.how) for k, x in part.items()}))
        return np.concatenate(rows)

    def answer(self, run, inputs):
        """Of one run. With `nudge`, a random generator, each float of the inputs is the next one up or down, or itself."""
        if self.nudge is not None:
            for name, x in inputs.items():
                if x.dtype == np.float32:
                    to = self.nudge.choice(np.array([-np.inf, np.nan, np.inf], np.float32), x.shape)
                    inputs[name] = np.where(np.isnan(to), x, np.nextafter(x, to))
        return run.run(None, inputs)[0]

    def figure(self, answers):
        answers = answers.reshape(len(answers), -1)
        return (answers.argmax(1) == self.labels).mean() * 100, 100.0 / len(self.labels)

    def equal(self, ours, theirs, step):
        ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
        top = np.sort(ours, axis=1)
        tie = (top[:, -1] - top[:, -2]) <= step * 1.001
        return ((ours.argmax(1) == theirs.argmax(1)) | tie).mean() * 100


class Classes(Case):
    def setup(self):
        super().setup()
        self.words = [*self.words, "--batch", str(BATCH)]


class Pairs(Case):
    """Embeddings of pairs of sentences, whose cosines are to be in the order of people's judgement."""

    def setup(self):
        arrays = lambda which: {"input_ids": limited(load(self.file(f"eval_ids_{which}_i64.npy"))),
                                "attention_mask": limited(load(self.file(f"eval_mask_{which}_i64.npy")))}
        self.inputs = [arrays("a"), arrays("b")]
        self.labels = limited(load(self.file("eval_gold_f32.npy")))
        self.calib = [f"input_ids={self.file('calib_ids_i64.npy')}",
                      f"attention_mask={self.file('calib_mask_i64.npy')}"]
        self.words = ["--batch", str(BATCH)]

    def theirs(self, run):
        rows = []
        for inputs in self.inputs:
            for i in range(0, len(inputs["input_ids"]), BATCH):
                rows.append(self.answer(run, {k: x[i : i + BATCH] for k, x in inputs.items()}))
        return np.concatenate(rows)

    def figure(self, answers):
        unit = answers / np.linalg.norm(answers, axis=1, keepdims=True)
        a, b = np.split(unit, 2)
        return np.corrcoef(ranks((a * b).sum(1)), ranks(self.labels))[0, 1] * 100, 0.0

    def equal(self, ours, theirs, step):
        norm = lambda v: np.linalg.norm(v, axis=1)
        return ((ours * theirs).sum(1) / (norm(ours) * norm(theirs))).mean() * 100


class Clips(Case):
    """A probability of speech for every frame of clips, each of which is a run of its own."""

    def setup(self):
        self.clips = limited(load(self.file("eval_frames_f32.npy")))
        self.labels = limited(load(self.file("eval_labels_i64.npy"))).reshape(-1)
        self.inputs = [{"input": self.clips}]
        self.words = ["--sequences", "--zeros", "h", "c"]

    def theirs(self, run):
        zero = np.zeros((1, 1, 128), np.float32)
        return np.concatenate([self.answer(run, {"input": clip, "h": zero, "c": zero}) for clip in self.clips])

    def figure(self, answers):
        answers, positive = answers.reshape(-1), self.labels == 1
        r = ranks(answers)
        n, m = positive.sum(), (~positive).sum()
        return (r[positive].sum() - n * (n - 1) / 2) / (n * m) * 100, 100.0 / len(self.labels)

    def equal(self, ours, theirs, step):
        ours, theirs = ours.reshape(-1), theirs.reshape(-1)
        return (((ours > 0.5) == (theirs > 0.5)) | (np.abs(ours - 0.5) <= step)).mean() * 100


def ranks(v):
    """Ranks from 0, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(v, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts) + (ends - 1))[inverse.reshape(-1)] / 2


def case_of(folder, work, program):
    kind = json.load(open(os.path.join(folder, "case.json"))).get("metric")
    known = {"top1": Classes, "Spearman": Pairs, "frame-level": Clips}
    found = next((cls for word, cls in known.items() if str(kind).startswith(word)), None)
    return found and found(folder, work, program)


def check(case, problems, table):
    quantized, recipe = case.quantize()
    ours = case.ours(quantized)
    mine, sample = case.figure(ours)
    step = output_step(onnx.load(quantized)) or 0.0
    counts = {}
    lowest = next(o.version for o in onnx.load(quantized).opset_import if not o.domain)
    opsets = sorted({lowest, *(o for o in (19, 21, 25) if o > lowest)})
    for form, out in forms(case.program, quantized, case.work, opsets):
        what = f"{case.name}, {form}"
        _, integer = check_file(case.program, out, case.work, problems, what)
        kind, _, opset = form.split()
        counts.setdefault(kind, set()).add(integer)
        if opset != str(lowest):
            continue
        answers = {level: case.theirs(session(out, value)) for level, value in LEVELS.items()}
        figures, least = [], 100.0
        integers, _ = case.figure(answers["all"])
        for level, theirs in answers.items():
            their, _ = case.figure(theirs)
            equal = case.equal(ours, theirs, step)
            figures.append(f"{their:.2f}")
            least = min(least, equal)
            bound = max(0.3, sample)
            if level in ("disabled", "basic"):
                bound = max(bound, abs(integers - their))
            if not (abs(mine - their) <= bound + 1e-9 and equal >= 99):
                problems.append(f"{what}, {level}: {their:.3f} against {mine:.3f}, {equal:.2f} % decided equally")
        table.append([case.name, recipe, kind, f"{mine:.2f}", *figures, f"{least:.2f} %", None])
        print(f"  {what}: ours {mine:.3f}, ONNX Runtime {', '.join(figures)}; {least:.2f} % equal", flush=True)
    for row in table:
        if row[0] == case.name:
            row[-1] = ", ".join(map(str, sorted(counts[row[2]])))
    print(f"{case.name}: integer nodes {counts}", flush=True)


def folders(models, only=()):
    found = [models] if os.path.exists(os.path.join(models, "case.json")) else [
        os.path.join(models, d) for d in sorted(os.listdir(models))]
    found = [f for f in found if os.path.exists(os.path.join(f, "case.json"))]
    return [f for f in found if not only or os.path.basename(os.path.normpath(f)) in only]


def main():
    program, models, work, *only = sys.argv[1:]
    os.makedirs(work, exist_ok=True)
    problems, table, seen = [], [], 0
    for folder in folders(models, only):
        case = case_of(folder, work, program)
        if case is None:
            print(f"{folder}: SKIPPED: a metric that this check does not have")
            continue
        seen += 1
        check(case, problems, table)
    head = ["model", "recipe", "form", "ours", "disabled", "basic", "extended", "all", "decided equally", "integer nodes"]
    with open(os.path.join(work, "models.md"), "w") as out:
        for row in [head, ["---"] * len(head), *table]:
            out.write("| " + " | ".join(map(str, row)) + " |\n")
    for problem in problems:
        print(f"  {problem}")
    if problems or not seen:
        sys.exit(f"{len(problems)} problems in {seen} models")


if __name__ == "__main__":
    main()
