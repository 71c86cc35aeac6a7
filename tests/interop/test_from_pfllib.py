"""docs/from-pfllib.md names all that PFLlib's users may have typed, and what jfl calls it."""

import re
from pathlib import Path

import pytest

from interop import servers
from jfl import plugins

TEXT = (Path(__file__).parents[2] / "docs/from-pfllib.md").read_text()
FLAGS = """
-go --goal -dev --device -did --device_id -data --dataset -ncl --num_classes -m --model
-lbs --batch_size -lr --local_learning_rate -ld --learning_rate_decay
-ldg --learning_rate_decay_gamma -gr --global_rounds -tc --top_cnt -ls --local_epochs
-algo --algorithm -jr --join_ratio -rjr --random_join_ratio -nc --num_clients -pv --prev
-t --times -eg --eval_gap -sfn --save_folder_name -ab --auto_break -dlg --dlg_eval
-dlgg --dlg_gap -bnpc --batch_num_per_client -nnc --num_new_clients
-ften --fine_tuning_epoch_new -fd --feature_dim -vs --vocab_size -ml --max_len -fs --few_shot
-cdr --client_drop_rate -tsr --train_slow_rate -ssr --send_slow_rate -ts --time_select
-tth --time_threthold -bt --beta -lam --lamda -mu --mu -K --K -lrp --p_learning_rate -M --M
-itk --itk -alk --alphaK -sg --sigma -al --alpha -pls --plocal_epochs -tau --tau
-fte --fine_tuning_epochs -dlr --dr_learning_rate -L --L -nd --noise_dim
-glr --generator_learning_rate -hd --hidden_dim -se --server_epochs
-lf --localize_feature_extractor -slr --server_learning_rate -et --eta -s --rand_percent
-p --layer_idx -mlr --mentee_learning_rate -Ts --T_start -Te --T_end -mo --momentum
-klw --kl_weight -fsb --first_stage_bound -ca --fedcross_alpha
-cmss --collaberative_model_select_strategy
"""
NETWORKS = """
MLR CNN DNN ResNet18 ResNet10 ResNet34 AlexNet GoogleNet MobileNet LSTM BiLSTM fastText TextCNN
Transformer AmazonMLP HARCNN
"""
DATA = """
AGNews AmazonReview COVIDx Camelyon17 Cifar10 Cifar100 Country211 Digit5 DomainNet EMNIST FEMNIST
FashionMNIST Flowers102 GTSRB HAR MNIST Omniglot PAMAP2 Shakespeare SogouNews StanfordCars
TinyImagenet iWildCam kvasir
"""
CONSTANTS = """
train_ratio train_size alpha num_clients class_per_client least_samples batch_size
least_class_per_client min_require_size min_require_size_per_label img_size max_len max_tokens
max_num sample_window dir_path data_path
"""


def first_cells(heading: str) -> list[str]:
    """The first column of a section's tables."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("headings", "names"),
    [
        (["Flags of every method", "Flags of some methods"], FLAGS),
        (["Algorithms"], " ".join(servers.SERVERS)),
        (["Networks"], NETWORKS),
        (["Data sets"], DATA),
        (["Arguments of the generators"], CONSTANTS),
    ],
)
def test_all_of_pfllib_has_a_row(headings, names):
    cells = " ".join(cell for heading in headings for cell in first_cells(heading))
    assert set(names.split()) <= set(re.findall(r"`([^`]+)`", cells))


@pytest.mark.parametrize("kind", ["algorithm", "model", "partition"])
def test_all_of_jfl_is_named(kind):
    for name in plugins.names(kind):
        if (kind, name) != ("partition", "file"):
            assert re.search(rf"[`=( ]{name}[`,}}]", TEXT), name


def test_links_lead_somewhere():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).strip("# ").replace(" ", "-")
        for line in TEXT.splitlines() if line.startswith("## ")
    }  # fmt: skip
    assert set(re.findall(r"\(#([a-z-]+)\)", TEXT)) <= headings
