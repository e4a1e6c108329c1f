"""The parts of a trial's configuration that depend on no stage or method: model, data, training, RoPE."""
