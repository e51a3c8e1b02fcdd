"""What a frozen text tower made of phrases is kept, and is the same whatever was kept before."""

from __future__ import annotations

import copy
import pickle
from itertools import islice

import pytest
import torch

from flam_train.batch import token_row
from flam_train.models.flam import FLAM
from flam_train.models.kept_text import KeptText
from flam_train.models.text import ByteBackend, ByteTower, Tokenizer

WORDS = [
    "a dog",
    "rain",
    "a dog barks",
    "wind",
    "a siren far away, then nearer",
    "hum",
    "a bell",
    "a car",
    "sea",
    "owl",
    "tap",
]


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return ByteTower(width=32).eval().requires_grad_(False)


class Counting(torch.nn.Module):
    """Counts the rows that go through a tower."""

    def __init__(self, tower):
        super().__init__()
        self.tower, self.rows = tower, 0
        self.eval()

    def forward(self, tokens_CL, attention_CL):
        self.rows += len(tokens_CL)
        return self.tower(tokens_CL, attention_CL)


def rows(texts: list[str]) -> list[bytes]:
    return [token_row(*row) for row in zip(*Tokenizer(ByteBackend(), 77)(texts), strict=True)]


def test_it_is_what_the_tower_makes_and_asks_it_once(tower):
    counting, kept = Counting(tower), KeptText(77)
    want_CH = tower(*Tokenizer(ByteBackend(), 77)(WORDS))
    got_CH = kept(counting, rows(WORDS))
    assert torch.allclose(got_CH, want_CH, atol=1e-6)
    assert not got_CH.requires_grad
    before = counting.rows
    again = [WORDS[3], WORDS[0], WORDS[3]]
    assert torch.equal(kept(counting, rows(again)), got_CH[[3, 0, 3]])
    assert counting.rows == before


def test_history_changes_no_bit(tower):
    """One run asks for all at once, another for some of them first: a run that goes on begins with nothing."""
    at_once = KeptText(77)(tower, rows(WORDS))
    piecewise = KeptText(77)
    shuffled = WORDS[::-1]
    parts = [piecewise(tower, rows(list(islice(shuffled, a, a + 3)))) for a in range(0, len(WORDS), 3)]
    assert torch.equal(torch.cat(parts).flip(0), at_once)


def test_other_weights_and_another_precision_begin_anew(tower):
    kept, some = KeptText(77), rows(WORDS[:3])
    first = kept(tower, some)
    with torch.autocast("cpu", torch.bfloat16):
        half = kept(tower, some)
    assert not torch.equal(half.float(), first.float())
    with torch.no_grad():
        tower.norm.bias += 1
    assert torch.allclose(kept(tower, some), first + 1, atol=1e-5)


def test_a_tower_that_learns_or_drops_is_asked_each_time(tower):
    kept, some = KeptText(77), rows(WORDS[:2])
    tower.norm.weight.requires_grad_()
    assert kept(tower, some) is None
    tower.requires_grad_(False).train()
    assert kept(tower, some) is None
    assert kept(tower.eval(), some) is not None


class Placed(Counting):
    """A row's numbers depend on its place."""

    def forward(self, tokens_CL, attention_CL):
        return super().forward(tokens_CL, attention_CL) + 1e-5 * torch.arange(len(tokens_CL))[:, None]


class Mixed(Counting):
    """They depend on the other rows."""

    def forward(self, tokens_CL, attention_CL):
        return super().forward(tokens_CL, attention_CL) + 1e-5 * float(tokens_CL.sum() % 97)


class MixedWhereLong(Mixed):
    def forward(self, tokens_CL, attention_CL):
        return (super() if tokens_CL.shape[1] > 8 else super(Mixed, self)).forward(tokens_CL, attention_CL)


@pytest.mark.parametrize("kind", [Placed, Mixed])
def test_nothing_is_kept_where_rows_depend_on_one_another(tower, kind):
    assert KeptText(77)(kind(tower), rows(WORDS)) is None


def test_a_length_that_does_not_hold_leaves_the_others(tower):
    """Whichever was met first: what is kept is a matter of the tower, not of the run."""
    kept, some = KeptText(77), MixedWhereLong(tower)
    assert kept(some, rows(["rain", "sea"])) is not None
    assert kept(some, rows(["rain", "a siren far away"])) is None
    assert kept(some, rows(["rain", "sea"])) is not None


def test_a_phrase_as_long_as_the_tower_takes(tower):
    """77 tokens, which are no multiple of ROUND; and none."""
    longest = ["a" * 77, "b" * 200, "c" * 75]
    want_CH = tower(*Tokenizer(ByteBackend(), 77)(longest))
    assert torch.allclose(KeptText(77)(tower, rows(longest)), want_CH, atol=1e-6)
    assert KeptText(77)(tower, []) is None


def test_towers_are_never_asked_for_rows_without_padding(tower):
    """They may take another way there, of other rounding."""

    class Looking(Counting):
        def forward(self, tokens_CL, attention_CL):
            assert not attention_CL.bool().all()
            return super().forward(tokens_CL, attention_CL)

    KeptText(77)(Looking(tower), rows(["rain", "wind", "a" * 77, "b" * 77]))


def test_it_is_bounded(tower):
    counting, kept = Counting(tower), KeptText(77, most=4)
    want = KeptText(77)(tower, rows(WORDS))
    for a in range(len(WORDS) - 2):
        assert torch.equal(kept(counting, rows(WORDS[a : a + 3])), want[a : a + 3])
        assert len(kept._place) <= 4
    assert torch.equal(kept(counting, rows(WORDS)), want)  # more than it may hold, in one step


def test_a_copy_of_the_model_has_none(small_config):
    model = FLAM(small_config).eval().requires_grad_(False)
    model.kept_text(model.text, rows(WORDS))
    assert "kept" not in " ".join(model.state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not other.kept_text._place


def test_the_model_embeds_phrases_by_their_rows(small_config):
    torch.manual_seed(0)
    model = FLAM(small_config).eval()
    tokens = model.tokenizer(WORDS)
    want = model.embed_tokens(*tokens)
    model.text.requires_grad_(False)
    got = model.embed_tokens(*tokens, rows=rows(WORDS))
    assert len(model.kept_text._place) == len(WORDS)
    for name in ("text_CD", "scale_C", "bias_C"):
        assert torch.allclose(getattr(got, name), getattr(want, name), atol=1e-5)
    got.text_CD.sum().backward()  # the projection learns
    assert model.text_projection[0].weight.grad.abs().sum() > 0
