"""The house's import rules and shape, read off the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


RULES = [
    ("csegsynth_core", ("streamlit", "train", "pages", "app")),
    ("csegsynth_core/models", ("csegsynth_core.data", "csegsynth_core.pack", "csegsynth_core.generate")),
    (
        "csegsynth_core/data",
        ("csegsynth_core.models", "csegsynth_core.pack", "csegsynth_core.generate", "torch"),
    ),
    ("train", ("streamlit", "pages", "app")),
    ("pages", ("train", "torch")),
]


@pytest.mark.parametrize(("folder", "forbidden"), RULES, ids=[r[0] for r in RULES])
def test_import_rules(folder, forbidden):
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(folder)
        for name in sorted(imports(path))
        for bad in forbidden
        if (name == bad or name.startswith(bad + ".")) and path.name != "segment_t1.py"
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("module", ["grid", "tissue", "errors"])
def test_foundations_import_nothing_of_ours(module):
    assert not [
        n for n in imports(ROOT / "csegsynth_core" / f"{module}.py") if n.startswith("csegsynth_core")
    ]


def test_core_loads_without_streamlit():
    code = "import sys, csegsynth_core.export; assert 'streamlit' not in sys.modules and 'monai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_pages_are_short():
    long = {p.name: n for p in files("pages") if (n := len(p.read_text("utf-8").splitlines())) > 150}
    assert not long


def test_what_pages_may_be_used_for_is_worded_once():
    for path in files("pages"):
        text = path.read_text("utf-8")
        assert "research" not in text.casefold().replace("research_use", ""), path.name
        headings = text.count("<h1")
        assert text.count("_about.notice(") == headings, path.name


def test_top_level_is_the_design_cards():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    folders = {t.split("/")[0] for t in tracked if "/" in t}
    assert folders <= {"pages", "csegsynth_core", "train", "assets", "tests", ".ci", ".streamlit"}


def test_no_unsafe_calls():
    """Nothing is unpickled, evaluated or run through a shell."""
    for folder in ("csegsynth_core", "train", "pages"):
        for path in files(folder):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    assert name not in (
                        "eval",
                        "exec",
                        "os.system",
                        "torch.load",
                        "pickle.load",
                        "pickle.loads",
                    ), path
                    shell = [k for k in node.keywords if k.arg == "shell"]
                    assert not shell, path
