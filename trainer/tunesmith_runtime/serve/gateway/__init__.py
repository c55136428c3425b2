"""The gateway: one address in front of all revisions of a ModelServe. It imports no library of machine learning."""
