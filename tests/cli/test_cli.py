"""The commands that work; those that are refused are in test_bad_input.py."""

import json
import re

import numpy as np
import pytest

import jaxml
from jaxml import data
from jaxml.cli import main
from jaxml.cli.runs import arrays_sha256
from jaxml.core import selfcheck
from jaxml.data import REGISTRY, fetching, sources
from jaxml.data.loaders import japanese_vowels
from jaxml.data.loaders.cmudict import CMUDICT
from jaxml.training import optimizers, schedules

TRAIN = [
    "train",
    "mlp",
    "--data",
    "two_spirals",
    "--hidden",
    "8",
    "--activation",
    "tanh",
    "--steps",
    "40",
]


def run(arguments, capsys):
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def test_version(capsys):
    assert run(["--version"], capsys).strip() == f"jaxml {jaxml.__version__}"


def test_list_names_everything(capsys):
    words = run(["list"], capsys).split()
    assert {*REGISTRY, *optimizers.__all__, *schedules.__all__, "mlp", "newton_mr"} <= set(words)


@pytest.mark.slow
def test_lists_fetch_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JAXML_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "fetch", None)
    run(["list"], capsys)
    lines = run(["data", "list"], capsys).splitlines()
    assert [line.split()[0] for line in lines[1:]] == data.names()
    assert "mnist classification 50,000 / 10,000 / 10,000 ≤ 20.3 MB" in [
        " ".join(line.split()) for line in lines
    ]
    out = run(["data", "info", "mnist", "xor"], capsys)
    about = data.info("mnist")
    for text in (about.licence, about.citation, about.sha256, str(about.path), *about.sources):
        assert text in out
    assert "(not there yet)" in out
    assert "none needed" in out  # the licence of xor
    assert not list(tmp_path.iterdir())


def test_fetch_says_what_came_from_where(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JAXML_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    arrays = {}
    for part, sizes in (("train", [4] * 9), ("test", [2, 3, 4, *[2] * 6])):
        y = np.repeat(np.arange(9, dtype=np.int32), sizes)
        length = rng.integers(8, 29, len(y), np.int32)
        length[:2] = 7, 29
        x = np.zeros((len(y), 29, 12), np.float32)
        arrays |= {f"x_{part}": x, f"length_{part}": length, f"y_{part}": y}
    source = sources.Source("a tape", [], lambda *_: [], lambda _: arrays, 0)
    small = data.FETCHED["japanese_vowels"]._replace(
        sha256=fetching.content_sha256(arrays), sources=[source]
    )
    monkeypatch.setitem(data.FETCHED, "japanese_vowels", small)
    monkeypatch.setattr(japanese_vowels, "JAPANESE_VOWELS", small)
    command = ["data", "fetch", "japanese_vowels", "xor"]
    lines = run(command, capsys).splitlines()
    assert lines == [
        "japanese_vowels from a tape",
        "  train 36, of 9 classes with 4 rows each; x_length 7 to 29",
        "  test 21, of 9 classes with 2 to 4 rows each; x_length 7 to 29",
        f"  {tmp_path / 'japanese_vowels.npz'}",
        "xor comes with jaxml",
        "  train 4, of 2 classes with 2 rows each",
    ]
    assert run(command, capsys).splitlines()[0] == "japanese_vowels from the cache"


@pytest.mark.parametrize("command", ["fetch", "info"])
def test_an_unknown_data_set_is_refused_before_any_work(command, capsys):
    assert main(["data", command, "xor", "mnits"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert 'Did you mean "mnist"?' in captured.err


def test_train_refuses_sequences(monkeypatch, capsys):
    words = data.Dataset({"x": np.ones((3, 2)), "y": np.ones((3, 2))}, None, None, CMUDICT.meta)
    monkeypatch.setitem(REGISTRY, "cmudict", lambda: words)
    assert main(["train", "mlp", "--data", "cmudict"]) == 2
    message = "classification or regression data, got sequence_to_sequence"
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_train_ends_with_metrics_and_sha256(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first = run([*TRAIN, "--seed", "3"], capsys).splitlines()
    assert re.fullmatch(r"test loss \d+\.\d+ accuracy \d+\.\d+", first[-2])
    assert re.fullmatch(r"sha256 [0-9a-f]{64}", first[-1])
    assert first[-5] == "runs/train-1"
    again = run([*TRAIN, "--seed", "3", "--out", "here"], capsys).splitlines()
    assert again[-1] == first[-1]
    other = run([*TRAIN, "--seed", "4"], capsys).splitlines()
    assert other[-1] != first[-1]
    assert other[-5] == "runs/train-2"
    # what is on disk is what was reported
    body = json.loads((tmp_path / "here/metrics.json").read_text())
    assert f"sha256 {body['params_sha256']}" == first[-1]
    assert body["steps"] == 40
    log = (tmp_path / "here/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 41, 2))
    assert lines[-1]["validation"] == body["metrics"]["validation"]
    assert lines[0]["train"].keys() == {"loss", "gradient_norm"}
    config = json.loads((tmp_path / "here/config.json").read_text())
    assert config["arguments"] == body["arguments"]
    assert config["data"]["name"] == "two_spirals"
    with np.load(tmp_path / "here/params.npz", allow_pickle=False) as params:
        tree = {}
        for name in params.files:
            layer, leaf = name.split("/")
            tree.setdefault(layer, {})[leaf] = params[name]
    assert arrays_sha256(tree) == body["params_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        "train linear --data linear_teacher --epochs 2 --optimizer sgd --learning-rate 0.1",
        "train deep_linear --data own.npz --steps 5 --hidden 3,2 --schedule cosine --l2 1e-3",
    ],
)
def test_train_other_data_and_models(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("own.npz", x=rng.normal(size=(40, 2, 2)), y=rng.integers(0, 3, 40))
    lines = run(arguments.split(), capsys).splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["train", "validation", "test", "sha256"]


@pytest.mark.slow
def test_landscape_of_a_small_staircase(iris, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("iris.npz", **iris)
    command = "landscape --data iris.npz --hidden 1:2 --seeds 3 --steps 300 --searches 4"
    out = run(command.split(), capsys)
    assert re.search(r"^ +1 +3 of 3 +0\.\d{4} .* 3 of 3 +(\d+) +\1 ", out, flags=re.MULTILINE)
    assert "4 searches from the training path: " in out
    body = json.loads((tmp_path / "runs/landscape-1/critical_points.json").read_text())
    assert body["arguments"]["widths"] == [1, 2]
    assert body["data"] == "iris"
    assert (tmp_path / "runs/landscape-1/report.html").is_file()


@pytest.mark.slow
def test_landscape_of_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def f(): return lambda p: (1 - p['a'] * p['b']) ** 2, {'a': np.float32(0), 'b': 0.0}\n"
    )
    out = run(["landscape", "own.py:f", "--searches", "3", "--radius", "0.1", "--out", "x"], capsys)
    assert out.startswith("not a minimum but a saddle (certified): λ_min = -2 ± ")
    assert re.search(r"degenerate, loss \S+e-\d\d", out)
    points = json.loads((tmp_path / "x/critical_points.json").read_text())["points"]
    assert points[0]["kind"] == "saddle"
    assert points[0]["counts"] == {"negative": 1, "within": 0, "positive": 1}


def test_doctor(capsys):
    out = run(["doctor"], capsys)
    assert "right softmax curvature" in out
    assert "WRONG" not in out


def test_doctor_and_analysis_refuse_a_wrong_backend(monkeypatch, capsys, tmp_path):
    wrong = selfcheck.Answer("softmax curvature", error=1.2, tolerance=1e-5)
    monkeypatch.setattr("jaxml.cli.commands.doctor.known_answers", lambda platform=None: (wrong,))
    monkeypatch.setattr(selfcheck, "known_answers", lambda platform=None: (wrong,))
    assert main(["doctor"]) == 1
    assert "WRONG softmax curvature" in capsys.readouterr().out
    assert main(["landscape", "--out", str(tmp_path / "x")]) == 2
    assert "returns wrong numbers: softmax curvature" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
