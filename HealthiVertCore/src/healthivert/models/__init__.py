"""Generators that draw a healthy vertebra into the gap. They know tensors, not patients: nothing here imports geometry."""
