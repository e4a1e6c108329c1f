"""The former name of ``sweeps.cluster.drain``, which people's cluster files still start; goes with version 0.3."""

from sweeps.cluster.drain import main

if __name__ == "__main__":
    main()
