"""The training loop, resumable after every epoch."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from cxr.bundles.run import EpochRecord
from cxr.data.labels import Task
from cxr.errors import RunError
from cxr.networks.network import Network
from training.data.samples import Samples
from training.data.synthetic import combine
from training.device import Compute
from training.distributed import World
from training.fit.augment import Augmenter
from training.fit.checkpoint import Checkpoint, averaged
from training.fit.guide import Guide, Guided, share_outside
from training.fit.phases import PlannedEpoch, let_learn, plan_epochs
from training.fit.scoring import score
from training.fit.statistics import (
    class_weights,
    margin_of,
    normalisation_of,
    population_chances,
    positive_auroc,
)
from training.recipe import Phase, Recipe

log = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 1.0

AfterEpoch: TypeAlias = Callable[[Sequence[EpochRecord]], None]
"""Told the curves so far when an epoch is saved; what it raises ends the training."""


class Validated(NamedTuple):
    """Figures on the validation samples."""

    loss: float
    auroc: float | None
    accuracy: float


class Trainer:
    """Trains one network on one split.

    The random numbers of an epoch depend only on seed, epoch and rank, so a resumed training gives
    the same network as an uninterrupted one.

    ``network``: Initialised, on the CPU. ``fingerprint``: Digest of data and split; a checkpoint of
    others is refused. ``made``: Synthetic samples to add; the normalisation stays that of the real
    ones. ``lungs``: Masks (N, 1, 112, 112) of the training samples, for a recipe with lung
    guidance. ``taught``: Probabilities (N, K) of the teachers for them, for one with teachers.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        task: Task,
        train: Samples,
        val: Samples,
        compute: Compute,
        world: World,
        work_dir: Path,
        fingerprint: str,
        quiet: bool = False,
        after_epoch: AfterEpoch | None = None,
        made: Samples | None = None,
        lungs: NDArray[np.uint8] | None = None,
        taught: NDArray[np.float32] | None = None,
    ) -> None:
        self.recipe, self.task, self.compute, self.world = recipe, task, compute, world
        self.train = train if made is None else combine(train, made)
        self.val, self.quiet = val, quiet
        self.after_epoch = after_epoch
        self.checkpoint = Checkpoint(
            work_dir,
            f"{recipe.model_dump_json(exclude={'notes'})} {fingerprint} {world.size}",
        )
        self.normalisation = normalisation_of(train)
        self.loss_weights = class_weights(self.train, task, recipe.class_weights).to(compute.device)
        self.lungs, self.targets = lungs, self._targets(taught)
        self.chances = None
        if recipe.sampling == "populations":
            self.chances = population_chances(self.train)
        self.network: Network = compute.place(network)
        self.maps: torch.Tensor | None = None
        if lungs is not None:
            explained = self.network.get_submodule(self.network.explain_layer)
            explained.register_forward_hook(self._keep_maps)
        self.average = averaged(self.network, recipe.weight_average)
        self.curves: list[EpochRecord] = []
        self.local_batch = recipe.batch_size // world.size
        if self.local_batch < 2 or len(self.train) < recipe.batch_size:
            raise RunError(
                f"Batches of {recipe.batch_size} over {world.size} processes are not possible with "
                f"{len(self.train)} training images. Lower batch_size in the recipe."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self.train) // self.recipe.batch_size

    @property
    def result(self) -> Network:
        """The averaged network, which a run ships."""
        network = self.average.module
        assert isinstance(network, Network)
        return network

    def run(self) -> None:
        """Train to the end of the recipe, from the checkpoint if there is one."""
        plans = plan_epochs(self.recipe)
        state = self._load()
        optimizer: torch.optim.Optimizer | None = None
        for plan in plans[len(self.curves) :]:
            if optimizer is None or plan.epoch == 0:
                optimizer = self._optimizer(plan.phase)
                schedule = self._schedule(optimizer, plan.phase)
                scaler = torch.amp.GradScaler(
                    self.compute.device.type, enabled=self.compute.dtype == torch.float16
                )
                if state is not None and plan.epoch > 0:
                    optimizer.load_state_dict(state["optimizer"])
                    schedule.load_state_dict(state["schedule"])
                    scaler.load_state_dict(state["scaler"])
                wrapped = self._wrapped()
            self.curves.append(self._epoch(plan, wrapped, optimizer, schedule, scaler))
            self._save(optimizer, schedule, scaler)
            if self.after_epoch is not None:
                self.after_epoch(self.curves)

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        let_learn(self.network, phase)
        learning = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {
                "params": [p for p in learning if p.ndim > 1],
                "weight_decay": self.recipe.weight_decay,
            },
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=phase.learning_rate)

    def _schedule(
        self, optimizer: torch.optim.Optimizer, phase: Phase
    ) -> torch.optim.lr_scheduler.LambdaLR:
        total = phase.epochs * self.steps_per_epoch
        warmup = max(1, int(total * phase.warmup))

        def factor(step: int) -> float:
            cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / total)))
            return min(1.0, (step + 1) / warmup) * cosine

        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def _wrapped(self) -> nn.Module:
        if self.world.size == 1:
            return self.network
        devices = [self.compute.device] if self.compute.device.type == "cuda" else None
        return DistributedDataParallel(self.network, device_ids=devices)

    def _keep_maps(self, module: nn.Module, given: Any, maps: torch.Tensor) -> None:
        self.maps = maps

    def _targets(self, taught: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """What to answer for each sample, shape (N, K): labels smoothed, mixed with teachers'."""
        outputs = max(int(self.train.labels.max()) + 1, len(self.task.classes))
        targets = np.eye(outputs, dtype=np.float32)[self.train.labels]
        targets = targets * (1.0 - self.recipe.label_smoothing)
        targets += self.recipe.label_smoothing / outputs
        if taught is not None:
            targets = (1.0 - self.recipe.teachers) * targets + self.recipe.teachers * taught
        return targets.astype(np.float32)

    def _order(self, plan: PlannedEpoch) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.recipe.seed, plan.index))
        if self.chances is None:
            return rng.permutation(len(self.train))
        return rng.choice(len(self.train), len(self.train), p=self.chances)

    def _batches(self, plan: PlannedEpoch) -> Iterator[Guided]:
        order = self._order(plan)
        seed = int.from_bytes(
            hashlib.sha256(f"{self.recipe.seed} {plan.index} {self.world.rank}".encode()).digest()[
                :4
            ]
        )
        torch.manual_seed(seed)  # dropout
        augmenter = Augmenter(self.recipe.augmentation, torch.Generator().manual_seed(seed))
        guide = None
        if self.recipe.lungs is not None:
            guide = Guide(self.recipe.lungs, torch.Generator().manual_seed(seed + 1))
        size = plan.phase.size_px or self.recipe.size_px
        for step in range(self.steps_per_epoch):
            start = step * self.recipe.batch_size + self.world.rank * self.local_batch
            chosen = order[start : start + self.local_batch]
            images = self._scaled(self.train.pixels[chosen], size)
            targets = torch.from_numpy(self.targets[chosen]).to(self.compute.device)
            if guide is None or self.lungs is None:
                batch = Guided(augmenter(images), targets, images[:0])
            else:
                masks = self._scaled(self.lungs[chosen], size)
                images, masks = augmenter.with_masks(images, masks)
                batch = guide.change(Guided(images, targets, masks))
            images = (batch.images - self.normalisation.mean) / self.normalisation.std
            yield batch._replace(images=self.compute.put(images))

    def _scaled(self, pixels: NDArray[np.uint8], size: int) -> torch.Tensor:
        images = torch.from_numpy(pixels).to(self.compute.device).float().div_(255.0)
        if size == images.shape[-1]:
            return images
        return F.interpolate(
            images, (size, size), mode="bilinear", antialias=True, align_corners=False
        )

    def _loss(self, network: nn.Module, batch: Guided) -> torch.Tensor:
        with self.compute.autocast():
            logits = network(batch.images)
        logits = logits.float()
        loss = F.cross_entropy(logits, batch.targets, weight=self.loss_weights)
        # A frozen backbone's maps are not to be changed.
        if self.recipe.lungs is not None and self.maps is not None and self.maps.requires_grad:
            outside = share_outside(self.maps, margin_of(logits, self.task), batch.lungs)
            loss = loss + self.recipe.lungs.penalty * outside
        return loss

    def _epoch(
        self,
        plan: PlannedEpoch,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        scaler: torch.amp.GradScaler,
    ) -> EpochRecord:
        let_learn(self.network, plan.phase)
        started, losses = time.perf_counter(), torch.zeros(())
        learning_rate = optimizer.param_groups[0]["lr"]
        bar = tqdm(
            total=self.steps_per_epoch * self.recipe.batch_size,
            desc=f"{plan.phase.name} {plan.epoch + 1}/{plan.phase.epochs}",
            unit="image",
            disable=self.quiet or not self.world.is_main,
            dynamic_ncols=True,
        )
        with bar:
            for step, batch in enumerate(self._batches(plan)):
                loss = self._loss(network, batch)
                optimizer.zero_grad()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                self.average.update_parameters(self.network)
                losses += loss.detach().cpu()
                bar.update(self.recipe.batch_size)
                bar.set_postfix(loss=f"{float(losses) / (step + 1):.4f}", refresh=False)
            seconds = time.perf_counter() - started
            train_loss = self.world.mean(float(losses) / self.steps_per_epoch)
            validated = self._validate() if self.world.is_main else Validated(0.0, None, 0.0)
            self.world.wait()
            auroc = validated.auroc
            shown = "none" if auroc is None else f"{auroc:.4f}"
            bar.set_postfix(loss=f"{train_loss:.4f}", val_auroc=shown)
        log.info(
            "%s %d/%d: loss %.4f, validation loss %.4f, AUROC %s, accuracy %.3f, %.0f images/s",
            plan.phase.name,
            plan.epoch + 1,
            plan.phase.epochs,
            train_loss,
            validated.loss,
            shown,
            validated.accuracy,
            self.steps_per_epoch * self.recipe.batch_size / seconds,
        )
        return EpochRecord(
            phase=plan.phase.name,
            epoch=plan.epoch,
            learning_rate=learning_rate,
            train_loss=train_loss,
            val_loss=validated.loss,
            val_auroc=auroc,
            val_accuracy=validated.accuracy,
            images_per_second=self.steps_per_epoch * self.recipe.batch_size / seconds,
            seconds=seconds,
        )

    def _validate(self) -> Validated:
        logits = score(self.result, self.val.pixels, self.normalisation, self.compute)
        logits = logits[:, : len(self.task.classes)]  # without a dummy class
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(self.val.labels))
        auroc = positive_auroc(logits, self.val.labels, self.task)
        accuracy = float((logits.argmax(axis=1) == self.val.labels).mean())
        return Validated(float(loss), auroc, accuracy)

    def _save(self, optimizer: torch.optim.Optimizer, schedule: Any, scaler: Any) -> None:
        if self.world.is_main:
            self.checkpoint.save(
                {
                    "curves": [record.model_dump() for record in self.curves],
                    "network": self.network.state_dict(),
                    "average": self.average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "scaler": scaler.state_dict(),
                }
            )
        self.world.wait()

    def _load(self) -> dict[str, Any] | None:
        state = self.checkpoint.load(self.compute.device)
        if state is None:
            return None
        self.curves = [EpochRecord(**record) for record in state["curves"]]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        log.info("resuming after %d finished epochs", len(self.curves))
        return state
