"""Vote model: which label a row has, by its votes and by how voters take one label for another. Pure; arrays alone.

Rows come as `cells`, a line of votes each: `voter * labels + said` for a vote, `voters * labels` where there is none.
Votes of one voter are exchangeable: only how often it says what counts. What each says given the true label is a row
of its confusion (Dawid and Skene 1979), learned from rows whose label is known (`from_gold`), or from how far votes
agree, by EM (`from_agreement`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Cells = np.ndarray[Any, np.dtype[np.int32]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
Shares = np.ndarray[Any, np.dtype[np.float64]]

# Votes that what all labels have in common is worth beside a label's own: the most likely one is taken.
STRENGTHS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)
# What a vote is worth where votes repeat one another's mistakes; 1: they err each by itself.
SHARPNESS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
# The same strength in EM, whose counts are guesses themselves.
EM_STRENGTH = 2.0
ROUNDS_MOST, TOLERANCE = 200, 1e-7
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class VoteModel:
    """`prior[true]`: the share of each label; `confusion[voter, true, said]`: a voter's answers to rows of a label."""

    prior: Shares
    confusion: Shares
    sharpness: float = 1.0

    def posterior(self, cells: Cells) -> Shares:
        """`[row, label]`: the probability of each label given the votes of a row; of no vote, the prior."""
        return _posterior(self.prior, self.sharpness * _log_likelihood(self.confusion, cells))

    def accuracy(self, voter: int) -> float:
        """How often a voter says the true label."""
        return float(self.prior @ np.diag(self.confusion[voter]))


def from_gold(cells: Cells, truth: Counts, firsts: Cells, *, rows: Counts, labels: int, voters: int) -> VoteModel:
    """Learned from rows whose true label is known. Their shares of labels may be other than those of all rows.

    `cells` and `truth` are the known rows. The shares are learned from the first vote alone of all rows (`firsts`, each
    standing for as many `rows`): what several votes say together would tell them only if each erred by itself. The
    confusions are what is known of each label, drawn to what all labels have in common where that is little.
    """
    counts = np.stack([_counts(cells, truth, voter, labels=labels) for voter in range(voters)])
    shared = [_shared(one) for one in counts]
    strengths = [_strength(one, base) for one, base in zip(counts, shared, strict=True)]
    confusion = np.stack([_drawn(*one) for one in zip(counts, shared, strengths, strict=True)])
    prior = _prior_of(firsts, rows, confusion, prior=_said_shares(firsts, rows, labels, voters=voters))
    alone = _left_out(cells, truth, counts, shared=np.stack(shared), strengths=np.array(strengths), confusion=confusion)
    scores = [_log_score(_posterior(prior, one * alone), truth) for one in SHARPNESS]
    sharpness = SHARPNESS[int(np.argmax(scores))]
    return VoteModel(prior, confusion, sharpness)


def from_agreement(
    cells: Cells, rows: Counts, labels: int, *, voters: int, strength: float = EM_STRENGTH
) -> tuple[VoteModel, Shares]:
    """Learned from votes alone, by EM that begins with the shares of the votes; and the posterior of these rows.

    Without a `strength` it is that of Dawid and Skene's paper.
    """
    post = _vote_shares(cells, labels, voters)
    before = -math.inf
    for _ in range(ROUNDS_MOST):
        weighted = post * rows[:, None]
        prior = weighted.sum(0) / weighted.sum()
        counts = np.stack([_soft_counts(cells, weighted, voter, labels=labels) for voter in range(voters)])
        confusion = np.stack([_drawn(one, _shared(one) if strength else one, strength) for one in counts])
        logs = _log_likelihood(confusion, cells) + np.log(np.maximum(prior, _TINY))
        top = logs.max(1, keepdims=True)
        likelihoods = np.exp(logs - top)
        total = likelihoods.sum(1, keepdims=True)
        post = likelihoods / total
        reached = float(rows @ (np.log(total) + top)[:, 0]) / float(rows.sum())
        if abs(reached - before) < TOLERANCE:
            break
        before = reached
    return VoteModel(prior, confusion), post


def _log_likelihood(confusion: Shares, cells: Cells) -> Shares:
    """`[row, true]`: log-probability of a row's votes, were this its label."""
    voters, labels, said = confusion.shape
    table = np.zeros((voters * said + 1, labels))
    table[:-1] = np.log(np.maximum(confusion, _TINY)).transpose(0, 2, 1).reshape(voters * said, labels)
    found = np.zeros((len(cells), labels))
    for vote in range(cells.shape[1]):
        found += table[cells[:, vote]]
    return found


def _posterior(prior: Shares, logs: Shares) -> Shares:
    logs = logs + np.log(np.maximum(prior, _TINY))
    likelihoods = np.exp(logs - logs.max(1, keepdims=True))
    shares: Shares = likelihoods / likelihoods.sum(1, keepdims=True)
    return shares


def _counts(cells: Cells, truth: Counts, voter: int, *, labels: int) -> Counts:
    """`[true, said]`: how often a voter said a label on rows of a label."""
    said = cells - voter * labels
    rows, votes = np.nonzero((said >= 0) & (said < labels))
    flat = truth[rows] * labels + said[rows, votes]
    found: Counts = np.bincount(flat, minlength=labels * labels).reshape(labels, labels)
    return found


def _soft_counts(cells: Cells, weighted: Shares, voter: int, *, labels: int) -> Shares:
    """The same, each row counted for every label by its weight."""
    found = np.zeros((labels, labels))
    for vote in range(cells.shape[1]):
        said = cells[:, vote] - voter * labels
        known = (said >= 0) & (said < labels)
        np.add.at(found.T, said[known], weighted[known])
    return found


def _shared(counts: Counts | Shares) -> Shares:
    """A voter's confusion by what all labels have in common: one accuracy, and labels that mistakes fall on."""
    labels = len(counts)
    right = float(np.trace(counts))
    accuracy = (right + 1) / (float(counts.sum()) + 2)
    wrong = counts * (1 - np.eye(labels))
    drawn_to = (wrong.sum(0) + 1 / labels) / (wrong.sum() + 1)
    base = (1 - accuracy) * drawn_to[None, :] / (1 - drawn_to[:, None])
    np.fill_diagonal(base, accuracy)
    found: Shares = base
    return found


def _drawn(counts: Counts | Shares, base: Shares, strength: float) -> Shares:
    """Each label's row of counts as shares, drawn to the base as by so many votes."""
    shares: Shares = (counts + strength * base) / np.maximum(counts.sum(1, keepdims=True) + strength, _TINY)
    return shares


def _strength(counts: Counts, base: Shares) -> float:
    """How far labels are alike: the strength under which the counts are most likely (Dirichlet-multinomial)."""
    met = np.nonzero(counts)
    few, shares, totals = counts[met], base[met], counts.sum(1)

    def likelihood(strength: float) -> float:
        rows = sum(math.lgamma(strength) - math.lgamma(strength + total) for total in totals.tolist() if total)
        cells = (
            math.lgamma(strength * share + count) - math.lgamma(strength * share)
            for share, count in zip(shares.tolist(), few.tolist(), strict=True)
        )
        return rows + math.fsum(cells)

    return max(STRENGTHS, key=likelihood)


def _left_out(
    cells: Cells, truth: Counts, counts: Counts, *, shared: Shares, strengths: Shares, confusion: Shares
) -> Shares:
    """`[row, true]`: log-likelihood of known rows, each by what the others show of its own label."""
    found = _log_likelihood(confusion, cells)
    voters, labels, _ = counts.shape
    own = np.zeros(len(cells))
    for vote in range(cells.shape[1]):
        cast = cells[:, vote] < voters * labels
        cell = np.where(cast, cells[:, vote], 0)
        voter, said = cell // labels, cell % labels
        same = (cells == cell[:, None]).sum(1)
        of_voter = ((cells // labels == voter[:, None]) & (cells < voters * labels)).sum(1)
        strength = strengths[voter]
        top = counts[voter, truth, said] - same + strength * shared[voter, truth, said]
        below = counts[voter, truth].sum(1) - of_voter + strength
        own += np.where(cast, np.log(np.maximum(top / below, _TINY)), 0.0)
    found[np.arange(len(cells)), truth] = own
    return found


def _log_score(post: Shares, truth: Counts) -> float:
    return float(np.log(np.maximum(post[np.arange(len(truth)), truth], _TINY)).sum())


def _prior_of(cells: Cells, rows: Counts, confusion: Shares, *, prior: Shares) -> Shares:
    """The share of each label among all rows, by EM with the confusions as they are (Saerens and others 2002)."""
    logs = _log_likelihood(confusion, cells)
    half = 0.5
    for _ in range(ROUNDS_MOST):
        expected = rows @ _posterior(prior, logs)
        found = (expected + half) / (expected.sum() + half * len(expected))
        moved = float(np.abs(found - prior).max())
        prior = found
        if moved < TOLERANCE:
            break
    return prior


def _vote_shares(cells: Cells, labels: int, voters: int) -> Shares:
    """`[row, label]`: the share of a row's votes that say a label; all alike where it has none."""
    shares = np.zeros((len(cells), labels))
    for vote in range(cells.shape[1]):
        cast = np.nonzero(cells[:, vote] < voters * labels)[0]
        shares[cast, cells[cast, vote] % labels] += 1
    shares[shares.sum(1) == 0] = 1
    found: Shares = shares / shares.sum(1, keepdims=True)
    return found


def _said_shares(cells: Cells, rows: Counts, labels: int, *, voters: int) -> Shares:
    shares = rows @ _vote_shares(cells, labels, voters) + 1
    found: Shares = shares / shares.sum()
    return found
