"""Splits by subject, never by patch: a face that was trained on must not be in the test."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..capture.errors import UserError

SPLITS = ("train", "val", "test")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True, slots=True)
class ScanEntry:
    """What a split needs to know of a scan."""

    scan: str
    subject: str
    expression: str
    image_sha256: str = ""


def split_subjects(
    scans: Sequence[ScanEntry], shares: Mapping[str, float] = SHARES, seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """Subjects of each split, stratified by expression: every split gets its share of the scans of each expression.

    Subjects come in random order, those with most scans first; each goes where most of its scans are still wanted.
    Every split with a share gets at least one subject. Raises UserError when there are fewer subjects than splits.
    """
    wanted_splits = [name for name in SPLITS if shares.get(name, 0) > 0]
    subjects: dict[str, Counter[str]] = {}
    for entry in sorted(scans, key=lambda entry: entry.scan):
        subjects.setdefault(entry.subject, Counter())[entry.expression] += 1
    if len(subjects) < len(wanted_splits):
        raise UserError(
            f"{len(subjects)} subjects for the splits {', '.join(wanted_splits)}: at least one each is needed; add "
            "scans of other people, or ask for fewer splits"
        )
    total = sum(shares[name] for name in wanted_splits)
    every: Counter[str] = sum(subjects.values(), Counter())
    need = {name: {e: n * shares[name] / total for e, n in every.items()} for name in wanted_splits}
    order = sorted(subjects)
    np.random.Generator(np.random.PCG64([0x5917, seed])).shuffle(order)
    order.sort(key=lambda subject: -subjects[subject].total())
    chosen: dict[str, list[str]] = {name: [] for name in wanted_splits}
    for number, subject in enumerate(order):
        empty = [name for name in wanted_splits if not chosen[name]]
        left = len(order) - number
        candidates = empty if len(empty) >= left else wanted_splits
        counts = subjects[subject]
        # the share still missing of what this subject brings; ties go to the larger split
        best = max(candidates, key=lambda name: (sum(min(need[name][e], n) for e, n in counts.items()), shares[name]))
        chosen[best].append(subject)
        for expression, n in counts.items():
            need[best][expression] -= n
    return {name: tuple(sorted(chosen.get(name, []))) for name in SPLITS}


def check_split(split: Mapping[str, Sequence[str]], scans: Sequence[ScanEntry]) -> None:
    """Raises UserError for a subject in two splits or in none, and for the same pictures under two subjects."""
    where: dict[str, str] = {}
    for name, subjects in split.items():
        for subject in subjects:
            if subject in where:
                raise UserError(f"split: subject {subject} is in {where[subject]} and in {name}; keep it in one")
            where[subject] = name
    missing = sorted({entry.subject for entry in scans} - set(where))
    if missing:
        raise UserError(f"split: subject {', '.join(missing[:5])} is in no split; make the split again")
    check_duplicates(scans)


def check_duplicates(scans: Sequence[ScanEntry]) -> None:
    """Raises UserError when the same pictures come under two subjects or twice under one."""
    seen: dict[str, ScanEntry] = {}
    for entry in scans:
        if not entry.image_sha256:
            continue
        other = seen.setdefault(entry.image_sha256, entry)
        if other is not entry and other.subject != entry.subject:
            raise UserError(
                f"{entry.scan} of subject {entry.subject} and {other.scan} of subject {other.subject} are the same "
                "pictures: one person under two names would leak from training into the test; remove one of them"
            )
        if other is not entry:
            raise UserError(f"{entry.scan} and {other.scan} are the same pictures; remove one of them")
