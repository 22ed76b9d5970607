"""Generators that draw a healthy vertebra into the gap. They know tensors; nothing here imports geometry."""
