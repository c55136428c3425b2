"""What a request asks of the model, in tokens, and the pieces that its answers come in."""

from dataclasses import dataclass, field

from tunesmith_runtime.serve.engine.forms import Form


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the likeliest at temperature 0, else one that is drawn."""

    temperature: float = 0.0
    top_p: float = 1.0
    # 0: all tokens.
    top_k: int = 0
    # Tokens less likely than this share of the likeliest are left out.
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()
    # The same seed draws the same tokens; None: others each time.
    seed: int | None = None


@dataclass(frozen=True)
class Question:
    """Prompts, and how each is to be answered."""

    prompts: tuple[tuple[int, ...], ...]
    max_tokens: int
    # An adapter's name; None: the model itself.
    adapter: str | None = None
    # How many answers each prompt gets.
    n: int = 1
    sampling: Sampling = Sampling()
    stops: tuple[str, ...] = ()
    # How many of the likeliest tokens are told beside each one that was chosen; None: no likelihoods at all.
    logprobs: int | None = None
    # Whether the likelihoods of the prompt's own tokens are asked for.
    scores_prompt: bool = False
    ignores_end: bool = False
    # What answers have to look like, at its beginning.
    form: Form | None = field(default=None, compare=False)
    # Whether tokens that are no words, such as those around a tool call, are part of the text.
    keeps_special: bool = False


@dataclass(frozen=True)
class Score:
    """How likely a token was, in the model's own distribution; None for the first of a text, before which is nothing.

    `offset` is where its text begins in the answer's, and `ends` whether it ended the answer and is no part of it.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    offset: int = 0
    ends: bool = False


@dataclass(frozen=True)
class Piece:
    """More of one of the answers. `answer` counts over all prompts: n answers of the first come first."""

    answer: int
    text: str = ""
    scores: tuple[Score, ...] = ()
    # Of the prompt, in the answer's first piece.
    prompt_scores: tuple[Score, ...] = ()
    # In the last piece: why it ended, and how many tokens were written.
    finish: str | None = None
    tokens: int = 0
