"""Our forward pass of a Llama-shaped checkpoint: equal to transformers', in chunks, through the cache."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers

from pebench.encodings.extension import Regrouped, View, extended, methods, same
from pebench.encodings.registry import resolve
from pebench.encodings.streams import build
from pebench.suite.extend import attention, model, smollm2
from pebench.suite.extend import branches as side_by_side
from pebench.suite.extend.attention import in_parts
from pebench.suite.extend.branches import Branches
from pebench.suite.extend.checkpoint import Checkpoint, ModelError, frequencies, load_checkpoint, short_name
from pebench.suite.extend.model import Model, Reader
from pebench.suite.extend.trial import ABOUT
from tests.extend import tiny

METHODS = [*methods(), "yarn+logn", "dual_chunk+logn", "logn+streaming"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return tiny.made(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def small(monkeypatch):
    """Chunks and blocks of a few tokens, so that a short text has many."""
    for module in (model, side_by_side):
        monkeypatch.setattr(module, "CHUNK", 24)
    monkeypatch.setattr(attention, "BLOCK", 16)


def read(checkpoint, encoding, text, dtype=torch.float32):
    reads = Model(checkpoint, encoding, dtype)
    return reads.logits(reads.read(text, reads.cache()))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 6},
        {"num_key_value_heads": 1},
        {"head_dim": 16},
        {"attention_bias": True, "mlp_bias": True},
        {"attention_bias": True},
        {"rope_theta": 500_000.0},
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ],
    ids=str,
)
def test_the_forward_pass_is_that_of_transformers(changed, tmp_path, small):
    checkpoint, theirs = tiny.made(tmp_path, **changed)
    text = tiny.tokens(100)
    with torch.no_grad():
        expected = theirs(text[None]).logits[0]
    torch.testing.assert_close(read(checkpoint, checkpoint.rope(), text), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_parts_compute_what_the_hooks_define(method, pair, small, monkeypatch):
    checkpoint, text = pair[0], tiny.tokens(150, 1)
    encoding = tiny.extended(checkpoint, method, 4.0)
    assert in_parts(encoding)
    fast = read(checkpoint, encoding, text)
    monkeypatch.setattr(model, "in_parts", lambda encoding: False)
    monkeypatch.setattr(model, "CHUNK", 1000)
    torch.testing.assert_close(fast, read(checkpoint, encoding, text), rtol=0, atol=2e-4)


class Reversed(Regrouped):
    """Three views that alternate with the key, as no registered method has them; some keys are hidden from all."""

    title = "alternating"
    paper = "unpublished"
    formula = "x"

    def views(self):
        return View(same, same), View(same, lambda pos: pos // 2), View(lambda pos: pos // 3, same)

    def chosen(self, at, keys):
        return (keys.pos[None] + at.pos[:, None]) % 3

    def hidden(self, at, keys):
        return (keys.pos % 7 == 3)[None] & (at.pos[:, None] != keys.pos[None])


def test_parts_know_any_method_of_views(pair, small, monkeypatch):
    checkpoint, text = pair[0], tiny.tokens(70, 2)
    encoding = Reversed.extend(checkpoint.rope(), 2.0)
    fast = read(checkpoint, encoding, text)
    monkeypatch.setattr(model, "in_parts", lambda encoding: False)
    torch.testing.assert_close(fast, read(checkpoint, encoding, text), rtol=0, atol=2e-4)


@pytest.mark.parametrize("spec", ["rope+alibi", "nope", "fire", "rope+fox", "ssmax"])
def test_other_encodings_are_computed_by_their_hooks(spec, pair, small):
    checkpoint, text = pair[0], tiny.tokens(60, 3)
    encoding = build(resolve(spec)[1], checkpoint.about.shape).eval()
    chunks = read(checkpoint, encoding, text)
    reads = Model(checkpoint, encoding, torch.float32)
    cache = reads.cache()
    one_by_one = torch.cat([reads.logits(reads.chunk(part, cache)) for part in text.split(1)])
    torch.testing.assert_close(chunks, one_by_one, rtol=0, atol=2e-4)


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_decoding_through_the_cache_equals_the_whole_text(method, pair, small):
    checkpoint, text = pair[0], tiny.tokens(130, 4)
    encoding = checkpoint.rope() if method == "none" else tiny.extended(checkpoint, method, 4.0)
    reads = Model(checkpoint, encoding, torch.float32)
    cache = reads.cache()
    states = [reads.read(part, cache) for part in (text[:50], text[50:51], text[51:98], *text[98:].split(1))]
    whole = reads.read(text, reads.cache())
    torch.testing.assert_close(torch.cat(states), whole, rtol=0, atol=2e-4)


def test_the_beginning_that_texts_share_is_read_once(pair, small, monkeypatch):
    reader, read_so_far = Reader(Model(pair[0], pair[0].rope(), torch.float32)), list[int]()
    chunk = Model.chunk
    monkeypatch.setattr(
        Model, "chunk", lambda self, part, cache: read_so_far.append(len(part)) or chunk(self, part, cache)
    )
    first, second = tiny.tokens(80, 5), torch.cat([tiny.tokens(80, 5)[:60], tiny.tokens(20, 6)])
    # Chunks have 24 tokens, and whole ones are kept: of 60 shared tokens 48, of 80 held ones 72.
    for text, new in ((first, 80), (second, 32), (second, 8), (first[:30], 6), (first, 56), (first[:72], 24)):
        read_so_far.clear()
        states = reader(text)
        assert sum(read_so_far) == len(states) == new
        fresh = reader.model.read(text, reader.model.cache())[-new:]
        torch.testing.assert_close(states, fresh, rtol=0, atol=1e-4)


def test_running_sums_are_never_taken_back(pair, small):
    checkpoint = pair[0]
    reader = Reader(Model(checkpoint, build(resolve("rope+fox")[1], checkpoint.about.shape), torch.float32))
    first = tiny.tokens(40, 7)
    reader(first)
    states = reader(first[:20])
    assert len(states) == 20
    torch.testing.assert_close(states, reader.model.read(first[:20], reader.model.cache()), rtol=0, atol=1e-4)


def test_running_state_ends_with_its_text(pair, small):
    encoding = build(resolve("rope+kv_shift")[1], pair[0].about.shape).eval()
    for parameter in encoding.parameters():
        torch.nn.init.ones_(parameter)
    reader = Reader(Model(pair[0], encoding, torch.float32))
    for text in (tiny.tokens(40, 7), tiny.tokens(40, 8)):  # they share no beginning
        torch.testing.assert_close(
            reader(text), reader.model.read(text, reader.model.cache()), rtol=0, atol=1e-4
        )


QUESTIONS = (7, 12, 9)  # tokens
SAID = (4, 6, 1)


def continuations(seed=5):
    """Questions, and two answers to each."""
    questions = [tiny.tokens(n, seed + n) for n in QUESTIONS]
    return questions, [[tiny.tokens(n, seed + 40 + n) for n in (1, 5)] for _ in questions]


def test_questions_side_by_side_are_answered_as_in_whole_texts(pair, small):
    checkpoint, theirs = pair
    text = tiny.tokens(60)
    questions, answers = continuations()
    branches = Branches(Reader(Model(checkpoint, checkpoint.rope(), torch.float32)), text)
    assert branches.together
    numbers = [branches.add() for _ in questions]
    last = [states[-1] for states in branches.read(list(zip(numbers, questions, strict=True)))]

    def logs(*parts):
        with torch.no_grad():
            return theirs(torch.cat(parts)[None]).logits[0].log_softmax(-1)

    pairs = [(n, answer) for n, some in enumerate(answers) for answer in some]
    for _ in range(2):  # what was read in between changes nothing
        found = branches.likelihoods(
            [numbers[n] for n, _ in pairs], [last[n] for n, _ in pairs], [answer for _, answer in pairs]
        )
        for (n, answer), chance in zip(pairs, found, strict=True):
            before = len(text) + len(questions[n])
            rows = logs(text, questions[n], answer)[before - 1 : -1]
            assert chance == pytest.approx(rows.gather(1, answer[:, None]).sum().item(), abs=1e-3)
    for question, said, count in zip(questions, branches.greedy(numbers, last, SAID), SAID, strict=True):
        assert len(said) == count
        for n, token in enumerate(said):
            assert token == int(logs(text, question, torch.tensor(said[:n], dtype=torch.long))[-1].argmax())


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_branches_are_read_as_texts_of_their_own_by_each_method(pair, small, method):
    checkpoint, text = pair[0], tiny.tokens(90)
    encoding = checkpoint.rope() if method == "none" else tiny.extended(checkpoint, method, 4.0)
    questions, answers = continuations()
    branches = Branches(Reader(Model(checkpoint, encoding, torch.float32)), text)
    assert branches.together
    first = [branches.add() for _ in questions]
    again = [(branch, some[0]) for branch, some in zip(first, answers, strict=True)]
    for round in range(3):
        parts = list(zip(first, questions, strict=True)) if round == 0 else again
        if round == 1:
            parts = [(branches.add(branch), some[1]) for branch, some in zip(first, answers, strict=True)]
        for (branch, tokens), states in zip(parts, branches.read(parts), strict=True):
            whole = torch.cat([text, branches.tokens[branch]])
            expected = branches.reader.model.read(whole, branches.reader.model.cache())[-len(tokens) :]
            torch.testing.assert_close(states, expected, rtol=0, atol=2e-4)


def test_branches_that_cannot_be_read_together_are_read_one_by_one(pair, small):
    """Also where an answer has one token, so that nothing is read behind the question."""
    encoding = build(resolve("rope+kv_shift")[1], pair[0].about.shape).eval()
    for parameter in encoding.parameters():
        torch.nn.init.ones_(parameter)
    text = tiny.tokens(50)
    questions, answers = continuations()
    branches = Branches(Reader(Model(pair[0], encoding, torch.float32)), text)
    numbers = [branches.add() for _ in questions]
    last = [states[-1] for states in branches.read(list(zip(numbers, questions, strict=True)))]
    assert not branches.together

    def logits(*parts):
        return read(pair[0], encoding, torch.cat([text, *parts]))

    for question, state in zip(questions, last, strict=True):
        torch.testing.assert_close(branches.reader.model.logits(state[None])[0], logits(question)[-1])
    for some in zip(*answers, strict=True):  # of one token, and of five
        found = branches.likelihoods(numbers, last, some)
        for question, answer, chance in zip(questions, some, found, strict=True):
            rows = logits(question, answer)[-len(answer) - 1 : -1].log_softmax(-1)
            assert chance == pytest.approx(rows.gather(1, answer[:, None]).sum().item(), abs=1e-3)
    for question, said in zip(questions, branches.greedy(numbers, last, SAID), strict=True):
        for n, token in enumerate(said):
            assert token == int(logits(question, torch.tensor(said[:n], dtype=torch.long))[-1].argmax())


def test_answers_of_one_token_alone_need_no_reading(pair):
    branches = Branches(Reader(Model(pair[0], pair[0].rope(), torch.float32)), tiny.tokens(20))
    (number,) = [branches.add()]
    (states,) = branches.read([(number, tiny.tokens(5, 1))])
    (chance,) = branches.likelihoods([number], [states[-1]], [torch.tensor([7])])
    assert chance == pytest.approx(
        branches.reader.model.logits(states[-1:]).log_softmax(-1)[0, 7].item(), abs=1e-4
    )


@pytest.mark.parametrize("encoding", ["rope", "rope+kv_shift"])
def test_questions_about_a_text_read_it_once_where_its_state_can_be_taken_back(
    pair, small, monkeypatch, encoding
):
    inner = build(resolve(encoding)[1], pair[0].about.shape).eval()
    reader, read_so_far = Reader(Model(pair[0], inner, torch.float32)), list[int]()
    text, *questions = tiny.tokens(80, 5).split([50, 12, 18])
    expected = [
        reader.model.read(torch.cat([text, rest]), reader.model.cache())[50:]
        for rest in (*questions, questions[0])
    ]
    read = Model.read
    monkeypatch.setattr(
        Model, "read", lambda self, part, cache: read_so_far.append(len(part)) or read(self, part, cache)
    )
    for rest, right in zip((*questions, questions[0]), expected, strict=True):
        torch.testing.assert_close(reader.behind(text, rest), right, rtol=0, atol=1e-4)
    again = [] if encoding == "rope" else [50]
    assert read_so_far == [50, 12, *again, 18, *again, 12]


def test_no_matrix_of_tokens_by_tokens_is_made(pair, monkeypatch):
    sizes = list[int]()
    monkeypatch.setattr(
        attention,
        "flash",
        lambda q, k, *rest, **more: (
            sizes.append(q[..., 0].numel() * k.shape[-2]) or FLASH(q, k, *rest, **more)
        ),
    )
    read(pair[0], pair[0].rope(), tiny.tokens(3000))
    assert max(sizes) <= 6 * model.CHUNK * 3000
    masks = [
        part.mask
        for part in attention.parts_of(
            extended(pair[0].rope(), "self_extend", 64.0), torch.arange(2488, 3000)
        )
        if part.mask is not None
    ]
    assert sum(mask.numel() for mask in masks) < 512 * 3000


FLASH = attention.flash


@pytest.mark.parametrize("method", METHODS)
def test_positions_to_a_million_are_finite(method, pair):
    encoding = tiny.extended(pair[0], method, 16_384.0)
    reads = Model(pair[0], encoding, torch.float32)
    order = torch.arange(10**6 - 8, 10**6)
    q = torch.randn(1, 6, 8, 8)
    at = attention.At(0, torch.zeros(1, 8, 48), q, order, order, {})
    assert all(side.isfinite().all() for side in encoding.qk(q, q[:, :2], at))
    assert reads.about.trained == 64


def test_bfloat16_products_change_little(pair):
    text = tiny.tokens(64)
    exact, rough = (read(pair[0], pair[0].rope(), text, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert 0 < (exact.log_softmax(-1) - rough.log_softmax(-1)).abs().mean() < 0.2


def test_weights_are_shared_between_methods_and_mapped_from_the_disk(pair):
    one = Model(pair[0], pair[0].rope(), torch.float32)
    other = one.with_encoding(extended(pair[0].rope(), "pi", 2.0))
    name = "model.layers.0.mlp.up_proj.weight"
    assert one.weights[name].data_ptr() == other.weights[name].data_ptr() == pair[0].weights[name].data_ptr()


def broken(folder, how):
    """Break a checkpoint in one way."""
    file, weights = folder / "config.json", folder / "model.safetensors"
    about = json.loads(file.read_text())
    about |= {
        "gelu": {"hidden_act": "gelu"},
        "window": {"sliding_window": 32},
        "partial": {"partial_rotary_factor": 0.5},
        "dynamic": {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}},
        "heads": {"num_key_value_heads": 4},
        "wider": {"hidden_size": 96},
        "vocab": {"vocab_size": 421},
        "text": {"rms_norm_eps": "small"},
        "granite": {"model_type": "granite"},
        "unnamed": {"model_type": None},
        "no_rope": {"no_rope_layers": [1, 0]},
        "multiplied": {"residual_multiplier": 0.22},
        "mixed": {"layer_types": ["full_attention", "linear_attention"]},
        "scaling": {"rope_parameters": "linear"},
        "biased": {"attention_bias": True},
        "tied": {"tie_word_embeddings": True},
    }.get(how, {})
    about.pop({"lacks": "num_attention_heads"}.get(how), None)
    file.write_text({"json": "{", "list": "[]"}.get(how) or json.dumps(about))
    if how in ("missing", "extra", "integer", "headless", "bias"):
        tensors = load_file(weights)
        name = "model.layers.1.mlp.up_proj.weight"
        tensors = {k: v.clone() for k, v in tensors.items() if how != "missing" or k != name}
        tensors |= {"model.layers.0.self_attn.q_norm.weight": torch.ones(8)} if how == "extra" else {}
        tensors |= {"model.layers.1.self_attn.q_proj.bias": torch.ones(48)} if how == "bias" else {}
        tensors.pop("lm_head.weight" if how == "headless" else "", None)
        tensors |= {name: torch.ones_like(tensors[name], dtype=torch.int8)} if how == "integer" else {}
        save_file(tensors, weights)
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    if how == "empty":
        weights.unlink()
    if how == "folder":
        file.unlink()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("gelu", "activation is 'gelu'"),
        ("window", "sliding window"),
        ("partial", "a part of each head"),
        ("dynamic", "scaled by 'longrope'"),
        ("heads", "6 heads cannot share 4"),
        ("wider", "config.json says"),
        ("vocab", "config.json says 421"),
        ("text", "config.json"),
        ("lacks", "num_attention_heads"),
        ("json", "config.json"),
        ("missing", r"lacks model\.layers\.1\.mlp\.up_proj"),
        ("extra", "q_norm.weight, which a Llama has not"),
        ("integer", "quantised"),
        ("cut", "cannot be read"),
        ("empty", "no \\*.safetensors"),
        ("folder", "no config.json"),
        ("granite", "model_type is 'granite'; only llama, mistral, qwen2"),
        ("unnamed", "model_type is None"),
        ("no_rope", "no_rope_layers"),
        ("multiplied", "residual_multiplier = 0.22"),
        ("mixed", "'linear_attention'"),
        ("scaling", "config.json is of no Llama-shaped model"),
        ("list", "holds no object"),
        ("biased", "self_attn.k_proj.bias is missing"),
        ("bias", "q_proj.bias is there"),
        ("headless", "lacks lm_head.weight"),
        ("tied", "lm_head.weight is not the embedding"),
    ],
)
def test_a_folder_that_is_no_such_model_says_why(how, says, tmp_path):
    tiny.write(tmp_path)
    broken(tmp_path, how)
    with pytest.raises(ModelError, match=says):
        load_checkpoint(tmp_path)


def test_a_model_without_a_tokenizer_says_so(tmp_path):
    tiny.write(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        _ = load_checkpoint(tmp_path).tokenizer


@pytest.mark.parametrize(
    ("kind", "changed"),
    [("Mistral", {"sliding_window": None}), ("Qwen2", {}), ("Qwen2", {"tie_word_embeddings": True})],
)
def test_relatives_of_llama_are_computed_as_by_transformers(kind, changed, tmp_path, small):
    import transformers

    torch.manual_seed(0)
    about = tiny.config(**changed).to_dict()
    for name in ("model_type", "architectures", "attention_bias", "mlp_bias", "pretraining_tp"):
        about.pop(name, None)
    theirs = getattr(transformers, f"{kind}ForCausalLM")(
        getattr(transformers, f"{kind}Config")(**about)
    ).eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    theirs.save_pretrained(tmp_path)
    checkpoint, text = load_checkpoint(tmp_path), tiny.tokens(60)
    with torch.no_grad():
        expected = theirs(text[None]).logits[0]
    torch.testing.assert_close(read(checkpoint, checkpoint.rope(), text), expected, rtol=0, atol=1e-4)


def changed_tokenizer(folder, how):
    """Save the tokenizer of a folder with one change."""
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    if how == "larger":
        tokenizer.add_tokens([f"another {n}" for n in range(tiny.VOCAB + 1 - tokenizer.get_vocab_size())])
    if how == "digits":
        tokenizer.decoder = decoders.WordPiece()
    if how == "cut":
        tokenizer.enable_truncation(3)
    tokenizer.save(str(file))
    if how == "broken":
        file.write_text("{}")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("larger", f"{tiny.VOCAB + 1} tokens, and the model {tiny.VOCAB}"),
        ("digits", "reads '12345' back as"),
        ("broken", "cannot be read"),
    ],
)
def test_a_tokenizer_of_another_model_says_so(how, says, tmp_path):
    tiny.write(tmp_path)
    changed_tokenizer(tmp_path, how)
    with pytest.raises(ModelError, match=says):
        _ = load_checkpoint(tmp_path).tokenizer


def test_a_tokenizer_that_was_saved_to_cut_texts_reads_them_whole(tmp_path):
    tiny.write(tmp_path)
    changed_tokenizer(tmp_path, "cut")
    assert len(load_checkpoint(tmp_path).encode("12345")) == 5


def test_the_hash_is_of_what_is_computed(tmp_path, pair):
    checkpoint, _ = tiny.made(tmp_path)
    assert checkpoint.sha256 == pair[0].sha256
    other = tmp_path / "other"
    other.mkdir()
    assert tiny.made(other, rope_theta=2000.0)[0].sha256 != checkpoint.sha256
    assert short_name(tmp_path / "A b") == "a-b"


def test_the_hash_of_a_model_is_frozen(tmp_path):
    """A `tokenizers` that writes the same tokenizer in other words would make all records stale."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "<|end|>"]
    said = {"tokens": words, "merges": ["Ġ t"], "token_type": [1] * 257 + [smollm2.CONTROL]}
    tokenizer = smollm2.tokenizer({f"tokenizer.ggml.{name}": value for name, value in said.items()})
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    about = dataclasses.replace(ABOUT, vocab=len(words))
    weights = {"model.norm.weight": torch.arange(48.0), "x": torch.ones(2, 3, dtype=torch.bfloat16)}
    found = Checkpoint(tmp_path, about, weights).sha256
    assert found == "00768c36aeb6894d92d4c8ead1c0676f3bb2c740e7af71d0d8934752d1c1063a"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_is_computed_as_by_transformers():
    from transformers import AutoModelForCausalLM

    checkpoint = load_checkpoint(smollm2.prepare())
    theirs = AutoModelForCausalLM.from_pretrained(smollm2.folder(), dtype=torch.float32).eval()
    text = torch.tensor(
        checkpoint.encode("It was the best of times, it was the worst of times, 12345. " * 12)
    )
    with torch.no_grad():
        expected = theirs(text[None]).logits[0]
    torch.testing.assert_close(read(checkpoint, checkpoint.rope(), text), expected, rtol=0, atol=1e-3)
    assert checkpoint.about.trained == 8192
    assert frequencies(checkpoint.about)[1] == pytest.approx(100_000 ** (-1 / 32))


def test_the_index_says_which_files_are_the_model(tmp_path):
    """As in Mistral's folders, where the same weights stand once more under other names."""
    checkpoint, _ = tiny.made(tmp_path)
    save_file({"layers.0.attention.wq.weight": torch.ones(2)}, tmp_path / "consolidated.safetensors")
    assert load_checkpoint(tmp_path).sha256 == checkpoint.sha256
    whole = load_file(tmp_path / "model.safetensors")
    halves = {f"model-{n}.safetensors": dict(list(whole.items())[n::2]) for n in (0, 1)}
    for file, part in halves.items():
        save_file(part, tmp_path / file)
    (tmp_path / "model.safetensors").unlink()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {name: file for file, part in halves.items() for name in part}})
    )
    assert load_checkpoint(tmp_path).sha256 == checkpoint.sha256
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks model-1\.safetensors"):
        load_checkpoint(tmp_path)
    index.write_text("[]")
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("stated", "scaling", "trained"),
    [
        ({}, {}, 64),
        ({"max_sequence_length": 256}, {}, 256),
        ({}, {"original_max_position_embeddings": 64}, 256),
    ],
)
def test_a_linear_scaling_may_say_how_long_texts_were(stated, scaling, trained, tmp_path):
    tiny.write(tmp_path)
    file = tmp_path / "config.json"
    linear = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}
    file.write_text(
        json.dumps({**json.loads(file.read_text()), **stated, "rope_parameters": {**linear, **scaling}})
    )
    assert load_checkpoint(tmp_path).about.trained == trained
