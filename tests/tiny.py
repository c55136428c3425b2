"""A language model small enough to be made, trained and asked in seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel, Metaspace
from tokenizers.processors import RobertaProcessing, TemplateProcessing
from tokenizers.trainers import BpeTrainer, WordPieceTrainer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

END = "<|im_end|>"
PAD = "<|endoftext|>"
MAX_POSITIONS = 512
# Sizes of the models of other families than Llama.
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What tiny models and their tokenizers have seen.
TEXTS = [
    "The moon goes round the earth, and the earth goes round the sun.",
    "What colour is the sky? The sky is blue.",
    "How many legs has a spider? A spider has eight legs.",
    "user assistant system",
] * 8


def make_tiny_model(
    path: Path, texts: Sequence[str], *, hidden_size: int = 64, layers: int = 2, vocab_size: int = 512
) -> Path:
    """Write a Llama with random weights and a byte-level BPE tokenizer trained on `texts` to `path`; return it."""
    tokenizer = make_tiny_tokenizer(texts, vocab_size=vocab_size)
    tokenizer.save_pretrained(path)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(path)
    return path


def make_tiny_tokenizer(texts: Sequence[str], *, vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with a ChatML template; nothing is unknown to it."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, "<|im_start|>", END],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


# Makers of the other families: still smaller, for tests that only ask whether something fits. Each writes a model with
# random weights and a tokenizer like its family's to `path` and returns `path`.


def make_tiny_qwen2(path: Path, texts: Sequence[str]) -> Path:
    """Write a Qwen2: grouped-query attention, biases in attention."""
    return _save_chat_model(path, texts, Qwen2ForCausalLM, Qwen2Config, num_key_value_heads=2)


def make_tiny_qwen3(path: Path, texts: Sequence[str]) -> Path:
    """Write a Qwen3: grouped-query attention, and heads of a size of their own."""
    return _save_chat_model(path, texts, Qwen3ForCausalLM, Qwen3Config, num_key_value_heads=2, head_dim=12)


def make_tiny_mixtral(path: Path, texts: Sequence[str]) -> Path:
    """Write a Mixtral: experts, which are saved one by one and are one tensor in the model."""
    return _save_chat_model(path, texts, MixtralForCausalLM, MixtralConfig, num_key_value_heads=2, num_local_experts=4)


def make_tiny_gpt2(path: Path, texts: Sequence[str]) -> Path:
    """Write a GPT-2: layers of Conv1D, learnt positions, no padding token and no chat template."""
    tokenizer = _byte_level(texts, ["<|endoftext|>"])
    fast = _wrapped(tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    config = GPT2Config(
        vocab_size=len(fast),
        n_positions=MAX_POSITIONS,
        n_embd=SMALL["hidden_size"],
        n_layer=SMALL["num_hidden_layers"],
        n_head=SMALL["num_attention_heads"],
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
    )
    return _save(path, GPT2LMHeadModel, config, fast)


def make_tiny_bert(path: Path, texts: Sequence[str]) -> Path:
    """Write a BERT for masked language modelling: WordPiece, [CLS] and [SEP], token types, no end of sequence."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts, WordPieceTrainer(vocab_size=256, special_tokens=special, show_progress=False))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    fast = _wrapped(
        tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True)),
    )
    config = BertConfig(
        vocab_size=len(fast),
        max_position_embeddings=MAX_POSITIONS,
        pad_token_id=fast.pad_token_id,
        **SMALL,
    )
    return _save(path, BertForMaskedLM, config, fast)


def make_tiny_roberta(path: Path, texts: Sequence[str]) -> Path:
    """Write a RoBERTa for masked language modelling: byte-level BPE, <s> and </s>, positions from the padding on."""
    tokenizer = _byte_level(texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    fast = _wrapped(
        tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
    config = RobertaConfig(
        vocab_size=len(fast),
        max_position_embeddings=MAX_POSITIONS + 2,
        type_vocab_size=1,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        **SMALL,
    )
    return _save(path, RobertaForMaskedLM, config, fast)


def make_tiny_t5(path: Path, texts: Sequence[str]) -> Path:
    """Write a T5: encoder and decoder, texts that end in </s>, decoding that begins with padding."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.decoder = MetaspaceDecoder()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(texts, BpeTrainer(vocab_size=256, special_tokens=special, show_progress=False))
    tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    fast = _wrapped(tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    config = T5Config(
        vocab_size=len(fast),
        d_model=SMALL["hidden_size"],
        d_kv=SMALL["hidden_size"] // SMALL["num_attention_heads"],
        d_ff=SMALL["intermediate_size"],
        num_layers=SMALL["num_hidden_layers"],
        num_heads=SMALL["num_attention_heads"],
        pad_token_id=fast.pad_token_id,
        eos_token_id=fast.eos_token_id,
        decoder_start_token_id=fast.pad_token_id,
    )
    return _save(path, T5ForConditionalGeneration, config, fast)


def _save_chat_model(path: Path, texts: Sequence[str], model: Any, config: Any, **settings: Any) -> Path:
    tokenizer = make_tiny_tokenizer(texts, vocab_size=320)
    made = config(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**SMALL, **settings},
    )
    return _save(path, model, made, tokenizer)


def _byte_level(texts: Sequence[str], special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _wrapped(tokenizer: Tokenizer, **settings: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        **settings,
    )


def _save(path: Path, model: Any, config: Any, tokenizer: PreTrainedTokenizerFast) -> Path:
    tokenizer.save_pretrained(path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model(config).save_pretrained(path)
    return path
