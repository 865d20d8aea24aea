"""Attention over packed tokens, where a prompt is held once for all completions of its group.

Every forward pass gives the model one row of packed tokens (batch 1), so that the linear layers
see no padding. The tokens are unpacked only here. Works with any `transformers` model that uses the
attention interface. This module knows nothing about sampling, losses or text.

Shapes: P groups (prompts), G completions a group, Tp and Tc the longest prompt and completion,
KV key-value heads, rep query heads per key-value head, d head size, N packed tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import AttentionInterface

from swarmproof.policies import long_rows

NAME = "swarmproof_packed"
_STRIPS = 3  # number of strips into which the completions of a group are sorted by length
_BLOCK = 32  # number of tokens that the cache of a decoding batch first has room for


class Layout(Protocol):
    """How packed tokens attend to one another."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """q (N, H, d), k and v (N, KV, d) -> (N, H, d)."""


def _packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - the layout says who sees whom
    scaling: float | None = None,
    layout: Layout | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    assert layout is not None, "call the model with layout=…"
    q, k, v = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    layer: Any = module.layer_idx
    return layout.attend(int(layer), q, k, v, scale).unsqueeze(0), None


AttentionInterface.register(NAME, _packed_attention)


class _Scatter(torch.autograd.Function):
    """Rows to distinct places of a zeroed tensor; gathers in the backward pass.

    The places are distinct, so the backward pass needs no additions, unlike that of an index.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(places)
        return rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, places, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return grads[0].index_select(0, places), None, None


class _Gather(torch.autograd.Function):
    """Rows from distinct places; the inverse of `_Scatter`."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = padded.shape[0]
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        grad = grads[0]
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, places, grad), None


def _scatter(rows: Tensor, places: Tensor, size: int) -> Tensor:
    return cast(Tensor, _Scatter.apply(rows, places, size))  # type: ignore[no-untyped-call]


def _gather(padded: Tensor, places: Tensor) -> Tensor:
    return cast(Tensor, _Gather.apply(padded, places))  # type: ignore[no-untyped-call]


def _softmax(scores: Tensor, dtype: torch.dtype) -> Tensor:
    return scores.softmax(-1, dtype=torch.float32).to(dtype)


def _bias(hidden: Tensor) -> Tensor:
    """0 where a key is seen and -inf where it is hidden, to be added to scores."""
    return torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))


@dataclass(frozen=True, slots=True)
class _Strip:
    """Completions of similar length, equally many of each group, padded to the longest."""

    rows: int  # of each group
    width: int
    bias: Tensor | None  # (P, 1, 1, 1, width, Tp + width); None for long rows
    prompt_lens: list[int]
    masks: long_rows.Masks

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor) -> Tensor:
        """q, scaled, (P * rows * width, H, d), k and v alike; kp and vp (P, KV, Tp, d)."""
        num_kv, prompt_width = kp.shape[1:3]
        q = self._unpack(q, num_kv)
        k, v = self._unpack(k, num_kv).squeeze(3), self._unpack(v, num_kv).squeeze(3)
        if self.bias is None:
            return self._pack(self._attend_long(q, k, v, kp, vp))
        shape = q.shape[:-1]  # (P, KV, rows, rep, width)
        # The same queries in two views: against the prompt, all completions of a group form one
        # matrix; against itself, each completion is its own.
        prefix = (q.flatten(2, 4) @ kp.transpose(-1, -2)).view(*shape, prompt_width)
        own = (q.flatten(3, 4) @ k.transpose(-1, -2)).view(*shape, self.width)
        scores = torch.cat([prefix, own], -1)
        scores += self.bias
        prefix, own = torch.split(_softmax(scores, q.dtype), [prompt_width, self.width], -1)
        out = (prefix.flatten(2, 4) @ vp).view(q.shape) + (own.flatten(3, 4) @ v).view(q.shape)
        return self._pack(out)

    def _attend_long(self, q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor) -> Tensor:
        rows = [x.transpose(1, 2) for x in (q, k, v)]  # (P, rows, KV, …)
        prompts = zip(self.prompt_lens, kp, vp, strict=True)
        groups = [
            long_rows.after_prompt(qs, ks, vs, kp[:, :seen], vp[:, :seen], masks=self.masks)
            for qs, ks, vs, (seen, kp, vp) in zip(*rows, prompts, strict=True)
        ]
        return torch.stack(groups).transpose(1, 2)

    def _pack(self, x: Tensor) -> Tensor:
        """The inverse of `_unpack`."""
        return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, x.shape[1] * x.shape[3], x.shape[-1])

    def _unpack(self, x: Tensor, num_kv: int) -> Tensor:
        """(P * rows * width, KV * rep, d) -> contiguous (P, KV, rows, rep, width, d)."""
        x = x.view(-1, self.rows, self.width, num_kv, x.shape[1] // num_kv, x.shape[2])
        return x.permute(0, 3, 1, 4, 2, 5).contiguous()


# The packed row of two groups. Prompt abc has the completions xyz and uv; prompt de has pqr. The
# last token of a completion predicts nothing, so it is not an input. `#`: row attends to column.
#
#                heads   ends   completions' inputs
#                a b d   c e    x y   u   p q      logits at this row predict
#            a   #
#            b   # #
#            d       #
#            c   # #     #                         x and u: one row for the whole group
#            e       #     #                       p
#            x   # #     #      #                  y
#            y   # #     #      # #                z
#            u   # #     #            #            v
#            p       #     #              #        q
#            q       #     #              # #      r
#
# A completion sees its prompt, which is held once, and its own past; never another completion.
class PackedLayout:
    """Whole prompts followed by whole completions, for scoring and learning.

    Packed order: all tokens of all prompts but their last (heads), then the last token of each
    prompt (ends), then the completions' inputs, group by group. So the rows whose logits are wanted
    (ends and completions) are the last ones, and no copy is needed to cut them out.
    """

    def __init__(self, prompt_lens: list[int], input_lens: list[list[int]], device: torch.device):
        """`input_lens[p][g]`: tokens of a completion that are inputs (all but its last)."""
        self.num_groups, self.prompt_width = len(prompt_lens), max(prompt_lens)
        width = self.prompt_width
        heads = [p * width + t for p, n in enumerate(prompt_lens) for t in range(n - 1)]
        ends = [p * width + n - 1 for p, n in enumerate(prompt_lens)]
        self.num_prompt_tokens = len(heads) + len(ends)
        self.prompt_places = torch.tensor(heads + ends, device=device)
        lens = torch.tensor(prompt_lens, device=device)
        seen = torch.arange(width, device=device) < lens[:, None]  # (P, Tp)
        self.hidden_prefix = ~seen[:, None, None, None, :]
        self.prompt_lens, self.masks = prompt_lens, long_rows.Masks()
        self.hidden_prompt = ~torch.ones(width, width, dtype=torch.bool, device=device).tril()
        self.strips: list[_Strip] = []
        inputs = self._cut_strips(input_lens, device)
        self.input_places = torch.tensor(inputs, dtype=torch.long, device=device)
        self.keys: dict[int, tuple[Tensor, Tensor]] = {}

    def _cut_strips(self, input_lens: list[list[int]], device: torch.device) -> list[int]:
        """Sort the completions into strips by length; returns the place of every token in them."""
        rows = -(-max(map(len, input_lens)) // _STRIPS)
        by_length = [sorted(range(len(lens)), key=lens.__getitem__) for lens in input_lens]
        begin = [[0] * len(lens) for lens in input_lens]
        used = 0
        for low in range(0, max(map(len, input_lens)), max(rows, 1)):
            chosen = [order[low : low + rows] for order in by_length]
            width = max(
                [input_lens[p][g] for p, members in enumerate(chosen) for g in members] + [1]
            )
            for p, members in enumerate(chosen):
                for i, g in enumerate(members):
                    begin[p][g] = used + (p * rows + i) * width
            used += self.num_groups * rows * width
            bias = None if width > long_rows.LONG else self._strip_bias(width, device)
            self.strips.append(_Strip(rows, width, bias, self.prompt_lens, self.masks))
        return [
            begin[p][g] + t
            for p, lens in enumerate(input_lens)
            for g, n in enumerate(lens)
            for t in range(n)
        ]

    def _strip_bias(self, width: int, device: torch.device) -> Tensor:
        future = ~torch.ones(width, width, dtype=torch.bool, device=device).tril()
        prefix = self.hidden_prefix.unsqueeze(1).expand(-1, 1, 1, 1, width, -1)
        own = future.expand(self.num_groups, 1, 1, 1, -1, -1)
        return _bias(torch.cat([prefix, own], -1))

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        # `split` instead of slices: the gradient of a slice is a whole tensor of zeros.
        parts = [self.num_prompt_tokens, len(self.input_places)]
        (q_p, q_c), (k_p, k_c), (v_p, v_c) = (torch.split(x, parts) for x in (q, k, v))
        kp, vp = self._prompts(k_p), self._prompts(v_p)
        out_p = self._attend_prompts(q_p, kp, vp, scaling)
        if not len(self.input_places):
            self.keys[layer] = (kp, vp)
            return out_p
        return torch.cat([out_p, self._attend_inputs(q_c, k_c, v_c, kp, vp, scaling)])

    def _prompts(self, x: Tensor) -> Tensor:
        """(tokens, heads, d) -> (P, heads, Tp, d)."""
        padded = _scatter(x, self.prompt_places, self.num_groups * self.prompt_width)
        return padded.view(self.num_groups, self.prompt_width, *x.shape[1:]).transpose(1, 2)

    def _attend_prompts(self, q: Tensor, kp: Tensor, vp: Tensor, scaling: float) -> Tensor:
        heads, d = q.shape[1:]
        num_kv = kp.shape[1]
        q = self._prompts(q).reshape(self.num_groups, num_kv, -1, self.prompt_width, d)
        if self.prompt_width > long_rows.LONG:
            # Prompts are padded at their ends, so causality hides the padding.
            none = kp[0, :, :0]
            out = long_rows.after_prompt(q * scaling, kp, vp, none, none, masks=self.masks)
            return self._unpad(out, heads)
        scores = (q * scaling) @ kp.unsqueeze(2).transpose(-1, -2)
        scores = scores.masked_fill(self.hidden_prompt, float("-inf"))
        out = _softmax(scores, q.dtype) @ vp.unsqueeze(2)  # (P, KV, rep, Tp, d)
        return self._unpad(out, heads)

    def _unpad(self, out: Tensor, heads: int) -> Tensor:
        flat = out.permute(0, 3, 1, 2, 4).reshape(-1, heads, out.shape[-1])
        return _gather(flat, self.prompt_places)

    def _attend_inputs(
        self, q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, scaling: float
    ) -> Tensor:
        sizes = [self.num_groups * strip.rows * strip.width for strip in self.strips]
        padded = [_scatter(x, self.input_places, sum(sizes)) for x in (q * scaling, k, v)]
        parts = zip(self.strips, *(torch.split(x, sizes) for x in padded), strict=True)
        out = [strip.attend(*qkv, kp, vp) for strip, *qkv in parts]
        return _gather(torch.cat(out), self.input_places)


class DecodeLayout:
    """One new token for each of P x G rows, which attend to their prompt and to themselves."""

    def __init__(self, prefix: PackedLayout, group_size: int, max_new_tokens: int):
        """`prefix`: the layout of a finished pass over the prompts alone; its keys are taken."""
        self.prefix = prefix.keys
        self.prefix_bias = _bias(prefix.hidden_prefix[:, 0])  # (P, 1, 1, Tp)
        self.num_groups, self.group_size = prefix.num_groups, group_size
        self.own: dict[int, tuple[Tensor, Tensor]] = {}
        self.length = 0  # tokens already in the cache
        self.longest = max_new_tokens

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        kp, vp = self.prefix[layer]
        groups, size, d = self.num_groups, self.group_size, q.shape[-1]
        num_kv, t = kp.shape[1], self.length
        rows = groups * size
        own_k, own_v = self._room(layer, k)
        own_k[:, :, t] = k
        own_v[:, :, t] = v
        q = (q * scaling).view(rows, num_kv, -1, d)
        by_group = q.view(groups, size, num_kv, -1, d).transpose(1, 2).flatten(2, 3)
        prefix = by_group @ kp.transpose(-1, -2)  # (P, KV, G * rep, Tp)
        prefix += self.prefix_bias
        width = prefix.shape[-1]
        prefix = prefix.view(groups, num_kv, size, -1, width).transpose(1, 2)
        own = q @ own_k[:, :, : t + 1].transpose(-1, -2)  # (rows, KV, rep, t + 1)
        weights = _softmax(torch.cat([prefix.reshape(rows, num_kv, -1, width), own], -1), q.dtype)
        shared = weights[..., :width].view(groups, size, num_kv, -1, width).transpose(1, 2)
        out = (shared.flatten(2, 3) @ vp).view(groups, num_kv, size, -1, d).transpose(1, 2)
        out = out.reshape(q.shape) + weights[..., width:] @ own_v[:, :, : t + 1]
        return out.flatten(1, 2)

    def _room(self, layer: int, k: Tensor) -> tuple[Tensor, Tensor]:
        """The caches of a layer, (rows, KV, room, d), with room for one more token."""
        pair = self.own.get(layer)
        if pair is None:
            shape = (k.shape[0], k.shape[1], min(_BLOCK, self.longest), k.shape[2])
            pair = (k.new_zeros(shape), k.new_zeros(shape))
        elif pair[0].shape[2] == self.length:
            # Doubling: each token is copied about once.
            more = min(2 * self.length, self.longest) - self.length
            grown = [torch.nn.functional.pad(x, (0, 0, 0, more)) for x in pair]
            pair = (grown[0], grown[1])
        self.own[layer] = pair
        return pair

    def keep(self, groups: Tensor, rows: Tensor, group_size: int) -> None:
        """Keep only some groups, with `group_size` rows in each of them.

        Args:
            groups: indices of the groups that stay; a group that is split occurs several times.
            rows: indices of the rows that stay, (len(groups) * group_size,), in group order.
        """
        # Layer by layer, so that not all of the old and all of the new is there at once.
        for cache, places in ((self.prefix, groups), (self.own, rows)):
            for layer, (k, v) in cache.items():
                cache[layer] = (k.index_select(0, places), v.index_select(0, places))
        self.prefix_bias = self.prefix_bias.index_select(0, groups)
        self.num_groups, self.group_size = len(groups), group_size
