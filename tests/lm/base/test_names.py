"""Names of other programs, and config files in Python that are read and never run."""

import pytest

from jfl.errors import UsageError
from jfl.lm.base import names
from jfl.lm.base.config import assemble
from jfl.runs import settings

BLOCK = '''
"""Two cards of 26 GB."""
run = "stable_26gb"
depth = 16
device_batch_size = 8  # rows
total_batch_size = 262144
max_seq_len = 2048
eval_every = 100
sample_every: int = 100
use_dummy_wandb = True
grad_clip = 1.0
embedding_lr = 0.2
unembedding_lr = 0.004
matrix_lr = 0.02
weight_decay = 0.0
num_iterations = -1
'''


def test_a_python_config_is_read_and_words_go_over_it(tmp_path):
    path = tmp_path / "stable_26gb.py"
    path.write_text(BLOCK)
    words = [str(path), "--depth", "8", "eval_every=50", "--data_dir=texts", "seed=3"]
    found, changes, notes = names.translated([*words, "--num_iterations=-1"])
    assert found == []
    config = assemble({}, settings.changes(changes))
    assert (config.name, config.depth, config.context, config.seed) == ("stable_26gb", 8, 2048, 3)
    train, optimizer = config.train, config.optimizer
    assert (train.device_batch_size, train.total_batch_size) == (8, 262144)
    assert (config.evaluate.every, config.sample.every, config.data.dir) == (50, 100, "texts")
    rates = optimizer.embedding_lr, optimizer.unembedding_lr, optimizer.matrix_lr
    assert (*rates, optimizer.weight_decay, optimizer.grad_clip) == (0.2, 0.004, 0.02, 0.0, 1.0)
    assert [note.split(":")[0] for note in notes] == ["use_dummy_wandb"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import os", r"line 2, is no plain assignment; such files are not run"),
        ("depth = int(16)", r"line 2: depth is no plain value"),
        ("depth = other", r"line 2: depth is no plain value"),
        ("print('x')", r"line 2, is no plain assignment"),
        ("depth = width = 3", r"line 2, is no plain assignment"),
        ("depth += 3", r"line 2, is no plain assignment"),
        ("depth: int", r"line 2, is no plain assignment"),
        ("depth = [16]", r"line 2: depth must be a number or a text"),
        ("dpeth = 16", r"line 2: dpeth is not known \(did you mean depth\?\)"),
        ("depth = ", r"line 2, is no Python of plain assignments"),
        ("x = " + "(" * 5000 + ")" * 5000, r"is no Python of plain assignments"),
        ("x = " + "-" * 50_000 + "1", r"is no "),
        ("x = '\ud800'", r"is no Python of plain assignments"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_plain_assignment_is_refused_with_its_line(tmp_path, line, said):
    path = tmp_path / "config.py"
    path.write_bytes(f"# a config\n{line}\n".encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=said) as caught:
        names.translated([str(path)])
    assert "\n" not in str(caught.value)


def test_files_that_are_none_and_options_without_a_value(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        names.translated([str(tmp_path / "absent.py")])
    (tmp_path / "large.py").write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="so it is no config"):
        names.translated([str(tmp_path / "large.py")])
    with pytest.raises(UsageError, match=r"^--depth must have a value, as in --depth=1$"):
        names.translated(["--depth"])


def test_configs_of_the_folder_lm_need_no_folder():
    assert names.packaged("d12") == "lm/d12"
    assert names.packaged("tiny_fomo") == "tiny_fomo"
