"""Chat templates."""

from transformers import PreTrainedTokenizerBase

# For base models, which have no template: each turn under its role as a heading, the assistant's turns ended by the
# end-of-sequence token. A turn's text depends on no other turn, so that loss can be told apart turn by turn.
PLAIN = """\
{%- for message in messages -%}
{%- if not loop.first %}{{ '\\n\\n' }}{% endif -%}
{{ '### ' + message['role'] | capitalize + '\\n' + message['content'] }}
{%- if message['role'] == 'assistant' %}{{ eos_token }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ ('\\n\\n' if messages else '') + '### Assistant\\n' }}{% endif -%}
"""


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer the plain template unless it has one of its own; saved with it, it is served as well."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN
