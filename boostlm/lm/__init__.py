"""A language model as pure functions on devices: decoder, sampling, loss, training step."""
