"""The loss of a head that predicts tokens on a CPU, with its gradients."""
