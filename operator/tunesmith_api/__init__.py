"""The API of Tunesmith: its resources as pydantic models, and the contract between operator and runtime."""
