"""The training loop, resumable after every epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from cxr.data.labels import Task
from cxr.errors import RunError
from training.data.samples import Samples
from training.device import Compute
from training.experiments.gan.discriminator import Discriminator
from training.experiments.gan.evaluator import GeneratorEvaluator
from training.experiments.gan.generator import Generator
from training.experiments.gan.recipe import GanRecipe
from training.experiments.gan.record import GanEpoch
from training.experiments.gan.sampling import balanced_order, stream_seed, to_unit, write_preview
from training.fit.augment import Augmenter
from training.fit.checkpoint import Checkpoint, averaged

log = logging.getLogger(__name__)


class GanTrainer:
    """Trains generator and discriminator on the train part.

    Random numbers depend only on seed and epoch, so a resumed training gives the same networks.
    ``fingerprint``: Digest of data and split; a checkpoint of others is rejected.
    """

    def __init__(
        self,
        recipe: GanRecipe,
        task: Task,
        train: Samples,
        evaluator: GeneratorEvaluator,
        compute: Compute,
        work_dir: Path,
        fingerprint: str,
        quiet: bool = False,
    ) -> None:
        self.recipe, self.task, self.train, self.evaluator = recipe, task, train, evaluator
        # float16 would need its losses scaled.
        self.compute = compute.exact if compute.dtype == torch.float16 else compute
        self.work_dir, self.quiet = work_dir, quiet
        self.checkpoint = Checkpoint(
            work_dir, f"{recipe.model_dump_json(exclude={'notes'})} {fingerprint}"
        )
        torch.manual_seed(stream_seed(recipe.seed, "weights"))
        classes = len(task.classes)
        self.generator = compute.place(
            Generator(recipe.size_px, classes, recipe.latent, recipe.width)
        )
        self.discriminator = compute.place(Discriminator(recipe.size_px, classes, recipe.width))
        self.average = averaged(self.generator, recipe.weight_average)
        self.optimizers = {
            "generator": torch.optim.Adam(
                self.generator.parameters(), recipe.generator_rate, recipe.betas
            ),
            "discriminator": torch.optim.Adam(
                self.discriminator.parameters(), recipe.discriminator_rate, recipe.betas
            ),
        }
        self.curves: list[GanEpoch] = []
        if len(train) < recipe.batch_size:
            raise RunError(
                f"Batches of {recipe.batch_size} are not possible with {len(train)} training "
                "images. "
                "Lower batch_size in the recipe."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self.train) // self.recipe.batch_size

    @property
    def result(self) -> Generator:
        """The averaged generator, which is kept."""
        generator = self.average.module
        assert isinstance(generator, Generator)
        return generator

    def run(self) -> None:
        """Train to the end, from the checkpoint if there is one."""
        self._load()
        for epoch in range(len(self.curves), self.recipe.epochs):
            self.curves.append(self._epoch(epoch))
            write_preview(self.result, self.task, self.recipe, self.compute, self.work_dir, epoch)
            self._save()

    def _batches(
        self, epoch: int, source: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        size, device = self.recipe.batch_size, self.compute.device
        order = balanced_order(self.train.labels, stream_seed(self.recipe.seed, epoch, "order"))
        for step in range(self.steps_per_epoch):
            chosen = order[step * size : (step + 1) * size]
            labels = torch.from_numpy(self.train.labels[chosen])
            noise = torch.randn(size, self.recipe.latent, generator=source)
            asked = torch.randint(len(self.task.classes), (size,), generator=source)
            yield (
                to_unit(self.train.pixels[chosen]).to(device),
                labels.to(device),
                noise.to(device),
                asked.to(device),
            )

    def _changed(self, images: torch.Tensor, augmenter: Augmenter) -> torch.Tensor:
        """Augment images (N, 1, S, S) in [-1, 1], differentiably.

        Source: Zhao, Liu, Lin, Zhu, Han, "Differentiable Augmentation for Data-Efficient GAN
        Training", NeurIPS 2020.
        """
        n = round(self.recipe.augmented * len(images))
        chosen = torch.randperm(len(images), generator=augmenter.generator)
        chosen = (chosen < n).to(images.device)
        if n:
            changed = augmenter((images[chosen] + 1.0) / 2.0) * 2.0 - 1.0
            images = images.masked_scatter(chosen[:, None, None, None], changed)
        return images.contiguous(memory_format=torch.channels_last)

    def _epoch(self, epoch: int) -> GanEpoch:
        started, sums = time.perf_counter(), torch.zeros(4, device=self.compute.device)
        source = torch.Generator().manual_seed(stream_seed(self.recipe.seed, epoch, "noise"))
        changes = torch.Generator().manual_seed(stream_seed(self.recipe.seed, epoch, "changes"))
        augmenter = Augmenter(self.recipe.augmentation, changes)
        self.generator.train()
        self.discriminator.train()
        bar = tqdm(
            self._batches(epoch, source),
            total=self.steps_per_epoch,
            desc=f"epoch {epoch + 1}/{self.recipe.epochs}",
            unit="batch",
            disable=self.quiet,
            dynamic_ncols=True,
        )
        for real, labels, noise, asked in bar:
            with self.compute.autocast():
                made = self.generator(noise, asked)
            judged = self._discriminator_step(real, labels, made.detach(), augmenter)
            asked_for = self._generator_step(made, asked, augmenter)
            self.average.update_parameters(self.generator)
            sums += torch.stack([*judged, *asked_for])
        seconds = time.perf_counter() - started
        means = (sums / self.steps_per_epoch).tolist()
        if not all(map(math.isfinite, means)):
            raise RunError(
                "The losses are no longer finite. Lower the learning rates in the recipe."
            )
        last = epoch + 1 == self.recipe.epochs
        due = last or (epoch + 1) % self.recipe.judging.every == 0
        record = GanEpoch(
            epoch=epoch,
            discriminator_loss=means[0],
            auxiliary_real=means[1],
            generator_loss=means[2],
            auxiliary_generated=means[3],
            kid=self.evaluator.kid_of(self.result) if due else None,
            images_per_second=self.steps_per_epoch * self.recipe.batch_size / seconds,
            seconds=seconds,
        )
        log.info("%s", _describe(record))
        return record

    def _discriminator_step(
        self,
        real: torch.Tensor,
        labels: torch.Tensor,
        made: torch.Tensor,
        augmenter: Augmenter,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.cat([self._changed(real, augmenter), self._changed(made, augmenter)])
        with self.compute.autocast():
            verdict = self.discriminator(images)
        of_real, of_made = verdict.realness.chunk(2)
        logits = verdict.logits[: len(real)]
        loss = F.relu(1.0 - of_real).mean() + F.relu(1.0 + of_made).mean()
        loss = loss + self.recipe.auxiliary_real * F.cross_entropy(logits, labels)
        self._step("discriminator", loss)
        return loss.detach(), (logits.argmax(dim=1) == labels).float().mean()

    def _generator_step(
        self, made: torch.Tensor, asked: torch.Tensor, augmenter: Augmenter
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.discriminator.requires_grad_(False)
        with self.compute.autocast():
            verdict = self.discriminator(self._changed(made, augmenter))
        loss = -verdict.realness.mean()
        loss = loss + self.recipe.auxiliary_generated * F.cross_entropy(verdict.logits, asked)
        self._step("generator", loss)
        self.discriminator.requires_grad_(True)
        return loss.detach(), (verdict.logits.argmax(dim=1) == asked).float().mean()

    def _step(self, which: str, loss: torch.Tensor) -> None:
        self.optimizers[which].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[which].step()

    def _save(self) -> None:
        self.checkpoint.save(
            {
                "curves": [record.model_dump() for record in self.curves],
                "generator": self.generator.state_dict(),
                "discriminator": self.discriminator.state_dict(),
                "average": self.average.state_dict(),
                "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            }
        )

    def _load(self) -> None:
        state = self.checkpoint.load(self.compute.device)
        if state is None:
            return
        self.curves = [GanEpoch.model_validate(record) for record in state["curves"]]
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.average.load_state_dict(state["average"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        log.info("resuming after %d finished epochs", len(self.curves))


def _describe(record: GanEpoch) -> str:
    text = (
        f"epoch {record.epoch + 1}: loss D {record.discriminator_loss:.3f}, "
        f"G {record.generator_loss:.3f}, classes right: real {record.auxiliary_real:.3f}, "
        f"generated {record.auxiliary_generated:.3f}, {record.images_per_second:.0f} images/s"
    )
    kids = [f"{name} {kid.value:.4f}" for name, kid in (record.kid or {}).items()]
    return ", KID ".join([text, ", ".join(kids)]) if kids else text
