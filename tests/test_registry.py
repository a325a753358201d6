"""Registries: a package's own modules, then entry points; whatever is wrong with one plugin leaves the rest usable."""

import sys
import textwrap
from importlib import invalidate_caches, metadata

import pytest

from affstore.store.contract.errors import DuplicateNameError, PluginError, UnknownNameError
from affstore.store.contract.registry import OWN, Fault, Registry


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path with a package `ours` and a function that installs a distribution there."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "__init__.py").write_text(
        "from affstore.store.contract.registry import Registry\nTHINGS = Registry('thing', 'ours', 'ours.things', 2)\n"
    )
    (tmp_path / "ours" / "spoon.py").write_text("from ours import THINGS\nTHINGS.register('spoon', 'a spoon')\n")
    (tmp_path / "ours" / "family.py").write_text("from ours import THINGS\nTHINGS.register('fork/', 'forks')\n")

    def install(distribution, module, code, **entries):
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {module}:{thing}\n" for name, thing in entries.items())
        (info / "entry_points.txt").write_text(f"[ours.things]\n{lines}")
        invalidate_caches()

    yield install
    here = [
        name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(str(tmp_path))
    ]
    for name in here:
        del sys.modules[name]


def things() -> Registry[object]:
    from ours import THINGS

    return THINGS


def test_a_file_in_the_package_registers_itself(site):
    assert things().names() == ("fork/", "spoon")
    assert (things().get("spoon"), things().origin("spoon")) == ("a spoon", OWN)


def test_a_prefix_answers_for_every_name_that_begins_with_it(site):
    assert things().get("fork/small/3") == "forks"
    assert things().origin("fork/small/3") == OWN


def test_an_unknown_name_suggests_the_nearest(site):
    with pytest.raises(UnknownNameError, match="spoon"):
        things().get("spon")


def test_a_plugin_brings_a_thing_by_its_entry_point(site):
    site("cutlery", "knives", "class Knife:\n    contract = 2\n", knife="Knife")
    assert things().get("knife").__name__ == "Knife"
    assert things().origin("knife") == "cutlery 1.0"
    assert things().faults() == ()


def test_a_plugin_that_raises_on_import_is_named_and_the_rest_works(site):
    site("broken", "broken_things", "raise RuntimeError('no licence')\n", ladle="Ladle")
    site("cutlery", "knives", "class Knife:\n    contract = 2\n", knife="Knife")
    assert "knife" in things().names()
    assert "ladle" not in things().names()
    with pytest.raises(PluginError, match=r"'ladle' of broken 1\.0 .* RuntimeError .*no licence"):
        things().get("ladle")
    assert [fault.name for fault in things().faults()] == ["ladle"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("class Old:\n    contract = 1\n", "follows contract 1"),
        ("class Old:\n    pass\n", "does not say which contract"),
    ],
)
def test_a_plugin_for_another_contract_says_which_and_what_to_do(site, code, found):
    site("old", "old_things", code, jug="Old")
    with pytest.raises(PluginError, match=f"{found}.*has contract 2.*Update the package"):
        things().get("jug")


def test_a_plugin_that_ends_python_on_import_is_named_and_the_rest_works(site):
    site("broken", "broken_things", "raise SystemExit('no licence')\n", ladle="Ladle")
    assert "spoon" in things().names()
    assert "SystemExit when it was imported: no licence" in things().faults()[0].reason


def test_an_object_of_another_class_is_a_fault(site):
    site("cutlery", "knives", "class Knife:\n    contract = 2\nknife = Knife()\n", knife="knife", class_="Knife")
    things().base = Fault
    with pytest.raises(PluginError, match=r"it is a Knife, not an object of .*registry\.Fault"):
        things().get("knife")
    with pytest.raises(PluginError, match=r"it is the class Knife, not an object of"):
        things().get("class_")


def test_two_plugins_with_one_name_are_both_named_and_neither_is_used(site):
    for distribution, module in (("first", "first_things"), ("second", "second_things")):
        site(distribution, module, "class Jug:\n    contract = 2\n", jug="Jug")
    with pytest.raises(DuplicateNameError, match=r"'jug': one of first 1\.0 and one of second 1\.0"):
        things().get("jug")
    assert "jug" not in things().names()
    assert "spoon" in things().names()


def test_a_plugin_cannot_take_the_name_of_affstores_own(site):
    site("thief", "thief_things", "class Spoon:\n    contract = 2\n", spoon="Spoon")
    with pytest.raises(DuplicateNameError, match="affstore and one of thief"):
        things().get("spoon")


def test_affstores_own_are_known_without_a_look_at_plugins(site):
    site("broken", "broken_things", "raise RuntimeError('no licence')\n", ladle="Ladle")
    assert dict(things().own()) == {"fork/": "forks", "spoon": "a spoon"}
    assert "broken_things" not in sys.modules
    assert [fault.name for fault in things().faults()] == ["ladle"]


def test_the_plugins_of_these_tests_are_gone_again():
    assert not list(metadata.entry_points(group="ours.things"))
