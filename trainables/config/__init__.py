"""The parts of a trial's configuration that know no stage and no method: model, data, training, RoPE."""
