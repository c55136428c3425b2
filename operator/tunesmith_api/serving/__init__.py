"""What a ModelServe says of its requests; the gateway in front of its revisions goes by it."""
