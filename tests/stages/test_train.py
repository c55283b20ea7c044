import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from safetensors.torch import load_file

from poolbench import config, data, models, pooling, runs
from poolbench.stages import SERVER, train
from poolbench.stages.evaluate import cost_run, evaluate_run
from poolbench.training import Diverged, Task

SMALL = [
    "data=shapes", "data.train=400", "data.test=120", "data.size=16", "data.validation=0.1", "model.widths=[4,8]",
    "budget=smoke", "budget.images=256", "trainer=cpu", "trainer.precision=32-true", "logger=csv",
]  # fmt: skip
EVALUATION = {
    "shift": {"protocols": ["circular", "aps_crop"], "range": 1, "images": 50, "periodic": False},
    "swaps": ["average", "max"],
    "layers": 20,
    "maps": 40,
    "robustness": 30,
    "train": 200,
    "sizes": {"images": 40, "factors": [1, 1.5]},
    "passes": {"images": 40, "count": 3},
}


def command(*overrides, runs_folder="runs"):
    return [
        sys.executable, "-m", "poolbench.stages.train", "-m", f"hydra.sweep.dir={runs_folder}", *SMALL, *overrides,
    ]  # fmt: skip


@pytest.fixture
def trained(workplace, monkeypatch):
    """Trains here, in this process, and gives the run."""

    def go(*overrides, folder="runs/c/seed-0"):
        settings = config.check(config.compose([*SMALL, "cell=c", *overrides]))
        store = data.prepare(settings["data"])
        monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": {"overrides": {"task": []}}}))
        train.fit(settings, store, Path(folder), train.fingerprint(settings, store))
        return runs.Run(Path(folder))

    return go


def weights(run):
    return load_file(run.folder / "model.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_folder_is_whole_and_explains_itself(trained):
    run = trained("pool=max")
    assert sorted(file.name for file in run.folder.iterdir()) == sorted(runs.FILES)
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.history[-1]["validation_top1"] == pytest.approx(run.metrics["validation"]["top1"])
    assert run.metrics["validation"].keys() >= {"top1", "top5", "macro_f1", "ece", "loss"}
    assert run.environment["data"]["checksum"] == data.prepare(run.config["data"]).checksum
    options = pooling.spec("max").options
    assert run.config["pool"] == {"name": "max", **{name: option.default for name, option in options.items()}}


def test_it_learns(trained):
    history = trained("budget.epochs=6", "budget.batch_size=32").history
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    assert history[-1]["validation_top1"] > 2 / 6


@pytest.mark.parametrize(("optimizer", "same", "high"), [("sgd", "5e-4", "5"), ("adamw", "0.05", "500")])
def test_the_head_decays_by_a_weight_decay_of_its_own(trained, optimizer, same, high):
    def decayed(folder, *head):
        return trained(f"optimizer={optimizer}", *head, folder=folder)

    plain = decayed("a")
    assert equal(weights(plain), weights(decayed("b", f"optimizer.head_weight_decay={same}")))
    strong = weights(decayed("c", f"optimizer.head_weight_decay={high}"))
    assert strong["network.classifier.weight"].norm() < 0.5 * weights(plain)["network.classifier.weight"].norm()
    body = "network.stage1.0.weight"
    assert strong[body].norm() > 0.8 * weights(plain)[body].norm()


@pytest.mark.parametrize("pool", ["max", "stochastic"])
def test_a_seed_repeats_a_run(trained, pool):
    first, again = trained(f"pool={pool}", folder="a"), trained(f"pool={pool}", folder="b")
    assert equal(weights(first), weights(again))
    assert not equal(weights(first), weights(trained(f"pool={pool}", "seed=1", folder="d")))


@pytest.mark.parametrize("options", [["pool=max"], ["pool=stochastic"], ["pool=lp_learned", "data.augment_shift=2"]])
def test_an_interrupted_run_ends_with_the_same_weights(trained, monkeypatch, options):
    """Stopped after its second epoch of three, and started again."""
    whole = trained(*options, "budget.epochs=3", folder="whole")
    step = Task.training_step
    steps = 0

    def stopping(self, batch, index):
        nonlocal steps
        steps += 1
        if self.current_epoch == 2 and index == 1:
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(Task, "training_step", stopping)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(*options, "budget.epochs=3", folder="stopped")
    assert not Path("stopped").exists()
    monkeypatch.setattr(Task, "training_step", step)
    before = steps
    resumed = trained(*options, "budget.epochs=3", folder="stopped")
    assert before == 2 * 4 + 2
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    assert equal(weights(whole), weights(resumed))
    assert [row["train_loss"] for row in whole.history] == [row["train_loss"] for row in resumed.history]
    assert resumed.learned == whole.learned


def test_what_another_run_left_is_not_gone_on_from(trained):
    aside = runs.begin(Path("runs/c/seed-0"), {}, "another fingerprint")
    (aside / "last.ckpt").write_text("not a checkpoint")
    assert trained().history


def test_evaluation_in_another_process_agrees_with_the_last_validation(trained):
    run = trained()
    code = (
        "import sys, torch; from pathlib import Path; from poolbench import data, runs;"
        "from poolbench.evaluation import classification; from poolbench.training import Data;"
        "run = runs.Run(Path(sys.argv[1])); store = data.prepare(run.config['data']);"
        "held = Data(store, None, 1, run.config['data']['validation'], 0).splits['validation'];"
        "torch.set_num_threads(1);"
        "print(classification(run.model(store)(held.images).detach(), held.labels)['top1'])"
    )
    answer = subprocess.run([sys.executable, "-c", code, run.folder], capture_output=True, text=True, check=True)
    assert float(answer.stdout) == pytest.approx(run.metrics["validation"]["top1"], abs=1e-7)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(trained, monkeypatch):
    step = Task.training_step

    def diverging(self, batch, index):
        loss = step(self, batch, index)
        if self.current_epoch == 1 and index == 2:
            self.losses[-1] = loss.detach() * float("nan")
        return loss

    monkeypatch.setattr(Task, "training_step", diverging)
    with pytest.raises(
        Diverged, match=r"the loss is nan at step 7 \(epoch 2\), learning rate 0\.0.*lower optimizer.lr"
    ):
        trained()
    left = Path("runs/c/seed-0.partial")
    checkpoint = torch.load(left / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "is no finished run, it lacks model.safetensors"),
        (
            lambda folder: (folder / "environment.json").write_text('{"schema": 0}'),
            "has schema 0, this version reads 1",
        ),
    ],
)
def test_a_spoilt_run_folder_is_named(trained, spoil, message):
    run = trained()
    spoil(run.folder)
    with pytest.raises(ValueError, match=message):
        runs.Run(run.folder)


def test_a_run_on_other_pictures_is_refused(trained):
    run = trained()
    data.prepare(run.config["data"] | {"seed": 1}, force=True)
    with pytest.raises(ValueError, match="was trained on other pictures"):
        run.model(data.load(Path("data/prepared/shapes")))


def test_more_pictures_than_there_are(trained):
    with pytest.raises(ValueError, match=r"budget.images is 500, but shapes has 360 pictures"):
        trained("budget.images=500")


@pytest.mark.slow
def test_a_killed_sweep_started_again_ends_with_the_same_weights(workplace, served):
    options = ["seed=0,1", "cell=c", "budget.epochs=4"]
    subprocess.run(command(*options, runs_folder="whole"), check=True, capture_output=True)
    alone = {name: value for name, value in os.environ.items() if name != SERVER}
    with subprocess.Popen(command(*options), stdout=subprocess.PIPE, text=True, env=alone) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "seed 1  epoch 2" in line:
                process.kill()
    assert not Path("runs/c/seed-1/model.safetensors").exists()
    again = subprocess.run(command(*options), check=True, capture_output=True, text=True).stdout
    assert "seed-0: finished already, kept" in again
    assert "seed 1  epoch 1" not in again
    for seed in (0, 1):
        whole, resumed = (runs.Run(Path(folder, "c", f"seed-{seed}")) for folder in ("whole", "runs"))
        assert equal(weights(whole), weights(resumed))


@pytest.mark.slow
def test_two_processes_share_a_run(workplace):
    options = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "cell=c"]
    single = [sys.executable, "-m", "poolbench.stages.train", *SMALL, *options, "hydra.run.dir=runs/c/seed-0"]
    answer = subprocess.run(single, check=True, capture_output=True, text=True)
    assert answer.stdout.count("epoch 1/2") == 1
    run = runs.Run(Path("runs/c/seed-0"))
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.config["trainer"]["devices"] == 2


def test_every_figure_of_an_evaluation_comes_from_the_folder_and_the_data(trained):
    run = trained()
    figures = evaluate_run(run, EVALUATION)
    moved = Path("elsewhere")
    shutil.copytree(run.folder, moved)
    shutil.rmtree(run.folder)
    again = evaluate_run(runs.Run(moved), EVALUATION)
    for part in figures.keys() - {"cost", "duration"}:
        assert figures[part] == again[part], part
    assert figures["test"]["images"] == 120
    assert figures["shifts"].keys() == {"aps_crop"}
    assert figures["swaps"].keys() == {"average", "max"}
    assert figures["layers"].keys() == {"stage1", "pool1", "stage2", "pool2", "head", "classifier"}
    assert len(figures["robustness"]["accuracy"]["jpeg"]) == 5
    assert figures["train"]["images"] == 200
    assert figures["train"]["gap"] == figures["train"]["top1"] - figures["test"]["top1"]
    assert [(each["height"], each["refused"]) for each in figures["sizes"]["accuracy"]] == [(16, None), (24, None)]
    assert figures["passes"] is None
    assert [each["label"] for each in figures["activations"]] == data.prepare(run.config["data"]).test.labels[
        :4
    ].tolist()
    for flip in figures["shift"]["flips"]:
        assert figures["pictures"][flip["image"]].startswith("data:image/png;base64,")


def test_the_pictures_of_the_gap_are_those_that_the_run_trained_on(trained):
    """A run of many epochs on few pictures knows them by heart; others of the store it does not."""
    run = trained("head=flatten", "budget.images=16", "budget.batch_size=8", "budget.epochs=20", "optimizer.lr=0.05")
    figures = evaluate_run(run, EVALUATION | {"train": 1000})
    assert figures["train"]["images"] == 16
    assert figures["train"]["top1"] > 0.9
    assert figures["train"]["gap"] > 0.2


def test_an_operator_that_draws_is_averaged_over_passes(trained):
    found = evaluate_run(trained("pool=stochastic", "head=flatten"), EVALUATION)
    assert len(found["passes"]["accuracy"]) == 3
    assert found["passes"]["images"] == 40
    assert found["sizes"]["accuracy"][1]["refused"]


def test_what_operators_learn_is_recorded_by_letter_slot_and_epoch(trained):
    run = trained("pool=lp_learned", "pool.per_channel=true", "head=gem")
    assert (run.folder / runs.LEARNED).is_file()
    assert {(row["slot"], row["letter"]) for row in run.learned} == {("pool1", "p"), ("pool2", "p"), ("head", "p")}
    assert [row["epoch"] for row in run.learned if row["slot"] == "head"] == [0, 1, 2]
    start, *_, last = [row for row in run.learned if row["slot"] == "pool1"]
    assert start["mean"] == pytest.approx(2.0)
    values = 1 + torch.nn.functional.softplus(weights(run)["network.pool1.operator.rho"])
    assert (last["low"], last["high"]) == pytest.approx((values.min().item(), values.max().item()))
    assert last["low"] < last["mean"] < last["high"]
    assert evaluate_run(run, EVALUATION)["learned"] == run.learned


def test_shift_augmentation_makes_another_run_and_no_other_store(trained):
    plain, moved = trained(folder="a"), trained("data.augment_shift=2", folder="b")
    assert not equal(weights(plain), weights(moved))
    assert plain.environment["data"] == moved.environment["data"]


def test_swapping_changes_the_operator_and_no_weight(trained):
    run = trained()
    store = data.prepare(run.config["data"])
    model = run.swapped(store, "average")
    assert equal(model.state_dict(), run.model(store).state_dict())
    pools = [slot.layer for slot in models.slots(model, store.test.images[:1]) if slot.takes == "local"]
    assert [type(pool.operator) for pool in pools if isinstance(pool, models.Placed)] == 2 * [pooling.fixed.Average]
    assert not model.training


@pytest.mark.parametrize(
    ("pool", "message"),
    [("strided", "swaps: strided has weights of its own"), ("gap", "swaps: .*gap.* global")],
)
def test_a_swap_that_does_not_fit_is_named(trained, pool, message):
    run = trained()
    with pytest.raises(ValueError, match=message):
        run.swapped(data.prepare(run.config["data"]), pool)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_trains_and_evaluates(trained):
    run = trained("trainer.accelerator=gpu", "pool=max_blur")
    assert run.environment["device"] == "cuda"
    assert evaluate_run(run, EVALUATION)["test"]["top1"] == pytest.approx(run.metrics["validation"]["top1"], abs=0.2)
    assert cost_run(run)["step"] > 0


def test_shapes_are_enough_for_a_run_as_it_is_by_default():
    settings = config.check(config.compose(["data=shapes", "cell=c"]))
    assert settings["data"]["train"] * (1 - settings["data"]["validation"]) >= settings["budget"]["images"]


def test_a_detector_trains_and_is_evaluated_from_its_folder(workplace, served):
    scenes = ["data=scenes", "data.of=shapes", "data.train=24", "data.test=8", "data.smallest=40", "data.largest=56"]
    network = ["task=detection", "model=fast_rcnn_mini", "model.widths=[4,8]", "model.hidden=16"]
    region = ["region=roi_align", "region.output_size=3", "region.sampling_ratio=1"]
    budget = ["budget=smoke", "budget.images=16", "budget.batch_size=8", "trainer=cpu", "logger=csv"]
    options = [*scenes, *network, *region, *budget, "cell=c", "hydra.run.dir=runs/c/seed-0"]
    answer = subprocess.run(
        [sys.executable, "-m", "poolbench.stages.train", *options], check=True, capture_output=True, text=True
    )
    assert "validation top1" in answer.stdout
    run = runs.Run(Path("runs/c/seed-0"))
    assert run.metrics.keys() == {"validation"}
    assert run.config["region"] == {"name": "roi_align", "output_size": 3, "sampling_ratio": 1, "aligned": True}
    figures = evaluate_run(run, EVALUATION)
    again = evaluate_run(run, EVALUATION)
    for part in figures.keys() - {"duration"}:
        assert figures[part] == again[part], part
    assert figures["task"] == "detection"
    assert figures["labels"]["region"] == "roi_align"
    assert 0 <= figures["test"]["map"] <= figures["test"]["map50"] <= 1
    assert [each["shift"] for each in figures["displaced"]] == [step / 2 for step in range(9)]
    assert len(figures["pictures"]) == 6
    cost = cost_run(run)
    assert cost["multiply_adds"] > 0
    assert cost["step"] > 0
