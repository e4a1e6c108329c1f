"""What a model class computes, as its config and its loaded modules tell: layers, shape, routers, logits."""
