"""What every stage's trainer shares: policy, the Trainer's arguments, checkpoints, callback, worker groups, FSDP."""
