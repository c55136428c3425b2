"""The built-in engine: a model of transformers behind the API of OpenAI, with adapters by name."""
