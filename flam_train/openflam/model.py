"""FLAM under the names and in the shapes of OpenFLAM's published calls: scripts written for it change one import.

Shape suffixes: B clips, S samples, C texts, T frames, D embedding width, H text width, W windows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flam_train.batch import SAMPLE_RATE, TextEmbeddings, to_float
from flam_train.checkpoints import hub
from flam_train.checkpoints.export import CONFIG, PROVENANCE, load_export
from flam_train.checkpoints.foreign import fetched, recognise
from flam_train.detection.embedding import CrossFade, Windows
from flam_train.disk import naming
from flam_train.models.flam import FLAM, cosines, frame_score
from flam_train.models.text import load_tokenizer
from flam_train.openflam import sanity
from flam_train.settings import one_of

RELEASED = "open_flam_oct17.pth"
"""The released checkpoint, as its hub repository names it."""

MODELS = ("v1-base",)
SCORES = ("unbiased", "approximate")

SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
TOKENIZER = "tokenizer"
"""A folder beside a checkpoint that is taken for its tokenizer."""

BATCH = 8
"""Windows of a long clip that are embedded at once."""


class OpenFLAM(nn.Module):
    """A FLAM with OpenFLAM's calls. All run in eval and inference mode, whatever the module's mode.

    flam: the model itself, for `flam_train.inference` and its own methods.

    Audio is 48 kHz mono, [B, S] float in [-1, 1] (or int16), on any device. A clip of the model's length (10 s) is
    heard as OpenFLAM hears it. A longer one is heard over its whole length, in windows of 10 s that begin every 5.16 s
    and are cross-faded as in `flam_train.detection`; then T is its length / 0.3125 s, rounded, in the place of 32. A
    shorter one is refused, since it is mostly one of another rate. `sr=` of any call is compared with 48000.
    """

    def __init__(
        self,
        model_name: str = "v1-base",
        default_ckpt_path: str | Path | None = None,
        tokenizer: str | None = None,
    ) -> None:
        """model_name: v1-base; the size is that of the checkpoint. default_ckpt_path: where the weights are, a
        checkpoint file, a folder with `open_flam_oct17.pth` (or one other checkpoint), an export folder, or
        hf://OWNER/NAME. tokenizer: a folder or hub name, for checkpoints that bring none; None: the folder `tokenizer`
        beside the file, else roberta-base of the hub's cache. It is read when texts come.

        Raises ValueError, in a few lines, where there is no such checkpoint or it does not fit."""
        super().__init__()
        one_of("model_name", model_name, MODELS)
        if default_ckpt_path is None:
            raise ValueError(
                f"default_ckpt_path: give {RELEASED}, its folder, an export folder, or hf://OWNER/NAME to fetch one "
                "(hf://kechenadobe/OpenFLAM has the released weights, under their own licence)"
            )
        self._given_tokenizer = tokenizer
        self.load_ckpt(default_ckpt_path)

    def load_ckpt(self, path: str | Path) -> None:
        """Takes other weights, of any place that `default_ckpt_path` may be; the device stays. Raises ValueError as the
        constructor, and then changes nothing."""
        place = _place(path)
        device = self.flam.device if hasattr(self, "flam") else torch.device("cpu")
        if place.is_dir() and (place / PROVENANCE).is_file():
            flam, tokenizer = load_export(place), None
        else:
            found = recognise(place)
            folder = place if place.is_dir() else place.parent
            flam, tokenizer = found.model(), found.tokenizer
            if (folder / TOKENIZER).is_dir():
                tokenizer = str(folder / TOKENIZER)
        self.flam: FLAM = flam.to(device)
        self._tokenizer = self._given_tokenizer or tokenizer
        self._folder = place if place.is_dir() else place.parent

    @property
    def device(self) -> torch.device:
        return self.flam.device

    def get_global_audio_features(self, audio: Tensor, sr: int | None = None) -> Tensor:
        """clip_BD: unit vectors on the model's device. Of a longer clip the mean over its windows, by how much of each
        it fills, as unit vector."""
        with self._hearing():
            return self._audio(audio, sr)[0]

    def get_local_audio_features(self, audio: Tensor, sr: int | None = None) -> Tensor:
        """frame_BTD: unit vectors on the model's device."""
        with self._hearing():
            return self._audio(audio, sr)[1]

    def get_text_features(self, texts: Sequence[str]) -> Tensor:
        """text_CD: unit vectors on the model's device."""
        with self._hearing():
            return self._texts(texts).text_CD

    def get_local_similarity(
        self,
        audio: Tensor,
        texts: Sequence[str],
        method: str = "unbiased",
        cross_product: bool = False,
        sr: int | None = None,
    ) -> Tensor:
        """How far frames match texts, in [0, 1]: float32 on the CPU.

        cross_product: True scores every clip against every text, [B, C, T]; False clip n against text n, [B, T], and
        there must be as many of both. method: `unbiased` (paper Eq. 9) or `approximate` (Eq. 8), see
        `models.flam.frame_score`. Raises ValueError for another method, numbers that differ, and clips as said above.
        """
        one_of("method", method, SCORES)
        texts = _listed(texts)
        if not cross_product and len(audio) != len(texts):
            raise ValueError(
                f"{len(audio)} clips and {len(texts)} texts: give as many of both, or cross_product=True for each pair"
            )
        with self._hearing():
            frame_BTD, text = self._audio(audio, sr)[1], self._texts(texts)
            if cross_product:
                return frame_score(cosines(frame_BTD, text.text_CD), text.scale_C, text.bias_C, method).float().cpu()
            # One clip and one text at a time: the others' scores would be thrown away.
            rows = [
                frame_score(cosines(frame_BTD[n : n + 1], text.text_CD[n : n + 1]), text.scale_C[n : n + 1],
                            text.bias_C[n : n + 1], method)[0, 0]
                for n in range(len(texts))
            ]  # fmt: skip
            return torch.stack(rows).float().cpu()

    def get_logit_scale(self) -> Tensor:
        """The frozen global scale: 1, of shape [1]."""
        return torch.ones(1, device=self.device)

    def get_text_branch_output(self, texts: Sequence[str]) -> Tensor:
        """pooled_CH of the text tower (H is 768), on the model's device."""
        with self._hearing():
            tokens_CL, attention_CL = self._tokens(_listed(texts))
            return self.flam.text(tokens_CL, attention_CL)

    def get_per_text_logit_scale(self, out: Tensor) -> Tensor:
        """alpha > 0 of each text, [C] on the CPU, without dimension for one. out: of `get_text_branch_output`."""
        with self._hearing():
            return self.flam.scale_head(self._pooled(out)).exp().cpu().squeeze()

    def get_per_text_logit_bias(self, out: Tensor) -> Tensor:
        """beta of each text, likewise."""
        with self._hearing():
            return self.flam.bias_head(self._pooled(out)).cpu().squeeze()

    def sanity_check(self, reference: str | Path | None = None) -> None:
        """Whether the model does what it should, without a network; prints what was compared.

        Always: all weights are finite; features are finite unit vectors, the same alone as among others, and differ
        between sounds and between texts. With a reference (None: `sanity.npz` beside the checkpoint, if it is there):
        the three kinds of features agree with those that `keep_sanity` kept in it, at least .999 in mean cosine. An
        export's weights were compared with their sha256 when they were loaded. OpenFLAM's own sanity files are not
        read. Raises ValueError that says all that is wrong.
        """
        file = Path(reference) if reference else self._folder / sanity.FILE
        if reference and not file.is_file():
            raise ValueError(f"{file}: no such file: keep_sanity writes it")
        print(sanity.check(self.flam.state_dict(), self._features, file))

    def keep_sanity(self, file: str | Path | None = None) -> Path:
        """Writes what `sanity_check` compares with, of a model that is known to be right. file: None is `sanity.npz`
        beside the checkpoint."""
        file = Path(file) if file else self._folder / sanity.FILE
        with naming(file, file), file.open("wb") as out:
            np.savez(out, **self._features(slice(None)))  # type: ignore[arg-type]
        return file

    def _features(self, rows: slice) -> dict[str, np.ndarray]:
        """Of some of the clips and texts of `sanity`."""
        audio = torch.from_numpy(sanity.clips(self.flam.config.frontend.samples)[rows])
        found = {
            "global_audio_features": self.get_global_audio_features(audio),
            "local_audio_features": self.get_local_audio_features(audio),
            "text_features": self.get_text_features(sanity.TEXTS[rows]),
        }
        return {kind: feature.float().cpu().numpy() for kind, feature in found.items()}

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        training = self.flam.training
        self.flam.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.flam.train(training)

    def _audio(self, audio: Tensor, sr: int | None) -> tuple[Tensor, Tensor]:
        """clip_BD and frame_BTD."""
        audio_BS = self._checked(audio, sr)
        if audio_BS.shape[1] == self.flam.config.frontend.samples:
            out = self.flam.embed_audio(audio_BS)
            return out.clip_BD, out.frame_BTD
        clips, frames = zip(*map(self._long, audio_BS), strict=True)
        return torch.stack(clips), torch.stack(frames)

    def _long(self, audio_S: Tensor) -> tuple[Tensor, Tensor]:
        """clip_D and frame_TD of a clip of any length."""
        windows = Windows.of(self.flam)
        starts = [windows.start(number) for number in range(windows.count(len(audio_S)))]
        padded_S = F.pad(audio_S, (0, starts[-1] + windows.samples - len(audio_S)))
        joined, clips, frames = CrossFade(windows), [], []
        for first in range(0, len(starts), BATCH):
            window_WS = torch.stack([padded_S[at : at + windows.samples] for at in starts[first : first + BATCH]])
            out = self.flam.embed_audio(window_WS)
            clips.append(out.clip_BD)
            frames.append(joined.add(out.frame_BTD))
        filled_W = torch.tensor([min(len(audio_S) - at, windows.samples) for at in starts], device=self.device)
        frame_TD = torch.cat([*frames, joined.rest()])[: max(1, round(len(audio_S) / windows.frame_samples))]
        return F.normalize((torch.cat(clips) * filled_W[:, None]).sum(0), dim=-1), frame_TD

    def _checked(self, audio: Tensor, sr: int | None) -> Tensor:
        """float [B, S] on the model's device. Raises ValueError in one line."""
        if sr is not None and sr != SAMPLE_RATE:
            raise ValueError(
                f"sr={sr}: audio must be at {SAMPLE_RATE} Hz: librosa.load(file, sr={SAMPLE_RATE}) reads it so"
            )
        audio = torch.as_tensor(audio)
        shape, least = tuple(audio.shape), self.flam.config.frontend.samples
        if audio.ndim != 2 or 0 in shape:
            fix = ": audio.unsqueeze(0) is one clip" if audio.ndim == 1 else ""
            raise ValueError(f"audio of shape {shape}: [clips, samples] of one channel is expected{fix}")
        if audio.dtype != torch.int16 and not audio.is_floating_point():
            raise ValueError(f"audio of {audio.dtype}: float in [-1, 1] is expected, or int16")
        if shape[1] < least:
            raise ValueError(
                f"audio of shape {shape}: {least} samples ({least / SAMPLE_RATE:g} s at 48000 Hz) or more are needed: "
                "resample it to that rate, or, if it is that short, fill it with silence: "
                f"torch.nn.functional.pad(audio, (0, {least - shape[1]}))"
            )
        audio_BS = to_float(audio.to(self.device)).float()
        peak = float(audio_BS.abs().max())
        if not peak < float("inf"):
            raise ValueError("audio has samples that are NaN or infinite")
        if peak > 1:
            said = f"audio reaches {peak:.6g}, float in [-1, 1] is expected: divide it by its full scale"
            warnings.warn(said, UserWarning, stacklevel=4)
        return audio_BS

    def _tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        if self.flam.tokenizer is None:
            self.flam.tokenizer = load_tokenizer(str(self._tokenizer), self.flam.config.text.max_tokens)
        tokens_CL, attention_CL = self.flam.tokenizer(texts)
        return tokens_CL.to(self.device), attention_CL.to(self.device)

    def _texts(self, texts: Sequence[str]) -> TextEmbeddings:
        return self.flam.embed_tokens(*self._tokens(_listed(texts)))

    def _pooled(self, out: Tensor) -> Tensor:
        width = self.flam.text.width
        if out.ndim != 2 or out.shape[1] != width:
            raise ValueError(f"of shape {tuple(out.shape)}: get_text_branch_output's [C, {width}] is expected")
        return out.to(self.device).float()


def load(place: str | Path, device: str | torch.device = "cpu", tokenizer: str | None = None) -> OpenFLAM:
    """A model with OpenFLAM's calls, in eval mode, from whatever `OpenFLAM(default_ckpt_path=...)` takes."""
    return OpenFLAM(default_ckpt_path=place, tokenizer=tokenizer).to(device).eval()


def _place(path: str | Path) -> Path:
    """The checkpoint file or model folder. Raises ValueError where it cannot be told."""
    if hub.is_hub(path):
        folder = hub.local(path, (f"{RELEASED}*",))  # a pattern need not match
        return folder / RELEASED if (folder / RELEASED).is_file() else fetched(path)
    path = Path(path)
    if not path.is_dir() or (path / CONFIG).is_file() or (path / PROVENANCE).is_file():
        return path
    if (path / RELEASED).is_file():
        return path / RELEASED
    files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES)
    if len(files) == 1:
        return files[0]
    found = f"several checkpoints ({', '.join(p.name for p in files[:3])}): give one" if files else "no checkpoint"
    raise ValueError(f"{path}: {found}; {RELEASED} is expected, or an export's files")


def _listed(texts: Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
