"""What a file in any of the plugin folders must be."""

import re
from pathlib import Path

import pytest
import yaml

from jfl import config, plugins
from tests.conformance import tested

MODULES = tested.modules()


@pytest.fixture(params=MODULES)
def named(request):
    section, name = request.param.split("/")
    return name, MODULES[request.param], plugins.key(section)


def test_it_says_what_it_is_and_bears_the_name_of_its_file(named):
    name, module, key = named
    assert plugins.summary(module).endswith(".")
    assert 10 < len(plugins.summary(module)) <= 100
    path = Path(module.__file__)
    own_room = path.stem == "job"  # lm.base is in lm/base
    assert name.rpartition(".")[2] == (path.parent.name if own_room else path.stem)
    assert module.Config.model_fields[key].default == name


def test_its_settings_are_described_and_survive_yaml(named):
    _, module, own = named
    fields = module.Config.model_fields
    assert all(field.description for key, field in fields.items() if key != own)
    if not any(field.is_required() for field in fields.values()):
        written = config.dump(module.Config())
        assert config.check(module.Config, yaml.safe_load(written)) == module.Config()


@pytest.mark.parametrize("section", ["algorithm", "heads", "language", "model"])
def test_methods_name_their_source(section):
    for name in tested.names(section):
        text = plugins.load(section, name).__doc__ or ""
        assert re.search(r"^Source: ", text, re.MULTILINE), name


def test_algorithms_leave_the_mapping_to_the_plan():
    for name in tested.names("algorithm"):
        source = Path(plugins.load("algorithm", name).__file__).read_text()
        calls = re.findall(r"jax\.(?:vmap|pmap|shard_map|lax\.scan)\b.*", source)
        assert not calls, f"{name}: {calls}; use client.each"
