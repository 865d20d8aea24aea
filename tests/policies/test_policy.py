"""A policy reads without learning, whoever loaded its model, and refuses one that it cannot read."""

from __future__ import annotations

@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=300), "rotary"),
        (
            MistralConfig(
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=16,
                vocab_size=300,
                sliding_window=8,
            ),
            "sliding window",
        ),
    ],
    ids=["gpt2", "mistral"],
)
def test_attention_that_packing_does_not_compute_is_refused(
    tmp_path: Path, config: Any, reason: str
) -> None:
    """A model whose attention would come out wrong is refused on loading, with the reason."""
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=reason):
        Policy(ModelConfig(path=str(tmp_path)), GrpoConfig(), SamplingConfig())


@pytest.mark.parametrize("top_k", [0, 20])
def test_embeddings_beyond_the_vocabulary_are_never_drawn_nor_learnt(
    tmp_path: Path, top_k: int
) -> None:
    """As many again as the vocabulary has: half of all draws would be such ids."""
    folder = save_random_qwen2(tmp_path, padding=len(byte_tokenizer()))
    padded = policy(folder, top_k=top_k, beta=0.1, lr=1e-2)
    assert padded.vocab_size == len(padded.tokenizer) < padded.model.config.vocab_size
    rows = padded.generate(PROMPTS, [[10 * p + g for g in range(4)] for p in range(2)])
    assert max(token for group in rows for row in group for token in row) < padded.vocab_size
    before = padded.model.get_input_embeddings().weight[padded.vocab_size :].clone()
    ((indices, forward),) = padded.passes(list(PROMPTS), rows, [True, True])
    for p, scores in zip(indices, forward.scores, strict=True):
        for row, score in zip(rows[p], scores, strict=True):
            assert score.logprob.isfinite().all()
            assert (score.shortfall == 0).all(), row
    of_groups = samples(rows)
    padded.accumulate(forward, [of_groups[p] for p in indices])
    stats = padded.step()
    assert all(p.isfinite().all() for p in padded.model.parameters())
    assert stats.grad_norm > 0
    assert padded.model.get_input_embeddings().weight[padded.vocab_size :].equal(before)
