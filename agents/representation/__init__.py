"""Representation arms, one a file: a pure loss of embeddings, and the class that feeds it.

Everywhere M is the number of augmented frame stacks, F the features of an embedding; `online_v` is
the online encoder's float[M, F] for view v, `target_v` the momentum encoder's. Row i of every
tensor comes from the same stack. Targets are detached inside. All of it is computed in float32 (or
float64 if given), autocast or not.
"""
