"""What both checkpoints have in common: a place in the store, and being made once.

    checkpoints/<variant>/<key>/    files of the checkpoint, then manifest.json

Belongs here: the stage that a checkpoint is, its product, its work folder. Does not belong here: what is trained and
what the files are (aligned.py, tuned.py).
"""

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from synthvlm_core import hashing, machine
from synthvlm_core.errors import Mendable
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.parts.locations import locate
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe, Variant
from synthvlm_core.release import verdict
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.stages import Stage
from synthvlm_core.store.documents import Count, Files, Hash, Json, document
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import Product
from synthvlm_core.store.shards import MANIFEST
from synthvlm_core.training.data import mixes
from synthvlm_core.training.data.pictures import local_file

log = logging.getLogger(__name__)


@document
class Manifest(Files):
    """A checkpoint and how it came about."""

    stage: str
    variant: str
    key: Hash
    content_hash: Hash
    steps: Count
    rows: Count
    losses: Annotated[list[float], Field(min_length=1)]
    seconds: float
    trained_parameters: Count
    precision: str
    device: str
    inputs: Json


SAVE_STEPS = 100
"""Optimizer steps between step checkpoints."""


class Checkpoint(Stage):
    """A trained model of one variant of the recipe.

    Args:
        partition: the variant's name.
        work: local folder for what an interrupted run leaves, by default beside a local store or in the temporary
            folder. Gone when the stage is done.
        save_steps: optimizer steps between step checkpoints: what a kill can cost.

    Raises:
        RecipeError: if the recipe has no such variant.
    """

    form = Manifest

    def __init__(
        self, store: Store, recipe: Recipe, partition: str, *, work: Path | None = None, save_steps: int = SAVE_STEPS
    ) -> None:
        super().__init__(store, recipe, partition)
        self.variant: Variant = recipe.variant(partition)
        self.save_steps = save_steps
        self._work = work

    @property
    @abstractmethod
    def released(self) -> Synthvlm100k:
        """The variant's set."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Hash of everything that the weights depend on.

        The thread count and what the recipe's sections call incidental change rounding alone and are left out; the
        manifest has them.

        Raises:
            NotMaterialized: if the variant's set is not released yet.
            RecipeError: if weights are not there.
        """

    @abstractmethod
    def load(self) -> Vlm:
        """The model with the stored weights, bytes proved.

        Raises:
            NotMaterialized: if there is no such checkpoint yet.
            DamagedProduct: if a file is gone or altered.
        """

    @abstractmethod
    def train(self, work: Path, out: Path, progress: Progress) -> dict[str, Any]:
        """Train, and write the checkpoint's files into `out`. Returns what the manifest tells of it."""

    @cached_property
    def instructions(self) -> Path:
        """The recipe's instruction mix. Raises Mendable if it is not there."""
        found = locate(self.recipe.training.instructions, self.recipe.folder)
        return local_file(found, "training.instructions", "LLaVA's instruction JSON")

    @property
    def path(self) -> str:
        """Path of the checkpoint's folder in the store."""
        return self.store.path("checkpoints", self.partition, self.key)

    @property
    def manifest_path(self) -> str:
        return f"{self.path}/{MANIFEST}"

    def find(self) -> dict[str, Any] | None:
        return self._empty_product().manifest(self.form)

    @cached_property
    def product(self) -> Product:
        """The files of the checkpoint. Raises NotMaterialized if there is none yet."""
        found = self._empty_product()
        if found.manifest(self.form) is None:
            raise self.not_there_yet()
        return found

    def make(self, progress: Progress = silent) -> dict[str, Any]:
        """Train, go on with what an interrupted run left, or find that it was done.

        Returns:
            The manifest: variant, key, files, content_hash, inputs, and what `learning.learn` tells.

        Raises:
            NotMaterialized: if an input is not there yet.
            UnsoundSet: if the variant's set does not pass its checks.
            DataError: if a row of the set or of the instruction mix cannot be trained on: both stages look at the whole
                mix before the first step.
            TrainingDiverged: if the loss becomes infinite or NaN.
            DamagedProduct: if an input is altered.
        """
        if (found := self._empty_product().sound(self.form)) is not None:
            return self._kept(found)
        folder = (self._work or _work_folder(self.store)) / self.key
        verdict.refuse_unsound(self.released)
        with machine.at(folder), _alone(folder):
            # another process may have finished while this one waited
            if (found := self._empty_product().sound(self.form)) is not None:
                return self._kept(found)
            mixes.refuse_unsound(self.instructions, self.store, threads=self.recipe.threads, progress=progress)
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            told = self.train(folder, out, progress)
            product = self._empty_product()
            product.put_folder(out)
            values = {"stage": self.name, "variant": self.partition, "key": self.key, **told}
            manifest = product.seal({**values, "content_hash": product.content_hash()})
            shutil.rmtree(folder, ignore_errors=True)
        return self._kept(manifest)

    def _empty_product(self) -> Product:
        return Product(self.store, self.path, self.remedy)

    def _kept(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.__dict__.pop("product", None)
        return self.made(manifest)


def _work_folder(store: Store) -> Path:
    """Beside a local store; of a remote one a folder of this machine's, for this store and this user alone.

    Raises:
        Mendable: if somebody else made the folder, or others may write into it.
    """
    if store.local:
        return Path(store.path("work", "training"))
    mine = Path(tempfile.gettempdir(), f"synthvlm-training-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        mine.mkdir(mode=0o700)
    found = mine.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Mendable(
            f"{mine} is not a folder of this user alone, so what lies in it is not trained from; remove it, or set "
            "TMPDIR to a folder of your own"
        )
    return mine / hashing.digest(store.unstrip(store.path()).encode())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process of this machine works in the folder. The lock goes with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another process trains %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(parents=True, exist_ok=True)
        yield
