"""Fixtures shared by all tests: a small recipe over files that a test can edit, stores on disk and on S3."""

import json
import os
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
settings.register_profile("synthvlm", deadline=None, max_examples=25)
settings.load_profile("synthvlm")

CLEAN = [
    "a small red circle beside a large blue square on a white background",
    "a drawing of two green rings above a black cross",
    "one yellow triangle in the middle of a grey picture",
    "a large purple square to the left of a tiny red ring",
]
SHOUTING = "buy now buy now buy now buy now buy now buy now"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def mounted() -> Iterator[Callable[[Path, str], Path]]:
    """mounted(folder, "size=512k"): a small disk of one's own there, with these options. Only root may mount one."""
    folders: list[Path] = []

    def mount(folder: Path, options: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def source_files(tmp_path: Path) -> Path:
    """A folder with one LAION Parquet file and one CC3M list, some rows of which are bad."""
    folder = tmp_path / "sources"
    folder.mkdir()
    laion = [*CLEAN, CLEAN[0], SHOUTING, "", "!!! *** ???"]
    pq.write_table(
        pa.table({"URL": [f"https://example.com/{i}.jpg" for i in range(len(laion))], "TEXT": laion}),
        folder / "laion.parquet",
    )
    lines = [f"{text}\thttps://example.com/{i}.jpg".encode() for i, text in enumerate(CLEAN)]
    lines += [b"latin \xe9\thttps://example.com/x.jpg", b"one column only"]
    (folder / "cc.tsv").write_bytes(b"\n".join(lines) + b"\n")
    return folder


@pytest.fixture
def small_recipe(source_files: Path, edited: Callable[..., Recipe]) -> Recipe:
    """The miniature recipe over `source_files`, under a name of its own, with the rules on text alone and no thresholds
    for scores."""
    miniature = recipes.load("miniature")
    rules = [
        rule
        for rule in miniature.model_dump(mode="json")["captions"]["rules"]
        if rule["rule"] not in ("perplexity", "judge", "image_text_similarity")
    ]
    return edited(
        miniature,
        {
            "name": "small",
            "folder": str(source_files),
            "captions.rules": rules,
            "selection.floor": {},
            "selection.source_thresholds": {},
            "sources": [
                {"name": "laion", "format": "laion", "files": ["laion.parquet"]},
                {"name": "cc", "format": "cc3m", "files": ["*.tsv"], "max_quarantined_share": 0.5},
            ],
        },
    )


@pytest.fixture(scope="session")
def edited() -> Callable[..., Recipe]:
    """Edit a recipe as a person edits the file: edited(recipe, {"captions.rules.alphanumeric.min_ratio": 0.7}).

    A part of a list is named by its kind or its name. None for a whole part takes it out of its list.
    """

    def place(section: Any, part: str) -> Any:
        if not isinstance(section, list):
            return part
        words = ("name", "rule", "score", "format", "benchmark")
        return next(n for n, item in enumerate(section) if part in [item.get(word) for word in words])

    def edit(recipe: Recipe, changes: dict[str, object]) -> Recipe:
        values = json.loads(recipes.dumps(recipe))
        for key, value in changes.items():
            *path, last = key.split(".")
            section = values
            for part in path:
                section = section[place(section, part)]
            if isinstance(section, list) and value is None:
                del section[place(section, last)]
            else:
                section[place(section, last)] = value
        return recipes.loads(json.dumps(values))

    return edit


@pytest.fixture(scope="session")
def worker_hook() -> Callable[[Path, str], str]:
    """Code that every worker process runs before its work: PYTHONPATH = worker_hook(empty folder, code)."""

    def write(folder: Path, code: str) -> str:
        folder.mkdir()
        guard = "import sys\nif 'synthvlm_assets.worker' in ' '.join(sys.orig_argv):\n"
        body = textwrap.indent(textwrap.dedent(code), "    ")
        (folder / "sitecustomize.py").write_text(guard + body)
        return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))

    return write


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Moto's S3 server on loopback; yields its address."""
    from moto.server import ThreadedMotoServer

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        os.environ.pop(name, None)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_store(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    """An empty bucket of the test's own."""
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"b{abs(hash(request.node.nodeid))}"
    store = Store(f"s3://{bucket}/data")
    store.fs.mkdir(bucket)
    return store


@pytest.fixture(params=["disk", "s3"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """The test runs twice: on disk and on S3."""
    return request.getfixturevalue("store" if request.param == "disk" else "s3_store")


@pytest.fixture
def real_data() -> Path:
    """Real captions, only where SYNTHVLM_REAL_DATA says where they are: they are not in this repository."""
    folder = os.environ.get("SYNTHVLM_REAL_DATA")
    if not folder:
        pytest.skip("SYNTHVLM_REAL_DATA is not set: real captions are not in this repository")
    return Path(folder)
