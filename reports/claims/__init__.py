"""What a spec claims, as a run keeps it, and whether the run bears it out. A kind is one file here and one line in
``kinds.py``; ``sweeps/spec/claims`` has what people write.
"""
