"""Writes training.json: losses and optimisers as PyTorch computes them (made with torch 2.5.1, CPU)."""
import json
import torch

torch.manual_seed(5)
F = torch.nn.functional


def flat(t):
    return t.detach().reshape(-1).tolist()


losses = []


def loss(name, x, target, value, **settings):
    x.grad = None
    value.backward()
    losses.append({"loss": name, "shape": list(x.shape), "x": flat(x), "target": flat(target),
                   "value": value.item(), "gradient": flat(x.grad), **settings})


for rows, classes in [(1, 2), (5, 3), (4, 10)]:
    for size in [1.0, 30.0]:
        for smoothing in [0.0, 0.1, 1.0]:
            x = (torch.randn(rows, classes) * size).requires_grad_()
            y = torch.randint(0, classes, (rows,))
            loss("cross_entropy", x, y, F.cross_entropy(x, y, label_smoothing=smoothing), smoothing=smoothing)
        for t in [1.0, 4.0]:
            x = (torch.randn(rows, classes) * size).requires_grad_()
            teacher = torch.randn(rows, classes) * size
            kl = F.kl_div(F.log_softmax(x / t, 1), F.log_softmax(teacher / t, 1), reduction="batchmean",
                          log_target=True) * t * t
            loss("distillation", x, teacher, kl, temperature=t)
        x = (torch.randn(rows, classes) * size).requires_grad_()
        y = torch.randn(rows, classes)
        loss("mse", x, y, F.mse_loss(x, y))
        y = torch.rand(rows, classes)
        loss("bce_with_logits", x, y, F.binary_cross_entropy_with_logits(x, y))
    x = torch.rand(rows, classes)
    x[0, 0], x[0, 1] = 0.0, 1.0
    x.requires_grad_()
    y = torch.rand(rows, classes).round()
    loss("bce", x, y, F.binary_cross_entropy(x, y))

optimisers = []


def run(name, make, clip=None, schedule=None, **settings):
    w = torch.randn(4).requires_grad_()
    s = torch.rand(2).requires_grad_()
    start = [flat(w), flat(s)]
    optimiser = make([{"params": [w]}, {"params": [s], "lr": 0.002}])
    scheduler = schedule(optimiser) if schedule else None
    gradients, values = [], []
    for _ in range(8):
        w.grad, s.grad = torch.randn(4), torch.randn(2) * 3
        gradients.append([flat(w.grad), flat(s.grad)])
        if clip:
            clip([w, s])
        optimiser.step()
        if scheduler:
            scheduler.step()
        values.append([flat(w), flat(s)])
    optimisers.append({"optimiser": name, "start": start, "gradients": gradients, "values": values, **settings})


O, S = torch.optim, torch.optim.lr_scheduler
for m, n, d in [(0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.01), (0.5, False, 0.1)]:
    run("sgd", lambda p: O.SGD(p, lr=0.05, momentum=m, nesterov=n, weight_decay=d),
        momentum=m, nesterov=n, weight_decay=d)
for d in [0.0, 0.05]:
    run("adam", lambda p: O.Adam(p, lr=0.05, weight_decay=d), weight_decay=d)
    run("adamw", lambda p: O.AdamW(p, lr=0.05, weight_decay=d), weight_decay=d)
run("adam", lambda p: O.Adam(p, lr=0.05), schedule=lambda o: S.StepLR(o, 3, 0.1), weight_decay=0.0, step_lr=[3, 0.1])
run("adam", lambda p: O.Adam(p, lr=0.05), schedule=lambda o: S.CosineAnnealingLR(o, 8, 0.0001), weight_decay=0.0,
    cosine=[8, 0.0001])
run("sgd", lambda p: O.SGD(p, lr=0.05), clip=lambda p: torch.nn.utils.clip_grad_norm_(p, 1.5), momentum=0.0,
    nesterov=False, weight_decay=0.0, clip_norm=1.5)
run("sgd", lambda p: O.SGD(p, lr=0.05), clip=lambda p: torch.nn.utils.clip_grad_value_(p, 0.5), momentum=0.0,
    nesterov=False, weight_decay=0.0, clip_value=0.5)

with open("training.json", "w") as out:
    json.dump({"source": f"torch {torch.__version__}", "losses": losses, "optimisers": optimisers}, out, separators=(",", ":"))
    out.write("\n")
